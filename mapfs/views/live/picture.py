"""A range of a file's pages as rows of cells: which pages a cell stands for, and what is to be seen of them."""

from collections.abc import Iterator
from dataclasses import dataclass

from mapfs.views.live.model import KINDS, File
from mapfs.views.live.pagemap import PageMap, Seen


@dataclass(frozen=True, slots=True)
class Frame:
    """`each` pages a cell from `first` on, up to `end`, in rows of `width` cells."""

    first: int
    end: int
    each: int
    width: int

    @property
    def cells(self) -> int:
        """How many there are."""
        return -(-(self.end - self.first) // self.each)

    def cell_of(self, page: int) -> int:
        """Where `page` is shown, counted from 0."""
        return (page - self.first) // self.each

    def pages_of(self, cell: int) -> range:
        """What is shown there."""
        start = self.first + cell * self.each
        return range(start, min(start + self.each, self.end))


def frame_of(first: int, end: int, width: int, rows: int, *, pages_a_cell: int = 1) -> Frame:
    """The finest that fits: at least `pages_a_cell` pages a cell, and whole multiples of them."""
    each = max(1, -(-(end - first) // (max(1, width) * max(1, rows))))
    each = -(-each // pages_a_cell) * pages_a_cell
    return Frame(first, end, each, max(1, width))


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell shows. `resident` pages of it are in the page cache, as far as is known."""

    pages: range
    seen: Seen
    resident: int

    @property
    def kind(self) -> str:
        """What happened last; empty where nothing did."""
        return KINDS[self.seen.kind]


def cells_of(frame: Frame, file: File, pages: PageMap) -> Iterator[Cell]:
    """Its cells, with what `pages` knows: those of the file, or of one process of it."""
    for cell in range(frame.cells):
        members = frame.pages_of(cell)
        seen = pages.seen(members.start, len(members))
        yield Cell(members, seen, file.resident.within(members.start, len(members)))


def zoomed(frame: Frame, page: int, factor: float, count: int) -> tuple[int, int]:
    """A range `factor` times as long around `page`, within the `count` pages of the file, and of a page at least."""
    length = max(1, min(count, round((frame.end - frame.first) * factor)))
    first = max(0, min(page - length // 2, count - length))
    return first, first + length
