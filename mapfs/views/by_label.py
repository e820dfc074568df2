"""What was demanded in the words of the files' formats: for each label its pages, re-faults and waits.

A page that holds bytes of several labels counts for each of them, for which of them was touched nobody knows; so the
rows of a file add up to more than its pages. Pages without a label are gathered in a row of their own. Of a file that
changed while it was mounted, what was demanded of the newest version counts.
"""

import sqlite3
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

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


@dataclass(slots=True)
class _Demanded:
    """What was asked for of one file: spans of pages, and pages, with how often and for how long."""

    spans: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)  # demands, wait_ns
    pages: dict[int, int] = field(default_factory=dict)  # re-faults
    pushed: set[int] = field(default_factory=set)

    def add(self, op: int, first: int, count: int, wait_ns: int) -> None:
        """A read, or a push, which is in the page cache before it is asked for."""
        pages = range(first, first + count)
        if op == 3:
            self.pushed.update(pages)
            return
        demands, waited = self.spans.get((first, count), (0, 0))
        self.spans[first, count] = demands + 1, waited + wait_ns
        for page in pages:
            before = self.pages.get(page)
            self.pages[page] = int(page in self.pushed) if before is None else before + 1


def by_label(db: sqlite3.Connection) -> ByLabel:
    """Asks the trace, and the backings of its files."""
    mountpoint, page_size = db.execute("SELECT mountpoint, page_size FROM mount").fetchone()
    labels = TraceLabels(db)
    files: list[FileLabels] = []
    rows: list[LabelRow] = []
    newest = labels.newest()
    found = {file: _Demanded() for file in newest}
    for file, *request in db.execute(_ROWS):
        if file in found:
            found[file].add(*request)
    for file, path in sorted(newest.items(), key=lambda one: one[1]):
        if found[file].pages:
            known, made = _of_file(path, labels.of(file), found[file], page_size)
            files.append(FileLabels(path, known, sum(row.label is not None for row in made)))
            rows += made
    lost = db.execute("SELECT coalesce(sum(count), 0) FROM losses").fetchone()[0]
    rows.sort(key=lambda row: (-row.pages, -row.wait_ns, row.file, row.label or ""))
    return ByLabel(mountpoint, page_size, lost, files, rows)


def _of_file(path: str, labels: Labels | None, demanded: _Demanded, page_size: int) -> tuple[int, list[LabelRow]]:
    """How many labels the file has, and a row for each that was demanded."""
    extents = labels.extents(page_size) if labels is not None else {}
    rows: dict[str | None, LabelRow] = {}

    def rows_of(first: int, count: int) -> list[LabelRow]:
        names: list[str | None] = [*labels.names(first * page_size, count * page_size)] if labels is not None else []
        for name in names or [None]:
            if name not in rows:
                rows[name] = LabelRow(path, name, *(extents[name] if name is not None else (None, None)))
        return [rows[name] for name in names or [None]]

    for (first, count), (demands, wait_ns) in demanded.spans.items():
        for row in rows_of(first, count):
            row.demands += demands
            row.wait_ns += wait_ns
    for page, refaults in demanded.pages.items():
        for row in rows_of(page, 1):
            row.pages += 1
            row.refaults += refaults
    return len(extents), list(rows.values())


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
