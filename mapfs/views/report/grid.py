"""The picture of a long trace: how many marks of each kind fall into each cell of offset and time.

A cell is a number, `lane | colour | kind | column | row` from the highest bit to the lowest: a lane is a file, a colour
a process or the rest of them. When there are more cells than may be kept, rows are merged by two, and columns, so that
memory and page are bounded whatever the trace; what a cell then measures, the page says.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from mapfs.units import page_count

if TYPE_CHECKING:
    from mapfs.trace.columns import Numbers as Array

Numbers = TypeVar("Numbers", int, "Array")

LANES = 12  # files that are drawn
COLOURS = 7  # processes that have one of their own
OTHERS, NOBODY = COLOURS, COLOURS + 1  # the colours of all others, and of nobody known
KEPT = 300_000  # cells while counting
SHOWN = 150_000  # cells in the page: some 3 MB
ROW_BITS, COLUMN_BITS, KIND_BITS, COLOUR_BITS = 10, 8, 4, 4
CELL_BITS = ROW_BITS + COLUMN_BITS  # of column and row
_FEWEST_ROWS, _FEWEST_COLUMNS = 64, 16
_ROW, _CELL, _KIND = (1 << ROW_BITS) - 1, (1 << CELL_BITS) - 1, (1 << KIND_BITS) - 1


@dataclass(frozen=True, slots=True)
class Layout:
    """What all parts of a scan have in common. `row_shift` and `column_shift` say how often rows and columns were
    merged. What has no lane is not drawn.
    """

    page_size: int
    plain_size: int  # bytes of a request of the most common size
    start_ns: int  # CLOCK_MONOTONIC
    row_ns: int  # of the finest rows
    file_bits: int  # of the ids
    thread_bits: int
    widths: dict[int, int]  # of each file's finest columns, bytes
    lanes: dict[int, int]  # of each file that is drawn
    colours: dict[int, int]  # of each thread that is known
    row_shift: int = 0
    column_shift: int = 0

    @property
    def packs(self) -> bool:
        """Whether file, thread, kind, column and row fit a number of SQLite."""
        return CELL_BITS + KIND_BITS + self.thread_bits + self.file_bits < 63

    @property
    def height_ns(self) -> int:
        """Of a row as it is now."""
        return self.row_ns << self.row_shift

    def width(self, file: int) -> int:
        """Of a column of `file` as it is now, bytes."""
        return self.widths.get(file, self.page_size) << self.column_shift

    def row(self, time_ns: int) -> int:
        """Where `time_ns` falls."""
        return min(max(0, time_ns - self.start_ns) // self.height_ns, _ROW)

    def columns(self, file: int, offset: int, size: int) -> range:
        """Those that some bytes lie in."""
        width, most = self.width(file), 1 << COLUMN_BITS
        first = min(offset // width, most - 1)
        return range(first, min(max(first + 1, page_count(offset + size, width)), most))

    def group(self, number: int) -> tuple[int, int, int]:
        """File, thread and kind of what SQL packed above column and row."""
        who = number >> KIND_BITS
        return who >> self.thread_bits, who & (1 << self.thread_bits) - 1, number & _KIND

    def base(self, file: int, thread: int, kind: int) -> int | None:
        """The first cell of a group; None where it is not drawn."""
        lane = self.lanes.get(file)
        if lane is None:
            return None
        colour = self.colours.get(thread, OTHERS if thread else NOBODY)
        return ((lane << COLOUR_BITS | colour) << KIND_BITS | kind) << CELL_BITS

    def merging(self) -> tuple[int, int] | None:
        """How often rows and columns are halved next, when there are too many cells; None where they no more can be."""
        rows, columns = (1 << ROW_BITS) >> self.row_shift, (1 << COLUMN_BITS) >> self.column_shift
        if rows > _FEWEST_ROWS and (rows > 2 * columns or columns <= _FEWEST_COLUMNS):
            return 1, 0
        return (0, 1) if columns > _FEWEST_COLUMNS else None

    def merged(self, rows: int, columns: int) -> "Layout":
        """With rows and columns halved so often."""
        return replace(self, row_shift=self.row_shift + rows, column_shift=self.column_shift + columns)

    def sql(self, kind: str, condition: str) -> str:
        """File, thread, kind, column and row of a row `e` with the width `w.width`, packed, in SQL; minus its serial
        where `condition` does not hold.
        """
        if not self.packs:
            return "-e.serial"
        group = f"(e.file << {self.thread_bits} | ifnull(e.thread, 0)) << {KIND_BITS} | {kind}"
        row = f"(e.time_ns - {self.start_ns}) / {self.height_ns}"
        column = f"min(e.offset / w.width, {(1 << COLUMN_BITS) - 1})"  # a file may have grown
        cell = f"(({group}) << {COLUMN_BITS} | {column}) << {ROW_BITS} | {row}"
        return f"CASE WHEN {condition} AND w.width AND e.time_ns >= {self.start_ns} THEN {cell} ELSE -e.serial END"


def coarser(cell: Numbers, rows: int, columns: int) -> Numbers:
    """Where a cell is, or each of an array, when rows and columns are halved so often."""
    column = (cell & _CELL) >> ROW_BITS >> columns
    return cell & ~_CELL | column << ROW_BITS | (cell & _ROW) >> rows


def widths_of(sizes: Iterable[tuple[int, int]], page_size: int, plain_size: int) -> dict[int, int]:
    """The finest columns of each file: a power of two pages, and no less than what one request brings."""
    widths = {}
    for file, size in sizes:
        width = page_size
        while width < plain_size or width << COLUMN_BITS < size:
            width *= 2
        widths[file] = width
    return widths


def row_of(span_ns: int) -> int:
    """The finest rows of a span: 1, 2 or 5 times a power of ten, so that no more than fit are needed."""
    height = 1
    while True:
        for factor in (1, 2, 5):
            if factor * height << ROW_BITS > span_ns:
                return factor * height
        height *= 10


@dataclass(frozen=True, slots=True)
class Cell:
    """What happened in one cell of one lane: `count` marks of a kind, `own` of them of the colour that has most."""

    lane: int
    column: int
    row: int
    kind: int
    colour: int
    count: int
    own: int


class Grid:
    """Cells and their counts, as many as `KEPT`."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.cells: dict[int, int] = {}

    def fit(self) -> bool:
        """Merges rows and columns until there are few enough cells; whether the layout changed."""
        before = self.layout
        while len(self.cells) > KEPT and self._coarser():
            pass
        return self.layout is not before

    def _coarser(self) -> bool:
        merging = self.layout.merging()
        if merging is not None:
            self._merge(*merging)
        return merging is not None

    def _merge(self, rows: int, columns: int) -> None:
        merged: dict[int, int] = {}
        for cell, count in self.cells.items():
            coarse = coarser(cell, rows, columns)
            merged[coarse] = merged.get(coarse, 0) + count
        self.cells = merged
        self.layout = self.layout.merged(rows, columns)

    def add(self, other: "Grid") -> None:
        """What another counted, at the coarser of the two resolutions."""
        for one, than in ((self, other), (other, self)):
            rows = than.layout.row_shift - one.layout.row_shift
            columns = than.layout.column_shift - one.layout.column_shift
            if rows > 0 or columns > 0:
                one._merge(max(0, rows), max(0, columns))
        for cell, count in other.cells.items():
            self.cells[cell] = self.cells.get(cell, 0) + count
        self.fit()

    def shown(self) -> list[Cell]:
        """At most `SHOWN` cells; what several processes did in one is one of them."""
        while True:
            cells = list(self._by_place())
            if len(cells) <= SHOWN or not self._coarser():
                return cells

    def _by_place(self) -> Iterator[Cell]:
        places: dict[int, dict[int, int]] = defaultdict(dict)
        low = CELL_BITS + KIND_BITS
        for cell, count in self.cells.items():
            colour = cell >> low & (1 << COLOUR_BITS) - 1
            places[cell >> low + COLOUR_BITS << low | cell & (1 << low) - 1][colour] = count
        for place, counts in places.items():
            colour = max(counts, key=lambda one: (counts[one], -one))
            yield Cell(
                place >> low, (place & _CELL) >> ROW_BITS, place & _ROW, place >> CELL_BITS & _KIND,
                colour, sum(counts.values()), counts[colour],
            )  # fmt: skip
