"""The profile of a start: what each start of a program needed, of which executables and libraries, and what a later
start shared with an earlier one.

A start *demanded* the pages that were requested while it ran, and *shared* those that it got from the page cache and
that had been brought in before it began. Both are sets of pages: what several processes of one start got counts once.
Needed is either of them. What the evidence of the trace cannot tell is None.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mapfs.trace.labels import Labels
from mapfs.trace.labels.book import TraceLabels
from mapfs.units import format_ns, format_size, page_count
from mapfs.views.lines import visible

_KERNEL, _REQUESTS = "kernel", "requests"
_ELF_BEGIN = "(ELF header)"  # the label of the first bytes of an ELF file
_MOST_SECTIONS = 4  # in a row

# what was asked for, and what was got without asking
_SPAN = "e.offset / m.page_size, max(1, (e.offset + e.size + m.page_size - 1) / m.page_size - e.offset / m.page_size)"
_REQUESTED = f"""
    SELECT e.file, {_SPAN}, e.demanded, e.wait_ns, e.refaults FROM requests e CROSS JOIN mount m
    WHERE e.op = 1 AND e.errno = 0 AND e.direct = 0 AND e.time_ns >= ? AND e.time_ns < ?"""  # noqa: S608 -- constants
_GOT = f"""
    SELECT e.file, {_SPAN} FROM faults e CROSS JOIN mount m
    WHERE e.time_ns >= ? AND e.time_ns < ?"""  # noqa: S608 -- constants


@dataclass(frozen=True, slots=True)
class Interval:
    """When a start began and its program ended (CLOCK_MONOTONIC, ns), and how it did, as a shell has it."""

    started_ns: int
    ended_ns: int
    exit_code: int
    signal: str | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """One start. `pages` were demanded by `demands` requests, which waited for `wait_ns` in all; `refaults` pages had
    been demanded before, in any start. `shared` pages were there before it began. `unused` pages were read ahead, and
    nobody used them before its end.
    """

    number: int
    took_ns: int
    exit_code: int
    signal: str | None
    demands: int
    pages: int
    refaults: int
    wait_ns: int
    shared: int | None
    unused: int | None


@dataclass(frozen=True, slots=True)
class SectionRow:
    """A section of an executable or library: of its pages, those that a start needed. A page on the border of two
    counts for both.
    """

    section: str
    needed: int
    of_pages: int


@dataclass(frozen=True, slots=True)
class BinaryRow:
    """An executable or library; what is counted is what the first start needed of it, in pages and bytes."""

    file: str
    size: int
    of_pages: int
    needed: int
    bytes: int
    unused: int | None
    symbols: int
    of_symbols: int
    sections: list[SectionRow]


@dataclass(frozen=True, slots=True)
class Profile:
    """All of it. `evidence` is the tier of the trace."""

    evidence: str
    starts: list[Start]
    binaries: list[BinaryRow]


@dataclass(frozen=True, slots=True)
class _Tells:
    """What the trace can tell: without losses, and by its evidence."""

    shared: bool
    unused: bool


@dataclass(slots=True)
class _Pages:
    """Of one file in one start."""

    requested: set[int] = field(default_factory=set)
    demanded: set[int] = field(default_factory=set)
    got: set[int] = field(default_factory=set)


def profile(db: sqlite3.Connection, intervals: Sequence[Interval]) -> Profile:
    """Asks the trace, and the executables and libraries that it names for their sections and symbols."""
    (evidence,) = db.execute("SELECT evidence FROM mount").fetchone()
    complete = db.execute("SELECT count(*) FROM losses").fetchone() == (0,)
    tells = _Tells(shared=complete and evidence != _REQUESTS, unused=complete and evidence == _KERNEL)
    starts: list[Start] = []
    before: dict[int, set[int]] = {}
    first: dict[int, _Pages] = {}
    for number, interval in enumerate(intervals, 1):
        start, pages = _start(db, number, interval, before, tells)
        starts.append(start)
        first = first or pages
        for file, one in pages.items():
            before.setdefault(file, set()).update(one.requested)
    return Profile(evidence, starts, _binaries(db, first, tells))


def _start(
    db: sqlite3.Connection, number: int, interval: Interval, before: dict[int, set[int]], tells: _Tells
) -> tuple[Start, dict[int, _Pages]]:
    bounds = interval.started_ns, interval.ended_ns
    pages: dict[int, _Pages] = {}
    demands = refaults = wait = 0
    for file, at, count, demanded, wait_ns, again in db.execute(_REQUESTED, bounds):
        one = pages.setdefault(file, _Pages())
        one.requested.update(range(at, at + count))
        if demanded is not None:
            one.demanded.add(demanded)
        demands, refaults, wait = demands + 1, refaults + again, wait + wait_ns
    for file, at, count in db.execute(_GOT, bounds):
        pages.setdefault(file, _Pages()).got.update(range(at, at + count))
    shared = sum(len((one.got - one.requested) & before.get(file, set())) for file, one in pages.items())
    unused = sum(len(one.requested - one.demanded - one.got) for one in pages.values())
    start = Start(
        number=number,
        took_ns=interval.ended_ns - interval.started_ns,
        exit_code=interval.exit_code,
        signal=interval.signal,
        demands=demands,
        pages=sum(len(one.requested) for one in pages.values()),
        refaults=refaults,
        wait_ns=wait,
        shared=shared if tells.shared else None,
        unused=unused if tells.unused else None,
    )
    return start, pages


def _binaries(db: sqlite3.Connection, pages: dict[int, _Pages], tells: _Tells) -> list[BinaryRow]:
    """The ELF files among them, those with the most needed pages first."""
    (page_size,) = db.execute("SELECT page_size FROM mount").fetchone()
    sizes = dict(db.execute("SELECT id, size FROM files"))
    book = TraceLabels(db)
    rows = []
    for file, path in book.newest().items():
        labels = book.of(file) if file in pages else None
        if labels is None or labels.at(0) != _ELF_BEGIN:
            continue
        one = pages[file]
        unused = one.requested - one.demanded - one.got if tells.unused else set[int]()
        needed = (one.requested | one.got) - unused
        sections, symbols, of_symbols = _sections(labels, needed, page_size)
        rows.append(
            BinaryRow(
                file=path,
                size=sizes[file],
                of_pages=page_count(sizes[file], page_size),
                needed=len(needed),
                bytes=sum(min(page_size, sizes[file] - page * page_size) for page in needed),
                unused=len(unused) if tells.unused else None,
                symbols=symbols,
                of_symbols=of_symbols,
                sections=sections,
            )
        )
    return sorted(rows, key=lambda row: (-row.needed, row.file))


def _sections(labels: Labels, needed: set[int], page_size: int) -> tuple[list[SectionRow], int, int]:
    """The sections that lie in the file, in its order; and of the symbols, on how many a needed page lies, of how
    many.
    """
    pages: dict[str, set[int]] = {}
    symbols: dict[str, bool] = {}
    for one in labels:
        section, colon, _ = one.name.partition(":")
        span = range(one.start // page_size, -(-one.end // page_size))
        pages.setdefault(section, set()).update(span)
        if colon:
            symbols[one.name] = symbols.get(one.name, False) or not needed.isdisjoint(span)
    rows = [SectionRow(section, len(span & needed), len(span)) for section, span in pages.items()]
    return rows, sum(symbols.values()), len(symbols)


def render_starts(found: Profile, console: Console) -> None:
    """Prints a line a start."""
    for start in found.starts:
        console.print(_line(start, len(found.starts) > 1), highlight=False, soft_wrap=True)


def render_binaries(found: Profile, console: Console, *, most: int) -> None:
    """Prints a row an executable or library, at most `most`."""
    if not found.binaries:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("executable or library", overflow="fold")
    for name in ("needed", "of", "bytes", "unused", "symbols"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("most of it in", overflow="fold")
    for row in found.binaries[:most]:
        table.add_row(
            Text(visible(row.file)),
            f"{row.needed:,}",
            f"{row.of_pages:,}",
            format_size(row.bytes),
            "?" if row.unused is None else f"{row.unused:,}",
            f"{row.symbols:,} of {row.of_symbols:,}",
            Text(_most_of(row)),
        )
    console.print(table)
    if len(found.binaries) > most:
        console.print(f"... and {len(found.binaries) - most:,} more; --json has them all", highlight=False)


def _line(start: Start, many: bool) -> Text:
    how = f"killed by {start.signal}" if start.signal else f"exit code {start.exit_code}"
    said = (
        f": {format_ns(start.took_ns)}, {how}; {start.pages:,} pages demanded, {start.refaults:,} re-faults, "
        f"waited {format_ns(start.wait_ns)}"
    )
    if start.unused:
        said += f"; {start.unused:,} read ahead and not used"
    if many:
        said += f"; {'?' if start.shared is None else f'{start.shared:,}'} pages shared with the starts before"
    return Text.assemble((f"start {start.number}" if many else "start", "bold"), said)


def _most_of(row: BinaryRow) -> str:
    """`.text 280/690, .rodata 12/90`: the sections with the most needed pages."""
    sections = sorted((one for one in row.sections if one.needed), key=lambda one: -one.needed)
    return ", ".join(f"{visible(one.section)} {one.needed:,}/{one.of_pages:,}" for one in sections[:_MOST_SECTIONS])
