"""What was demanded in the words of the files' formats: for each label its pages, re-faults and waits.

A page that holds bytes of several labels counts for each of them, for which of them was touched nobody knows; so the
rows of a file add up to more than its pages. Pages without a label are gathered in a row of their own. Of a file that
changed while it was mounted, what was demanded of the newest version counts.
"""

import sqlite3
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mapfs.trace.classify import PageSet
from mapfs.trace.events import PUSH
from mapfs.trace.labels import Labels
from mapfs.trace.labels.book import TraceLabels
from mapfs.units import format_ns, format_size
from mapfs.views.lines import visible

# what brought pages in, in order: of what a read asks for again, some may have been pushed before
_ROWS = """
    SELECT r.file, r.op, r.offset / m.page_size,
        max(1, (r.offset + r.size + m.page_size - 1) / m.page_size - r.offset / m.page_size), r.wait_ns
    FROM requests r CROSS JOIN mount m WHERE r.op IN (1, 3) AND r.errno = 0 AND r.direct = 0 ORDER BY r.serial"""


@dataclass(slots=True)
class LabelRow:
    """One label of one file; `label` None: the pages that have none, of which size and pages are not known.

    `bytes` are those of the label, `of_pages` the pages that hold some of them, `pages` those of them that were
    demanded, `refaults` how often one was demanded again. `wait_ns` is that of all demands for them.
    """

    file: str
    label: str | None
    bytes: int | None
    of_pages: int | None
    pages: int = 0
    refaults: int = 0
    demands: int = 0
    wait_ns: int = 0


@dataclass(frozen=True, slots=True)
class FileLabels:
    """A file: how many labels it has, and how many of them were demanded."""

    file: str
    labels: int
    demanded: int


@dataclass(frozen=True, slots=True)
class ByLabel:
    """All of it. `lost` events are in none of the counts."""

    mountpoint: str
    page_size: int
    lost: int
    files: list[FileLabels]
    labels: list[LabelRow]

    def as_json(self) -> dict[str, Any]:
        """The same as plain objects."""
        return asdict(self)


class _File:
    """Adds up the requests for one file, in their order: memory grows with the labels, and by a bit a page."""

    def __init__(self, path: str, labels: Labels | None, page_size: int) -> None:
        self._path = path
        self._labels = labels
        self._page_size = page_size
        self._extents = labels.extents(page_size) if labels is not None else {}
        self._names: dict[int, str] = {}
        self._demanded = PageSet()
        self._brought = PageSet()
        self.rows: dict[str | None, LabelRow] = {}

    @property
    def summary(self) -> FileLabels:
        """How many labels it has, and how many were demanded."""
        return FileLabels(self._path, len(self._extents), sum(name is not None for name in self.rows))

    def add(self, op: int, first: int, count: int, wait_ns: int) -> None:
        """A read, or a push, which is in the page cache before it is asked for."""
        pages = range(first, first + count)
        if op == PUSH:
            for page in pages:
                self._brought.add(page)
            return
        rows = self._of(first, count)
        for row in rows:
            row.demands += 1
            row.wait_ns += wait_ns
        for page in pages:
            new, again = self._demanded.add(page), not self._brought.add(page)
            for row in rows if count == 1 else self._of(page, 1):
                row.pages += new
                row.refaults += again

    def _of(self, first: int, count: int) -> list[LabelRow]:
        """The rows of what `count` pages hold."""
        if self._labels is None:
            return [self._row(None)]
        numbers = self._labels.numbers(first * self._page_size, count * self._page_size)
        names = dict.fromkeys([self._name(number) for number in numbers])
        return [self._row(name) for name in names] or [self._row(None)]

    def _name(self, number: int) -> str:
        name = self._names.get(number)
        if name is None:
            assert self._labels is not None, "numbers are of labels"
            name = self._names[number] = self._labels.name(number)
        return name

    def _row(self, name: str | None) -> LabelRow:
        row = self.rows.get(name)
        if row is None:
            size, pages = self._extents[name] if name is not None else (None, None)
            row = self.rows[name] = LabelRow(self._path, name, size, pages)
        return row


def by_label(db: sqlite3.Connection) -> ByLabel:
    """Asks the trace, and the backings of its files."""
    mountpoint, page_size = db.execute("SELECT mountpoint, page_size FROM mount").fetchone()
    labels = TraceLabels(db)
    newest = labels.newest()
    files: dict[int, _File] = {}
    for number, *request in db.execute(_ROWS):
        file = files.get(number)
        if file is None:
            if number not in newest:
                continue
            file = files[number] = _File(newest[number], labels.of(number), page_size)
        file.add(*request)
    rows = [row for file in files.values() for row in file.rows.values()]
    rows.sort(key=lambda row: (-row.pages, -row.wait_ns, row.file, row.label or ""))
    told = sorted((file.summary for file in files.values() if file.rows), key=lambda one: one.file)
    lost = db.execute("SELECT coalesce(sum(count), 0) FROM losses").fetchone()[0]
    return ByLabel(mountpoint, page_size, lost, told, rows)


def render(found: ByLabel, console: Console, *, most: int) -> None:
    """Prints a line a file and a row a label; at most `most` of each."""
    labelled = [file for file in found.files if file.labels]
    for file in labelled[:most]:
        said = f": {file.demanded:,} of {file.labels:,} labels demanded"
        console.print(Text.assemble((visible(file.file), "bold"), said), soft_wrap=True)
    if len(labelled) > most:
        console.print(f"... and {len(labelled) - most:,} more files; --json has them all", highlight=False)
    if len(labelled) < len(found.files):
        console.print(f"files without labels: {len(found.files) - len(labelled):,}", highlight=False)
    if found.lost:
        console.print(f"[red]lost {found.lost:,} events: they are in none of these numbers[/]", highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("file", "label"):
        table.add_column(name, overflow="fold")
    for name in ("bytes", "pages", "of", "re-faults", "demands", "waited"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found.labels[:most]:
        table.add_row(
            Text(visible(row.file)),
            Text(visible(row.label) if row.label is not None else "-"),
            format_size(row.bytes) if row.bytes is not None else "?",
            f"{row.pages:,}",
            f"{row.of_pages:,}" if row.of_pages is not None else "?",
            f"{row.refaults:,}",
            f"{row.demands:,}",
            format_ns(row.wait_ns),
        )
    console.print(table)
    if len(found.labels) > most:
        console.print(f"... and {len(found.labels) - most:,} more labels; --json has them all", highlight=False)
    if labelled:
        console.print("a page that holds several labels counts for each of them", highlight=False)
