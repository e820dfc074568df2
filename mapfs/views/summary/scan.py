"""One pass over a range of a trace's events: sums, waits and pages, as far as they can be had from the range alone.

Ten million rows are read in seconds because most never become a row in Python. A *plain* request, a read of the size
that is most common in the trace, is packed into numbers by SQL, and group_concat hands fifty thousand of them over in
one text, which msgspec decodes. Of the others (the tail of a file, errors, writes, what mapfs does itself) the
packing tells the serial numbers, and they are read row by row. Both end in the same groups; nothing is estimated.
"""

import sqlite3
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec

from mapfs.trace.events import PUSH, READ

_CHUNK = 50_000  # events that one query packs into a text
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
            f"class IN ('COLD', 'REFAULT') AND size = {self.size}"
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


@dataclass(slots=True)
class Part:
    """What a range of serial numbers adds up to.

    `groups` by thread, file and kind. `ends`: how far demands reached, of files whose last page is not whole. `faults`
    counts rows by thread, by_thread, class and pages; `joined` has their number, their known waits and how many those
    are, by thread and by_thread; `evicted` counts pages by file.
    """

    groups: dict[tuple[int, int, int], Group] = field(default_factory=lambda: defaultdict(Group))
    pieces: list[Piece] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)
    faults: Counter[tuple[int | None, int | None, str | None, int]] = field(default_factory=Counter)
    joined: dict[tuple[int | None, int | None], tuple[int, int, int]] = field(default_factory=dict)
    evicted: Counter[int] = field(default_factory=Counter)


class _Packed:
    """The waits of plain requests by their keys, and the serial numbers of what is not plain."""

    def __init__(self) -> None:
        self.waits: dict[int, array[int]] = {}
        self.others: list[int] = []
        self._appends: dict[int, Callable[[int], None]] = {}

    def add(self, keys: list[int], waits: list[int]) -> None:
        """What stands at the same place in both belongs together; a negative key is a serial number."""
        appends, pairs = self._appends, zip(keys, waits, strict=True)
        self.others = []
        while True:
            key, wait = 0, 0
            try:
                for key, wait in pairs:
                    appends[key](wait)
                return
            except KeyError:
                if key < 0:
                    self.others.append(-key)
                    continue
                self.waits[key] = array("q", [wait])
                appends[key] = self.waits[key].append


def scan(db: sqlite3.Connection, layout: Layout, first: int, end: int) -> Part:
    """Scans the events with serial numbers from `first` to before `end`."""
    part, packed = Part(), _Packed()
    again = False  # whether the bucket before had re-faults, as this one then has too, most likely
    for bucket, (low, high) in enumerate(pairwise(layout.edges)):
        start, stop = max(low, first), min(high, end)
        if start >= stop:
            continue
        piece = Piece(bucket, start, stop)
        before = {key: len(waits) for key, waits in packed.waits.items()}
        for bounds in _chunks(start, stop):
            _plain(db, layout, bounds, packed, piece, paged=again)
            if packed.others:
                _others(layout, _rows(db, layout, bounds, packed.others), part, piece)
        _add_up(packed.waits, before, layout, piece)
        if layout.seen:
            _evictions(db, layout, part, piece)
        whole = (start, stop) == (low, high)
        if not again and (piece.refaults or not whole):
            _pages(db, layout, piece)
        again = bool(piece.refaults)
        piece.pages = len(piece.read) if again else piece.brought  # without re-faults each is another one
        piece.read = set() if whole else piece.read
        part.pieces.append(piece)
    if layout.seen:
        _faults(db, layout, (first, end), part)
    _unpack(packed.waits, layout, part)
    for group in part.groups.values():
        ordered = sorted(group.waits)
        group.wait_ns = sum(ordered)
        group.waits = array("q", ordered)
    return part


def _chunks(start: int, stop: int) -> Iterator[tuple[int, int]]:
    return ((at, min(at + _CHUNK, stop)) for at in range(start, stop, _CHUNK))


_numbers = msgspec.json.Decoder(list[int]).decode


def _plain(
    db: sqlite3.Connection, layout: Layout, bounds: tuple[int, int], packed: _Packed, piece: Piece, *, paged: bool
) -> None:
    """Adds the waits of plain requests to `packed`, and the serial numbers of the others; where `paged`, their pages
    to the piece.
    """
    packing = f"(((ifnull(thread, 0) << {layout.file_bits}) | file) << {layout.refault_bits}) | refaults"
    columns = [f"CASE WHEN {layout.plain()} THEN {packing} ELSE -serial END", "wait_ns"]
    columns += [layout.paging()] if paged else []
    texts = db.execute(
        f"SELECT {', '.join(f'group_concat({column})' for column in columns)}"  # noqa: S608 -- numbers alone
        " FROM requests WHERE serial >= ? AND serial < ?",
        bounds,
    ).fetchone()
    keys, waits, *paging = [_numbers(f"[{text or ''}]") for text in texts]
    packed.add(keys, waits)
    piece.longest = max(piece.longest, max(waits, default=-1))
    for pages in paging:
        plain = [page for page, key in zip(pages, keys, strict=True) if key >= 0] if packed.others else pages
        _read(layout, plain, piece)


def _pages(db: sqlite3.Connection, layout: Layout, piece: Piece) -> None:
    """The pages of plain requests, which were not kept when their waits were read."""
    for bounds in _chunks(piece.first, piece.end):
        (text,) = db.execute(
            f"SELECT group_concat({layout.paging()}) FROM requests"  # noqa: S608 -- numbers alone
            f" WHERE serial >= ? AND serial < ? AND {layout.plain()}",
            bounds,
        ).fetchone()
        _read(layout, _numbers(f"[{text or ''}]"), piece)


def _read(layout: Layout, pages: list[int], piece: Piece) -> None:
    """The pages of the plain requests whose first ones are `pages`."""
    for number in range(layout.pages):
        ahead = number << layout.file_bits
        piece.read.update([page + ahead for page in pages] if ahead else pages)


def _add_up(waits: "dict[int, array[int]]", before: dict[int, int], layout: Layout, piece: Piece) -> None:
    """The sums of the plain requests since `before`."""
    again = (1 << layout.refault_bits) - 1
    for key, own in waits.items():
        count = len(own) - before.get(key, 0)
        piece.demands += count
        piece.brought += count * layout.pages
        piece.refaults += count * (key & again)
        piece.several += count * layout.pages if layout.pages > 1 else 0


def _unpack(waits: "dict[int, array[int]]", layout: Layout, part: Part) -> None:
    """Plain requests into the groups they are of."""
    for key, own in waits.items():
        who, refaults = key >> layout.refault_bits, key & (1 << layout.refault_bits) - 1
        group = part.groups[who >> layout.file_bits, who & (1 << layout.file_bits) - 1, DEMAND]
        group.waits.extend(own)
        group.bytes += len(own) * layout.size
        group.pages += len(own) * layout.pages
        group.refaults += len(own) * refaults


Row = tuple[int, int, int, int, int, int, int, int, int, int]


def _rows(db: sqlite3.Connection, layout: Layout, bounds: tuple[int, int], others: list[int]) -> Iterator[Row]:
    """The requests that are not plain: one by one where they are few, by looking at all where they are many."""
    columns = (
        "SELECT ifnull(thread, 0), file, op, errno <> 0, direct, class IS 'AHEAD', offset, size, refaults, wait_ns"
        " FROM requests"
    )
    if len(others) < (bounds[1] - bounds[0]) // 20:
        return db.execute(f"{columns} WHERE serial IN (SELECT value FROM json_each(?))", (str(others),))  # noqa: S608
    return db.execute(f"{columns} WHERE serial >= ? AND serial < ? AND ({layout.plain()}) IS NOT 1", bounds)


def _others(layout: Layout, rows: Iterable[Row], part: Part, piece: Piece) -> None:
    """The requests that are not plain."""
    bits = layout.file_bits
    for thread, file, op, failed, direct, ahead, offset, size, refaults, wait in rows:
        kind = kind_of(op, bool(failed), bool(direct), bool(ahead))
        pages = pages_of(offset, size, layout.page_size)
        group = part.groups[thread, file, kind]
        group.waits.append(wait)
        group.bytes += size
        group.pages += len(pages)
        group.refaults += refaults
        if kind in (DEMAND, DEMAND | 1):
            piece.demands += not ahead
            piece.brought += len(pages)
            piece.refaults += refaults
            piece.several += len(pages) if len(pages) > 1 else 0
            piece.read.update(range(pages.start << bits | file, pages.stop << bits | file, 1 << bits))
            part.ends[file] = max(part.ends.get(file, 0), offset + size)
        elif op == PUSH and not failed:
            piece.pushed += len(pages) - refaults
        if op == READ and not ahead:
            piece.longest = max(piece.longest, wait)


def pages_of(offset: int, size: int, page_size: int) -> range:
    """The pages of a request; one for nothing still concerns its page."""
    first = offset // page_size
    return range(first, max(first + 1, -(-(offset + size) // page_size)))


def in_pages(page_size: int, row: str) -> str:
    """How many pages the row of the table called `row` concerns, in SQL."""
    return f"max(1, ({row}.offset + {row}.size + {page_size - 1}) / {page_size} - {row}.offset / {page_size})"


def _evictions(db: sqlite3.Connection, layout: Layout, part: Part, piece: Piece) -> None:
    rows: Iterator[tuple[int, int]] = db.execute(
        f"SELECT file, {in_pages(layout.page_size, 'evictions')} FROM evictions WHERE serial >= ? AND serial < ?",  # noqa: S608
        (piece.first, piece.end),
    )
    for (file, pages), count in Counter(rows).items():
        part.evicted[file] += pages * count
        piece.evicted += pages * count


def _faults(db: sqlite3.Connection, layout: Layout, bounds: tuple[int, int], part: Part) -> None:
    part.faults.update(
        db.execute(
            f"SELECT thread, by_thread, class, {in_pages(layout.page_size, 'faults')} FROM faults"  # noqa: S608 -- numbers alone
            " WHERE serial >= ? AND serial < ?",
            bounds,
        )
    )
    for thread, by, *sums in db.execute(
        "SELECT thread, by_thread, count(*), ifnull(sum(wait_ns), 0), count(wait_ns) FROM faults"
        " WHERE serial >= ? AND serial < ? AND class = 'JOINED' GROUP BY 1, 2",
        bounds,
    ):
        part.joined[thread, by] = (sums[0], sums[1], sums[2])
