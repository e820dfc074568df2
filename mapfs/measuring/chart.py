"""The results as bars, a group for each order and state, and what they mean, in 80 columns."""

import textwrap

from rich.console import Console
from rich.text import Text

from mapfs.measuring.plan import Order, State, Target, Way
from mapfs.measuring.results import Results, Row
from mapfs.units import PAGE_SIZE, format_ns, format_size

_WIDTH, _NARROWEST = 80, 60
_NAME, _FIGURES = 20, 22  # columns of what stands before and behind a bar
_EIGHTHS = " ▏▎▍▌▋▊▉"
_STYLES = {Target.DIRECT: "cyan", Target.MAPFS: "magenta"}
_HEADINGS = {
    (Order.RANDOM, State.COLD): "Random order, pages that have to be fetched",
    (Order.SEQUENTIAL, State.COLD): "In sequence, pages that have to be fetched",
    (Order.RANDOM, State.RESIDENT): "Random order, pages that are in memory",
    (Order.SEQUENTIAL, State.RESIDENT): "In sequence, pages that are in memory",
    (Order.RANDOM, State.WRITTEN): "Random order, pages that are written",
    (Order.SEQUENTIAL, State.WRITTEN): "In sequence, pages that are written",
}
_LEGEND = {
    Way.MMAP: "a byte of each page of a mapping, nothing read ahead",
    Way.READ: "pread(2) of a page in random order, of 128 KiB in sequence",
    Way.READAHEAD: "a mapping whose pages the kernel fetches before they are touched",
    Way.STORE: "a byte of each page of a shared mapping, then msync(2)",
    Way.WRITE: "pwrite(2), as read, then fsync(2)",
}


def render(results: Results, console: Console) -> None:
    """Prints all of it."""
    width = max(_NARROWEST, min(_WIDTH, console.width))
    measured, what = results.measured, results.measured.subject
    name = "a temporary file" if what.temporary else what.path
    part = "" if what.pages * PAGE_SIZE == what.size else f" of {format_size(what.size)}"
    rounds = "1 round" if measured.rounds == 1 else f"{measured.rounds} rounds"
    _fold(
        console, width, f"{name}: {format_size(what.pages * PAGE_SIZE)}{part}, {what.pages:,} pages; "
        f"{rounds} in {measured.seconds:.0f} s; mapfs with the evidence {measured.evidence}",
    )  # fmt: skip
    used = {case.way for case in measured.cases}
    for way, text in _LEGEND.items():
        if way not in used:
            continue
        _fold(console, width, f"  {way:<9} {text}", "dim")
    for (order, state), heading in _HEADINGS.items():
        rows = [row for row in results.rows if (row.case.order, row.state) == (order, state)]
        if not rows:
            continue
        console.print(Text(f"\n{heading}", "bold"))
        highest = max(row.page_ns or 0 for row in rows)
        for row in rows:
            console.print(_line(row, highest, width), soft_wrap=True)
        _print_floor(results, order, state, console, width)
    console.print(Text("\nWhat it means", "bold"))
    for ratio in results.ratios:
        figure = "    ?" if ratio.ratio is None else _figure(ratio.ratio)
        hanging = " " * 7
        lines = textwrap.wrap(ratio.says, width - len(hanging))
        console.print(Text.assemble((f"{figure:>5}  ", "bold"), f"\n{hanging}".join(lines)), soft_wrap=True)


def _line(row: Row, highest: float, width: int) -> Text:
    line = Text(f"  {row.case.target:<7} {row.case.way:<{_NAME - 10}}")
    if row.page_ns is None:
        return line + Text("? it does not leave the page cache", "yellow")
    bar = _bar(row.page_ns / highest, width - _NAME - _FIGURES)
    line.append(bar, _STYLES[row.case.target])
    rate = PAGE_SIZE / row.page_ns * 1e9 / (1 << 20)
    line.append(f"{format_ns(row.page_ns):>8}" + (f"{rate:>8,.0f} MiB/s" if rate < 1e6 else ""))
    return line


def _bar(share: float, width: int) -> str:
    """In eighths of a column; what is not nothing is seen."""
    eighths = max(1, round(share * width * 8))
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(width)


def _print_floor(results: Results, order: Order, state: State, console: Console, width: int) -> None:
    """What of the shortest bars is the measuring itself."""
    if state is not State.RESIDENT:
        return
    parts = [f"{format_ns(ns)} of {way}" for (way, of_order), ns in results.floor.items() if of_order is order]
    _fold(console, width, f"  of which the measuring process itself takes {', '.join(parts)}", "dim")


def _fold(console: Console, width: int, text: str, style: str = "") -> None:
    console.print(Text("\n".join(textwrap.wrap(text, width, subsequent_indent="  ")), style), soft_wrap=True)


def _figure(ratio: float) -> str:
    """`3.11x`, `1/23`."""
    if ratio < 0.095:
        return f"1/{1 / ratio:.0f}"
    return f"{ratio:.0f}x" if ratio >= 100 else f"{ratio:.1f}x" if ratio >= 9.95 else f"{ratio:.2f}x"
