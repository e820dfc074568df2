"""One pass over a range of a trace's events: sums, waits and pages, as far as they can be had from the range alone.

A trace that has ended is read in columns where numpy is installed (`arrays`). Otherwise ten million rows are read in
some ten seconds because most never become a row in Python. A *plain* request, a read of the size that is most common
in the trace, is packed into numbers by SQL, and group_concat hands fifty thousand of them over in one text, which
msgspec decodes. Of the others (the tail of a file, errors, writes, what mapfs does itself) the packing tells the serial
numbers, and they are read row by row. All end in the same groups; nothing is estimated.
"""

import sqlite3
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import pairwise

from mapfs.trace.columns import Columns, UnreadableError
from mapfs.trace.events import PUSH, READ
from mapfs.views.summary.arrays import scan_columns
from mapfs.views.summary.part import DEMAND, Layout, Part, Piece, chunks, columns_of, kind_of, pages_of
from mapfs.views.summary.seen import add_evictions, add_faults


def scan(db: sqlite3.Connection, layout: Layout, first: int, end: int) -> Part:
    """Scans the events with serial numbers from `first` to before `end`."""
    try:
        with closing(Columns(db)) as columns:
            return scan_columns(columns, layout, first, end)
    except UnreadableError:
        return scan_texts(db, layout, first, end)


def scan_texts(db: sqlite3.Connection, layout: Layout, first: int, end: int) -> Part:
    """The same, through SQLite."""
    part, found = Part(), _Waits()
    again = False  # whether the bucket before had re-faults, as this one then has too, most likely
    for bucket, (low, high) in enumerate(pairwise(layout.edges)):
        start, stop = max(low, first), min(high, end)
        if start >= stop:
            continue
        piece = Piece(bucket, start, stop)
        for bounds in chunks(start, stop):
            _read(layout, found.take(db, layout, _columns(layout, paged=again), bounds, piece), piece)
            if found.others:
                _others(layout, _rows(db, layout, bounds, found.others), part, piece)
        if layout.seen:
            piece.evicted = add_evictions(db, layout, part, (start, stop))
            add_faults(db, layout, part, (start, stop))
        whole = (start, stop) == (low, high)
        if not again and (piece.refaults or not whole):
            _pages(db, layout, piece)
        again = bool(piece.refaults)
        piece.pages = len(piece.read) if again else piece.brought  # without re-faults each is another one
        piece.read = set() if whole else piece.read
        part.pieces.append(piece)
    _unpack(found.waits, layout, part)
    for group in part.groups.values():
        group.waits, group.wait_ns = array("q", sorted(group.waits)), sum(group.waits)
    return part


class _Waits:
    """The waits of plain requests, by their keys. `others` are the serial numbers of what was not plain in the rows
    that were taken last.
    """

    def __init__(self) -> None:
        self.others: list[int] = []
        self.waits: dict[int, array[int]] = {}
        self._appends: dict[int, Callable[[int], None]] = {}

    def take(
        self, db: sqlite3.Connection, layout: Layout, columns: list[str], bounds: tuple[int, int], piece: Piece
    ) -> list[int]:
        """Takes the rows between `bounds`, of which `columns` are a key (a negative one is a serial number), a wait and
        perhaps the number of the first page; these, of plain requests. The piece gets what they add up to.
        """
        keys, waits, *paging = columns_of(db, "requests", columns, "1", bounds)
        before = {key: len(own) for key, own in self.waits.items()}
        self._add(keys, waits)
        again = (1 << layout.refault_bits) - 1
        for key, own in self.waits.items():
            count = len(own) - before.get(key, 0)
            piece.add(count, layout.pages, count * (key & again))
        piece.longest = max(piece.longest, max(waits, default=-1))
        pages = paging[0] if paging else []
        return [page for page, key in zip(pages, keys, strict=True) if key >= 0] if pages and self.others else pages

    def _add(self, keys: list[int], waits: list[int]) -> None:
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


def _columns(layout: Layout, *, paged: bool) -> list[str]:
    """Of each request its key, its wait and, where `paged`, its page, in SQL."""
    packing = f"(((ifnull(thread, 0) << {layout.file_bits}) | file) << {layout.refault_bits}) | refaults"
    columns = [f"CASE WHEN {layout.plain()} THEN {packing} ELSE -serial END", "wait_ns"]
    return [*columns, layout.paging()] if paged else columns


def _pages(db: sqlite3.Connection, layout: Layout, piece: Piece) -> None:
    """The pages of plain requests, which were not kept when their waits were read."""
    for bounds in chunks(piece.first, piece.end):
        (pages,) = columns_of(db, "requests", [layout.paging()], layout.plain(), bounds)
        _read(layout, pages, piece)


def _read(layout: Layout, pages: list[int], piece: Piece) -> None:
    """The pages of the plain requests whose first ones are `pages`."""
    for number in range(layout.pages):
        ahead = number << layout.file_bits
        piece.read.update([page + ahead for page in pages] if ahead else pages)


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
