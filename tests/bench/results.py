"""From the numbers of all rounds to medians, and to medians of the ratios within each round: what --json writes."""

import statistics
from collections.abc import Sequence
from typing import Any

from mapfs.units import PAGE_SIZE
from tests.bench.measure import Measured, Settings
from tests.bench.mounts import Memory
from tests.bench.plan import PAIRS, TARGETS, Measure, Pair, Placement, Target


def results_of(
    measured: Measured,
    settings: Settings,
    placements: Sequence[Placement],
    alone: list[dict[str, Any]],
) -> dict[str, Any]:
    """One JSON object. Times in ns unless the key says otherwise, sizes in bytes or KiB as the key says."""
    return {
        "settings": {
            "rounds": settings.rounds,
            "pages": settings.pages,
            "sequential_bytes": settings.sequential,
            "page_size": PAGE_SIZE,
            "seed": settings.seed,
        },
        "runs": [
            _runs(measured, settings, measure, placement, target)
            for measure in Measure
            for placement in placements
            for target in TARGETS
            if (measure, placement, target.name) in measured.runs
        ],
        "ratios": [
            _ratio(measured, pair, placement)
            for pair in PAIRS
            for placement in placements
            if all((pair.measure, placement, name) in measured.runs for name in (pair.of, pair.to))
        ],
        "left_out": measured.left_out,
        "ready_ms": _middle([seconds * 1e3 for seconds in measured.ready_s]),
        "alone": alone,
        "memory_kib": {
            state: _memory(samples) for state, samples in (("idle", measured.idle), ("used", measured.used)) if samples
        },
    }


def _runs(
    measured: Measured, settings: Settings, measure: Measure, placement: Placement, target: Target
) -> dict[str, Any]:
    pages = settings.count(measure)
    rounds = [run | _rate(measure, pages, run["elapsed_ns"]) for run in measured.runs[measure, placement, target.name]]
    return {
        "measure": str(measure),
        "placement": str(placement),
        "target": target.name,
        "median": {name: statistics.median(run[name] for run in rounds) for name in rounds[0]},
        "rounds": rounds,
    }


def _rate(measure: Measure, pages: int, elapsed_ns: float) -> dict[str, float]:
    if measure is Measure.RANDOM:
        return {"demands_per_s": pages / elapsed_ns * 1e9}
    return {"mib_per_s": pages * PAGE_SIZE / (1 << 20) / elapsed_ns * 1e9}


def _ratio(measured: Measured, pair: Pair, placement: Placement) -> dict[str, Any]:
    """Of the times of the same round; its median, and whether that keeps the promise."""
    above, below = (measured.runs[pair.measure, placement, name] for name in (pair.of, pair.to))
    ratios = [one[pair.value] / other[pair.value] for one, other in zip(above, below, strict=True)]
    middle, limit = _middle(ratios), pair.limit(placement)
    return {
        "measure": str(pair.measure),
        "placement": str(placement),
        "of": pair.of,
        "to": pair.to,
        "value": pair.value,
        **middle,
        "promise": pair.promise,
        "limit": limit,
        "met": None if limit is None else middle["median"] <= limit,
    }


def _middle(values: Sequence[float]) -> dict[str, Any]:
    return {
        "median": statistics.median(values),
        "lowest": min(values),
        "highest": max(values),
        "rounds": list(values),
    }


def _memory(samples: Sequence[dict[str, Memory]]) -> dict[str, dict[str, float]]:
    return {
        process: {
            "rss": statistics.median(sample[process].rss for sample in samples),
            "rss_shmem": statistics.median(sample[process].shared for sample in samples),
            "descriptors": statistics.median(sample[process].descriptors for sample in samples),
        }
        for process in ("daemon", "recorder")
    }
