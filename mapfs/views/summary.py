"""What a mount's demands add up to: for each file, each process, and all together.

Every number is a query on the tables of docs/TRACE.md. A page counts once for each version of its file;
requests through descriptors with O_DIRECT, which may demand no page, are counted apart.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mapfs.units import format_ns, format_size, page_count, tail_waste
from mapfs.views.lines import visible

# pages of a request r, and whether it brought pages in
_PAGES = "max(1, (r.offset + r.size + m.page_size - 1) / m.page_size - r.offset / m.page_size)"
_DEMAND = "r.op = 1 AND r.errno = 0 AND r.direct = 0"
_COUNTS = f"""
    sum({_DEMAND}), sum(CASE WHEN {_DEMAND} THEN {_PAGES} - r.refaults ELSE 0 END),
    sum(CASE WHEN {_DEMAND} THEN r.refaults ELSE 0 END),
    sum(CASE WHEN r.op = 1 AND r.errno = 0 THEN r.size ELSE 0 END), sum(r.errno <> 0), sum(r.direct),
    sum(CASE WHEN r.op = 1 THEN r.wait_ns ELSE 0 END), sum(CASE WHEN r.op = 2 AND r.errno = 0 THEN r.size ELSE 0 END),
    sum(CASE WHEN r.op = 3 THEN {_PAGES} ELSE 0 END), sum(CASE WHEN r.op = 4 THEN {_PAGES} ELSE 0 END)"""


@dataclass(frozen=True, slots=True)
class Counts:
    """Sums over requests: bytes and ns; `pages` demanded for the first time, `refaults` again.

    `bytes` were read, `written` were written back or by write(2); `pushed` and `dropped` are pages that mapfs put into
    the page cache, or took out of it, of itself.
    """

    demands: int
    pages: int
    refaults: int
    bytes: int
    errors: int
    direct: int
    wait_ns: int
    written: int
    pushed: int
    dropped: int
    wait_p50_ns: int
    wait_p99_ns: int


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file. `waste` is the internal fragmentation: bytes of its last page that hold nothing."""

    file: str
    size: int
    of_pages: int
    waste: int
    counts: Counts


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process; pid None gathers the requests whose thread is not known."""

    pid: int | None
    command: str | None
    container: str | None
    threads: int
    counts: Counts


@dataclass(frozen=True, slots=True)
class Summary:
    """All of it. `lost` events are in none of the counts."""

    mountpoint: str
    page_size: int
    readahead: int
    span_ns: int
    lost: int
    total: Counts
    files: list[FileRow]
    processes: list[ProcessRow]

    def as_json(self) -> dict[str, Any]:
        """The same as plain objects."""
        return asdict(self)


def summarise(db: sqlite3.Connection) -> Summary:
    """Asks the trace."""
    mountpoint, page_size, readahead = db.execute("SELECT mountpoint, page_size, readahead FROM mount").fetchone()
    first, last = db.execute("SELECT min(time_ns), max(time_ns + wait_ns) FROM requests").fetchone()
    return Summary(
        mountpoint=mountpoint,
        page_size=page_size,
        readahead=readahead,
        span_ns=(last or 0) - (first or 0),
        lost=db.execute("SELECT coalesce(sum(count), 0) FROM losses").fetchone()[0],
        total=_counts(db, "1", "")[1],
        files=_files(db, page_size),
        processes=_processes(db),
    )


def _files(db: sqlite3.Connection, page_size: int) -> list[FileRow]:
    grouped = _counts(db, "f.path", "JOIN files f ON f.id = r.file")
    made = [
        FileRow(
            path, size, page_count(size, page_size), tail_waste(size, page_size) if end == size else 0, grouped[path]
        )
        for path, size, end in db.execute(_FILES)
    ]
    return sorted(made, key=lambda row: (-row.counts.pages, row.file))


# of several versions of a file, the newest
_FILES = f"""
    SELECT f.path, f.size, max(CASE WHEN {_DEMAND} THEN r.offset + r.size END)
    FROM files f JOIN requests r ON r.file = f.id
    WHERE f.id IN (SELECT max(n.id) FROM files n WHERE n.id IN (SELECT file FROM requests) GROUP BY n.path)
    GROUP BY f.id"""  # noqa: S608 -- constants of this module


def _processes(db: sqlite3.Connection) -> list[ProcessRow]:
    key = "coalesce(t.pid || ' ' || t.started || ' ' || t.command, '')"
    join = "LEFT JOIN threads t ON t.id = r.thread"
    grouped = _counts(db, key, join)
    rows = db.execute(
        f"SELECT {key}, t.pid, t.command, max(t.container), count(DISTINCT t.tid) "  # noqa: S608 -- constants
        f"FROM requests r {join} WHERE r.op = 1 OR t.id IS NOT NULL GROUP BY 1"
    )
    made = [ProcessRow(pid, command, box, threads, grouped[name]) for name, pid, command, box, threads in rows]
    return sorted(made, key=lambda row: (-row.counts.pages, -row.counts.refaults, row.pid or 0))


def _counts(db: sqlite3.Connection, key: str, join: str) -> dict[Any, Counts]:
    sums = db.execute(f"SELECT {key}, {_COUNTS} FROM requests r CROSS JOIN mount m {join} GROUP BY 1")  # noqa: S608
    waits = db.execute(
        f"SELECT {key}, r.wait_ns FROM requests r {join} WHERE {_DEMAND} ORDER BY 1, 2"  # noqa: S608 -- constants
    )
    percentiles = dict(_percentiles(waits))
    nothing = Counts(*[0] * 12)
    counted = {name: Counts(*values, *percentiles.get(name, (0, 0))) for name, *values in sums}
    return counted or {1: nothing}


def _percentiles(rows: Iterable[Sequence[Any]]) -> Iterable[tuple[Any, tuple[int, int]]]:
    """p50 and p99 of each run of equal keys, its values sorted: the nearest rank."""
    name, values = None, list[int]()
    for key, value in rows:
        if key != name and values:
            yield name, (nearest_rank(values, 50), nearest_rank(values, 99))
            values = []
        name = key
        values.append(value)
    if values:
        yield name, (nearest_rank(values, 50), nearest_rank(values, 99))


def nearest_rank(values: Sequence[int], percent: int) -> int:
    """The smallest of the sorted `values` that `percent` percent of them do not exceed."""
    return values[max(0, -(-len(values) * percent // 100) - 1)]


def render(summary: Summary, console: Console, *, most: int = 20) -> None:
    """Prints it as tables; at most `most` rows of each."""
    total = summary.total
    console.print(
        Text.assemble(
            (visible(summary.mountpoint), "bold"),
            f": {total.demands:,} demands for {total.pages:,} pages "
            f"({format_size(total.bytes)}) in {format_ns(summary.span_ns)}, {total.refaults:,} re-faults, "
            f"wait p50 {format_ns(total.wait_p50_ns)}, p99 {format_ns(total.wait_p99_ns)}",
        ),
        highlight=False,
        soft_wrap=True,
    )
    if summary.lost:
        console.print(f"[red]lost {summary.lost:,} events: they are in none of these numbers[/]", highlight=False)
    if summary.readahead:
        console.print("the kernel reads ahead: a page here was requested, not necessarily touched", highlight=False)
    if total.written or total.pushed or total.dropped:
        console.print(
            f"written {format_size(total.written)}; mapfs pushed {total.pushed:,} pages, dropped {total.dropped:,}",
            highlight=False,
        )
    console.print(_file_table(summary.files[:most]))
    _rest(console, len(summary.files) - most, "files")
    console.print(_process_table(summary.processes[:most]))
    _rest(console, len(summary.processes) - most, "processes")


def _rest(console: Console, count: int, what: str) -> None:
    if count > 0:
        console.print(f"... and {count:,} more {what}; --json has them all", highlight=False)


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _file_table(rows: list[FileRow]) -> Table:
    table = _table("file", "pages", "of", "re-faults", "bytes", "p50", "p99", "errors", "wasted")
    for row in rows:
        table.add_row(
            Text(visible(row.file)),  # not a str, whose [brackets] would be markup
            f"{row.counts.pages:,}",
            f"{row.of_pages:,}",
            *_cells(row.counts),
            format_size(row.waste),
        )
    return table


def _process_table(rows: list[ProcessRow]) -> Table:
    table = _table("process", "threads", "pages", "re-faults", "bytes", "p50", "p99", "errors")
    for row in rows:
        name = "?" if row.pid is None else f"{visible(row.command or '?')}/{row.pid}"
        name += f" in {visible(row.container[:12])}" if row.container else ""
        table.add_row(
            Text(name), f"{row.threads:,}" if row.threads else "?", f"{row.counts.pages:,}", *_cells(row.counts)
        )
    return table


def _cells(counts: Counts) -> tuple[str, ...]:
    return (
        f"{counts.refaults:,}",
        format_size(counts.bytes),
        format_ns(counts.wait_p50_ns),
        format_ns(counts.wait_p99_ns),
        f"{counts.errors:,}",
    )
