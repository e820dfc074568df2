"""From the samples of all rounds to medians, to the ratios within each round, and to sentences on what they mean."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mapfs.measuring.bench import Measured, Sample
from mapfs.measuring.plan import COMPARISONS, Case, Comparison, Order, State, Target, Way
from mapfs.measuring.worker import Pass
from mapfs.units import PAGE_SIZE

_SAME = 1.1  # a ratio nearer to 1 than that is none
_NO_FILE = 2.0  # times the floor: what is not longer than that is the measuring, mostly
IN_MEMORY = "the file did not leave the page cache: it lies on a filesystem in memory, or somebody maps it"


@dataclass(frozen=True, slots=True)
class Row:
    """A case in one state. ns a page: the median of the rounds, the lowest and the highest; None where `why` says that
    there is nothing to measure. `rounds` are pages, ns, and the requests that mapfs answered (None: it was not asked).
    """

    case: Case
    state: State
    page_ns: float | None
    lowest_ns: float | None
    highest_ns: float | None
    rounds: list[tuple[int, int, int | None]]
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Ratio:
    """A comparison, with the median of the ratios within each round, the lowest and the highest."""

    comparison: Comparison
    ratio: float | None
    lowest: float | None
    highest: float | None
    says: str


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that is shown. `floor`: ns a page that the measuring process takes by itself."""

    measured: Measured
    rows: list[Row]
    floor: dict[tuple[Way, Order], float]
    ratios: list[Ratio]

    def as_json(self) -> dict[str, Any]:
        """Plain objects; times in ns, sizes in bytes."""
        what = self.measured.subject
        return {
            "file": None if what.temporary else what.path,
            "size": what.size,
            "pages": what.pages,
            "page_size": PAGE_SIZE,
            "evidence": self.measured.evidence,
            "rounds": self.measured.rounds,
            "seconds": self.measured.seconds,
            "cold": self.measured.cold,
            "runs": [_row_json(row) for row in self.rows],
            "floor": [{"way": way, "order": order, "page_ns": ns} for (way, order), ns in self.floor.items()],
            "ratios": [_ratio_json(ratio) for ratio in self.ratios],
        }


def results_of(measured: Measured) -> Results:
    """Raises nothing: what could not be measured is None."""
    rows = [_row(measured, case, state) for case in measured.cases for state in case.states]
    found = {(row.case, row.state): row for row in rows}
    comparisons = [one for one in COMPARISONS if Case(*one.of, one.order) in measured.cases]
    floor = {key: one.ns / one.pages for key, one in measured.floor.items()}
    return Results(measured, rows, floor, [_ratio(one, found, floor) for one in comparisons])


def _row(measured: Measured, case: Case, state: State) -> Row:
    rounds = [_numbers(sample, state) for sample in measured.samples[case]]
    if state is not State.RESIDENT and case.target is Target.DIRECT and not measured.cold:
        return Row(case, state, None, None, None, [], IN_MEMORY)
    each = [ns / pages for pages, ns, _ in rounds]
    return Row(case, state, statistics.median(each), min(each), max(each), rounds)


def _numbers(sample: Sample, state: State) -> tuple[int, int, int | None]:
    one: Pass | None = sample.resident if state is State.RESIDENT else sample.cold
    assert one is not None, "a case that has this state"
    return one.pages, one.ns, None if state is State.RESIDENT else sample.requests


def _ratio(
    comparison: Comparison, found: dict[tuple[Case, State], Row], floor: dict[tuple[Way, Order], float]
) -> Ratio:
    sides = [Case(*side, comparison.order) for side in (comparison.of, comparison.to)]
    above, below = (found[side, comparison.state] for side in sides)
    if above.page_ns is None or below.page_ns is None:
        says = f"{comparison.thing} against {comparison.against}: ?, {IN_MEMORY}."
        return Ratio(comparison, None, None, None, says)
    ratios = [one[1] / one[0] / (other[1] / other[0]) for one, other in zip(above.rounds, below.rounds, strict=True)]
    middle = statistics.median(ratios)
    at_floor = [
        row.page_ns is not None and row.page_ns < _NO_FILE * floor.get((row.case.way, row.case.order), 0)
        for row in (above, below)
    ]
    verdict = _verdict(middle, ratios, at_floor=all(at_floor) and above.case.way is below.case.way)
    says = f"{comparison.thing} {verdict} {comparison.against}; {comparison.meaning}."
    return Ratio(comparison, middle, min(ratios), max(ratios), says)


def _verdict(middle: float, ratios: Sequence[float], *, at_floor: bool) -> str:
    """What stands between two things: the noise of the rounds has the last word. `at_floor`: both take hardly longer
    than the same work without any file, so that a difference is that of the CPU's caches.
    """
    if 1 / _SAME < middle < _SAME or at_floor:
        return "takes as long as"
    doubt = "" if min(ratios) > 1 or max(ratios) < 1 else " (though not in every round)"
    if middle > 1:
        return f"takes {_times(middle)} the time of{doubt}"
    return f"is {_times(1 / middle)} as fast as{doubt}"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} times" if ratio >= 10 else f"{ratio:.1f} times"


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "target": row.case.target,
        "way": row.case.way,
        "order": row.case.order,
        "state": row.state,
        "page_ns": row.page_ns,
        "lowest_ns": row.lowest_ns,
        "highest_ns": row.highest_ns,
        "rounds": [{"pages": pages, "ns": ns, "requests": requests} for pages, ns, requests in row.rounds],
        "why": row.why,
    }


def _ratio_json(ratio: Ratio) -> dict[str, Any]:
    comparison = ratio.comparison
    sides = {name: {"target": side[0], "way": side[1]} for name, side in (("of", comparison.of), ("to", comparison.to))}
    return {
        **sides,
        "order": comparison.order,
        "state": comparison.state,
        "ratio": ratio.ratio,
        "lowest": ratio.lowest,
        "highest": ratio.highest,
        "says": ratio.says,
    }
