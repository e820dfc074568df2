"""Two traces in the words of the files' formats: which labels only one of them demanded, which both did.

A label is demanded where a page that holds some of its bytes is. Each trace's labels are those of its own backing.
"""

import sqlite3
from collections import Counter
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mapfs.trace.labels import Labels
from mapfs.trace.labels.book import TraceLabels
from mapfs.views.lines import visible

_DEMANDED = "r.op = 1 AND r.errno = 0 AND r.direct = 0"
_FILES = f"SELECT DISTINCT r.file FROM requests r WHERE {_DEMANDED}"  # noqa: S608 -- a constant of this module
_PAGES = f"""
    SELECT DISTINCT r.file, r.offset / m.page_size,
        max(1, (r.offset + r.size + m.page_size - 1) / m.page_size - r.offset / m.page_size)
    FROM requests r CROSS JOIN mount m WHERE {_DEMANDED}"""  # noqa: S608 -- the same


@dataclass(frozen=True, slots=True)
class LabelDiff:
    """One label: the pages with bytes of it that A demanded, that B did, and that both did."""

    file: str
    label: str
    pages_a: int
    pages_b: int
    both: int


@dataclass(frozen=True, slots=True)
class _File:
    labels: Labels
    pages: set[int]
    page_size: int

    def names(self, page: int) -> list[str]:
        return self.labels.names(page * self.page_size, self.page_size)


def compare_labels(a: sqlite3.Connection, b: sqlite3.Connection) -> list[LabelDiff]:
    """Asks both traces, and the backings of their files. Those with the most pages in one alone come first."""
    ours, theirs = _files(a), _files(b)
    rows: list[LabelDiff] = []
    for path in {*ours, *theirs}:
        rows += _of_file(path, ours.get(path), theirs.get(path))
    return sorted(rows, key=lambda row: (-(row.pages_a + row.pages_b - 2 * row.both), row.file, row.label))


def _files(db: sqlite3.Connection) -> dict[str, _File]:
    """The files that have labels and were demanded, by their paths."""
    (page_size,) = db.execute("SELECT page_size FROM mount").fetchone()
    labels = TraceLabels(db)
    newest = labels.newest()
    demanded = [file for (file,) in db.execute(_FILES).fetchall() if file in newest]
    found = {file: _File(its, set(), page_size) for file in demanded if (its := labels.of(file)) is not None}
    for file, first, count in db.execute(_PAGES) if found else ():
        if file in found:
            found[file].pages.update(range(first, first + count))
    return {newest[file]: one for file, one in found.items()}


def _of_file(path: str, a: _File | None, b: _File | None) -> list[LabelDiff]:
    counts: tuple[Counter[str], Counter[str], Counter[str]] = (Counter(), Counter(), Counter())
    for page in sorted((a.pages if a else set()) | (b.pages if b else set())):
        names_a = {*a.names(page)} if a and page in a.pages else set[str]()
        names_b = {*b.names(page)} if b and page in b.pages else set[str]()
        for count, names in zip(counts, (names_a, names_b, names_a & names_b), strict=True):
            count.update(names)
    in_a, in_b, in_both = counts
    return [LabelDiff(path, name, in_a[name], in_b[name], in_both[name]) for name in {*in_a, *in_b}]


def render(rows: list[LabelDiff], console: Console, *, most: int) -> None:
    """Prints how many labels are in which trace, and a row for each of the first `most`."""
    if not rows:
        return
    alone_a = sum(not row.pages_b for row in rows)
    alone_b = sum(not row.pages_a for row in rows)
    both = len(rows) - alone_a - alone_b
    console.print(f"labels: {alone_a:,} only in A, {alone_b:,} only in B, {both:,} in both", highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("file", "label"):
        table.add_column(name, overflow="fold")
    for name in ("only in A", "only in B", "in both"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows[:most]:
        numbers = (f"{row.pages_a - row.both:,}", f"{row.pages_b - row.both:,}", f"{row.both:,}")
        table.add_row(Text(visible(row.file)), Text(visible(row.label)), *numbers)
    console.print(table)
    if len(rows) > most:
        console.print(f"... and {len(rows) - most:,} more labels; --json has them all", highlight=False)
