"""The results as tables, for a terminal and for docs/BENCHMARKS.md: the same text in both."""

from collections.abc import Iterable, Sequence
from typing import Any

from mapfs.units import format_ns, format_size
from tests.bench.plan import TARGETS, Measure

_TEXTS = {target.name: target.text for target in TARGETS}
VIEWS = "## Views of long traces"
_VALUES = {
    "elapsed_ns": "all touches",
    "p50_ns": "median touch",
    "p99_ns": "99 of 100 touches",
    "resident_ns": "resident touch",
}


def report(results: dict[str, Any]) -> str:
    """The tables of the targets, each under its heading."""
    settings = results["settings"]
    pages, size = f"{settings['pages']:,}", format_size(settings["sequential_bytes"])
    parts = [one for one in (promises(results),) if one]
    parts += [f"## Random demands: {pages} pages, each touched once", *_each_placement(results, Measure.RANDOM)]
    parts += [f"## Sequential: {size}, a touch a page", *_each_placement(results, Measure.SEQUENTIAL)]
    parts += ["## Ratios of times within a round", ratios(results)]
    parts += ["## Start and memory", start(results)]
    return "\n\n".join(parts) + "\n"


def promises(results: dict[str, Any]) -> str:
    """Each promise, in each placement, with its heading; nothing where there is none among what was measured."""
    rows = [
        [row["promise"], row["placement"], *_figures(row), f"{row['limit']:.2f}", _verdict(row)]
        for row in [*results["ratios"], *results["alone"]]
        if row["promise"] is not None
    ]
    head = ["promise", "client and daemon on", "measured", "lowest to highest", "at most", "kept"]
    missed = [f"- {_TEXTS[name]}: {why}" for name, why in results["left_out"].items()]
    parts = ["## The promises", table(head, rows)] if rows else []
    parts += ["Not measured:\n\n" + "\n".join(missed)] if missed else []
    return "\n\n".join(parts)


def _verdict(row: dict[str, Any]) -> str:
    if row["met"]:
        return "yes" if row["highest"] <= row["limit"] else "yes, but not in every round"
    return "**no**" if row["lowest"] > row["limit"] else "**no**, but in some rounds"


def ratios(results: dict[str, Any]) -> str:
    """Everything that is compared."""
    rows = [
        [_TEXTS[row["of"]], _TEXTS[row["to"]], row["measure"], _VALUES[row["value"]], row["placement"], *_figures(row)]
        for row in results["ratios"]
    ]
    return table(["time of", "to", "run", "of", "client and daemon on", "ratio", "lowest to highest"], rows)


def _figures(row: dict[str, Any]) -> list[str]:
    return [_figure(row["median"]), f"{_figure(row['lowest'])} to {_figure(row['highest'])}"]


def _figure(ratio: float) -> str:
    return f"{ratio:.3f}" if ratio < 10 else f"{ratio:,.0f}"


def _each_placement(results: dict[str, Any], measure: Measure) -> Iterable[str]:
    for placement in dict.fromkeys(run["placement"] for run in results["runs"]):
        runs = [run for run in results["runs"] if (run["measure"], run["placement"]) == (measure, placement)]
        yield f"Client and daemon on {placement}:"
        yield _random(runs) if measure is Measure.RANDOM else _sequential(runs)


def _random(runs: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            _TEXTS[run["target"]], f"{median['demands_per_s']:,.0f}", format_ns(median["p50_ns"]),
            format_ns(median["p99_ns"]), _requests(median), f"{median['major_faults']:,.0f}",
            f"{median['resident_ns']:.2f} ns",
        ]
        for run in runs
        for median in (run["median"],)
    ]  # fmt: skip
    header = ["target", "demands/s", "p50", "p99", "requests", "major faults", "a resident touch"]
    return table(header, rows)


def _sequential(runs: Sequence[dict[str, Any]]) -> str:
    rows = [
        [_TEXTS[run["target"]], f"{median['mib_per_s']:,.0f}", _requests(median), f"{median['major_faults']:,.0f}"]
        for run in runs
        for median in (run["median"],)
    ]
    return table(["target", "MiB/s", "requests", "major faults"], rows)


def _requests(median: dict[str, float]) -> str:
    return f"{median['requests']:,.0f}" if "requests" in median else "-"


def start(results: dict[str, Any]) -> str:
    """How soon a mount answers, and what its processes take."""
    ready, memory = results["ready_ms"], results["memory_kib"]
    rows = [
        [
            "`mapfs mount --daemon`, from its start to its return",
            f"{ready['median']:.0f} ms ({ready['lowest']:.0f} to {ready['highest']:.0f})",
        ]
    ]
    states = {"idle": "just mounted, the default tree", "used": "after the runs on the own link"}
    for state in memory:
        text = states[state]
        for process in ("daemon", "recorder"):
            rss, shared = (memory[state][process][key] / 1024 for key in ("rss", "rss_shmem"))
            rows.append([f"VmRSS of the {process}, {text}", f"{rss:.1f} MiB, of which RssShmem {shared:.1f} MiB"])
    return table(["what", "median"], rows)


def views(measured: Sequence[dict[str, Any]]) -> str:
    """What the views of long traces take, with its heading."""
    rows = [
        [
            f"`{row['view']}`", f"{row['requests']:,}", format_size(row["trace_bytes"]),
            f"{row['seconds']:.1f} s", f"{row['lowest_seconds']:.1f} s", f"{row['cpu_seconds']:.1f} s",
            format_size(row["peak_kib"] * 1024),
        ]
        for row in measured
    ]  # fmt: skip
    head = ["view", "requests", "trace", "median time", "lowest", "CPU time", "memory at most"]
    return f"{VIEWS}\n\n{table(head, rows)}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown, aligned, numbers to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    right = [all(row[column][:1].isdigit() or row[column] == "-" for row in rows) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        return "| " + " | ".join(cells) + " |"

    ruler = ["-" * (width - 1) + (":" if to_right else "-") for width, to_right in zip(widths, right, strict=True)]
    return "\n".join([line(header), line(ruler), *map(line, rows)])
