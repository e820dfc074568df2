"""Two traces side by side: which pages only one of them demanded, which both did, and how long each waited.

Files are the same where their paths within the mounts are. A page is a set bit, so that a trace of ten million
demands takes a few MiB. What was pushed, written or dropped is no demand.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mapfs.units import format_ns
from mapfs.views.lines import visible

_ROWS = """
    SELECT f.path, r.offset / m.page_size,
        max(1, (r.offset + r.size + m.page_size - 1) / m.page_size - r.offset / m.page_size), r.wait_ns, f.size
    FROM requests r CROSS JOIN mount m JOIN files f ON f.id = r.file
    WHERE r.op = 1 AND r.errno = 0 AND r.direct = 0"""
_WORD = 1 << 15  # pages in one integer of a set


@dataclass(slots=True)
class Demanded:
    """What one trace demanded of one file: a set of pages as integers of `_WORD` bits, the waits in ns."""

    words: dict[int, int] = field(default_factory=dict)
    demands: int = 0
    wait_ns: int = 0
    size: int = 0

    def add(self, first: int, count: int, wait_ns: int, size: int) -> None:
        """One demand."""
        self.demands += 1
        self.wait_ns += wait_ns
        self.size = size
        for page in range(first, first + count):
            number, bit = divmod(page, _WORD)
            self.words[number] = self.words.get(number, 0) | 1 << bit

    def without(self, other: "Demanded") -> Iterator[tuple[int, int]]:
        """The words of the pages that `other` lacks."""
        for number, word in sorted(self.words.items()):
            yield number, word & ~other.words.get(number, 0)

    @property
    def pages(self) -> int:
        """How many different pages."""
        return sum(word.bit_count() for word in self.words.values())


@dataclass(frozen=True, slots=True)
class FileDiff:
    """One file. Pages are counted; the runs are first page and number of pages. Waits in ns."""

    file: str
    only_a: int
    only_b: int
    both: int
    wait_a_ns: int
    wait_b_ns: int
    runs_only_a: list[tuple[int, int]]
    runs_only_b: list[tuple[int, int]]
    #: The sizes of the two files differ, so that a page of one need not be the page of the other.
    other_version: bool


@dataclass(frozen=True, slots=True)
class Diff:
    """All of it. Demands and pages of both traces, waits in ns."""

    files: list[FileDiff]
    demands_a: int
    demands_b: int
    pages_a: int
    pages_b: int
    wait_a_ns: int
    wait_b_ns: int
    lost_a: int
    lost_b: int

    def as_json(self) -> dict[str, Any]:
        """The same as plain objects, with the verdict."""
        return {**asdict(self), "verdict": verdict(self)}


def compare(a: sqlite3.Connection, b: sqlite3.Connection) -> Diff:
    """Asks both traces."""
    ours, theirs = _demanded(a), _demanded(b)
    nothing = Demanded()
    files = [_file(path, ours.get(path, nothing), theirs.get(path, nothing)) for path in sorted({*ours, *theirs})]
    return Diff(
        sorted(files, key=lambda one: (-(one.only_a + one.only_b), one.file)),
        sum(one.demands for one in ours.values()),
        sum(one.demands for one in theirs.values()),
        sum(one.pages for one in ours.values()),
        sum(one.pages for one in theirs.values()),
        sum(one.wait_ns for one in ours.values()),
        sum(one.wait_ns for one in theirs.values()),
        _lost(a),
        _lost(b),
    )


def _demanded(db: sqlite3.Connection) -> dict[str, Demanded]:
    found: dict[str, Demanded] = {}
    for path, first, count, wait_ns, size in db.execute(_ROWS):
        one = found.get(path)
        if one is None:
            one = found[path] = Demanded()
        one.add(first, count, wait_ns, size)
    return found


def _lost(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT coalesce(sum(count), 0) FROM losses").fetchone()[0])


def _file(path: str, a: Demanded, b: Demanded) -> FileDiff:
    only_a, only_b = _runs(a.without(b)), _runs(b.without(a))
    alone_a, alone_b = (sum(count for _, count in runs) for runs in (only_a, only_b))
    other = bool(a.demands and b.demands and a.size != b.size)
    return FileDiff(path, alone_a, alone_b, a.pages - alone_a, a.wait_ns, b.wait_ns, only_a, only_b, other)


def _runs(words: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    """Set bits as runs: first page, number of pages."""
    runs: list[tuple[int, int]] = []
    for number, word in words:
        page = number * _WORD
        while word:
            zeroes = (word & -word).bit_length() - 1
            word >>= zeroes
            ones = (~word & word + 1).bit_length() - 1
            word >>= ones
            page += zeroes
            if runs and runs[-1][0] + runs[-1][1] == page:
                runs[-1] = (runs[-1][0], runs[-1][1] + ones)
            else:
                runs.append((page, ones))
            page += ones
    return runs


def verdict(diff: Diff) -> str:
    """One sentence."""
    if not diff.demands_a or not diff.demands_b:
        empty = "neither" if diff.demands_a == diff.demands_b else "A" if not diff.demands_a else "B"
        return f"{empty} demanded a page" if empty == "neither" else f"{empty} demanded no page"
    more = diff.pages_b - diff.pages_a
    pages = "as many pages" if not more else f"{abs(more):,} page{'s' if abs(more) > 1 else ''} {_than(more)}"
    if not diff.wait_a_ns or not diff.wait_b_ns:
        return f"B demanded {pages}"
    ratio = diff.wait_b_ns / diff.wait_a_ns
    waits = f"{ratio:.2f} times as long" if ratio >= 1 else f"{1 / ratio:.2f} times shorter"
    return f"B demanded {pages}, and waited {waits} in all"


def _than(more: int) -> str:
    return "more than A" if more > 0 else "fewer than A"


def render(diff: Diff, console: Console, *, most: int) -> None:
    """Prints the verdict, the sums and a row a file; at most `most` of them."""
    console.print(Text(verdict(diff), "bold"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold")
    for name in ("only in A", "only in B", "in both", "waited A", "waited B"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in diff.files[:most]:
        numbers = (f"{row.only_a:,}", f"{row.only_b:,}", f"{row.both:,}")
        name = visible(row.file) + (" (another size)" if row.other_version else "")
        table.add_row(Text(name), *numbers, format_ns(row.wait_a_ns), format_ns(row.wait_b_ns))
    console.print(table)
    if len(diff.files) > most:
        console.print(f"... and {len(diff.files) - most:,} more files; --json has them all", highlight=False)
    for name, lost in (("A", diff.lost_a), ("B", diff.lost_b)):
        if lost:
            console.print(
                f"[red]{name} lost {lost:,} events: what it demanded in them is not known[/]", highlight=False
            )
