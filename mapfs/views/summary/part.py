"""What a scan of a range of a trace finds, and how it packs rows: shared by `scan`, `seen` and whoever adds up."""

import sqlite3
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from mapfs.trace.events import AHEAD, JOINED, READ, SHARED

_CHUNK = 50_000  # events that one query packs into a text
CLASSES = (None, AHEAD, SHARED, JOINED)  # of faults
DEMAND = READ << 3  # the kind of a read that succeeded and that its thread waited for


def kind_of(op: int, failed: bool, direct: bool, ahead: bool) -> int:
    """What is counted together; `ahead`: read-ahead, which nobody waited for."""
    return op << 3 | failed << 2 | direct << 1 | ahead


@dataclass(frozen=True, slots=True)
class Layout:
    """What all parts of one scan have in common; `edges` are the serial numbers between the buckets of time."""

    page_size: int
    size: int  # of a plain request, whole pages
    threads: int
    files: int  # the largest id, as of threads; a request whose fact did not get through may have a larger one
    seen: bool  # whether there is evidence beyond the requests
    edges: list[int]

    @property
    def shift(self) -> int:
        """From bytes to pages."""
        return self.page_size.bit_length() - 1

    @property
    def file_bits(self) -> int:
        """Of a file's id, in a key and in the number of a page."""
        return self.files.bit_length()

    @property
    def refault_bits(self) -> int:
        """Of the number of re-faults, in a key."""
        return self.pages.bit_length()

    @property
    def pages(self) -> int:
        """Of a plain request."""
        return self.size // self.page_size

    def paging(self) -> str:
        """The number of the first page of a request, in SQL: other files have other numbers."""
        return f"((offset >> {self.shift}) << {self.file_bits}) | file"

    def plain(self) -> str:
        """The condition, in SQL, that a request can be packed. The classes say that it is a read and succeeded."""
        if self.threads.bit_length() + self.file_bits + self.refault_bits > 62:
            return "0"
        fits = 62 - self.file_bits + self.shift  # bits of an offset whose page can be packed
        whole = self.page_size - 1 | (-1 << fits if fits < 63 else 0)
        return (
            f"size = {self.size} AND (class = 'COLD' OR class = 'REFAULT')"
            f" AND ((offset & {whole}) | (file >> {self.file_bits})) = 0"
        )


@dataclass(slots=True)
class Group:
    """Requests of one thread for one file that are of one kind; `waits` is sorted when the scan has ended, ns."""

    waits: "array[int]" = field(default_factory=lambda: array("q"))
    wait_ns: int = 0
    bytes: int = 0
    pages: int = 0
    refaults: int = 0


@dataclass(slots=True)
class Piece:
    """What a part has of one bucket: the serial numbers `first` to before `end`.

    `several` counts the pages of reads of more than one page. `read` has the pages themselves while it is needed.
    """

    bucket: int
    first: int
    end: int
    demands: int = 0
    brought: int = 0
    refaults: int = 0
    pushed: int = 0
    several: int = 0
    longest: int = -1
    evicted: int = 0
    pages: int = 0
    read: set[int] = field(default_factory=set)

    def add(self, count: int, pages: int, refaults: int) -> None:
        """So many demands of so many pages each."""
        self.demands += count
        self.brought += count * pages
        self.refaults += refaults
        self.several += count * pages if pages > 1 else 0


@dataclass(slots=True)
class Part:
    """What a range of serial numbers adds up to.

    `groups` by thread, file and kind. `ends`: how far demands reached, of files whose last page is not whole. `faults`
    counts pages by thread, by_thread and class; `joined` has the number of waits, the sum of those that are known and
    how many those are, by thread and by_thread; `evicted` counts pages by file. A thread that is not known is 0.
    """

    groups: dict[tuple[int, int, int], Group] = field(default_factory=lambda: defaultdict(Group))
    pieces: list[Piece] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)
    faults: Counter[tuple[int, int, str | None]] = field(default_factory=Counter)
    joined: dict[tuple[int, int], tuple[int, int, int]] = field(default_factory=dict)
    evicted: Counter[int] = field(default_factory=Counter)


def pages_of(offset: int, size: int, page_size: int) -> range:
    """The pages of a request; one for nothing still concerns its page."""
    first = offset // page_size
    return range(first, max(first + 1, -(-(offset + size) // page_size)))


def in_pages(page_size: int, row: str) -> str:
    """How many pages the row of the table called `row` concerns, in SQL."""
    return f"max(1, ({row}.offset + {row}.size + {page_size - 1}) / {page_size} - {row}.offset / {page_size})"


def chunks(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """A range of serial numbers in pieces, each as much as one text is to hold."""
    return ((at, min(at + _CHUNK, stop)) for at in range(start, stop, _CHUNK))


_numbers = msgspec.json.Decoder(list[int]).decode


def columns_of(
    db: sqlite3.Connection, table: str, columns: list[str], where: str, bounds: tuple[int, int]
) -> list[list[int]]:
    """Each of `columns`, expressions in SQL that are never NULL, of the rows between `bounds` where `where` holds."""
    return [_numbers(f"[{text}]") for text in texts_of(db, table, columns, where, bounds)]


def texts_of(db: sqlite3.Connection, table: str, columns: list[str], where: str, bounds: tuple[int, int]) -> list[str]:
    """The same, each as one text with commas between the numbers."""
    wanted = ", ".join(f"group_concat({column})" for column in columns)
    query = f"SELECT {wanted} FROM {table} WHERE serial >= ? AND serial < ? AND {where}"  # noqa: S608
    return [text or "" for text in db.execute(query, bounds).fetchone()]
