"""One pass over a range of a trace: sums for each file, thread and kind, and the cells of the picture. All is exact.

A trace that has ended is read in columns where numpy is installed (`arrays`). Otherwise: most events are alike, a read
of the most common size. Of those SQL packs group and cell into a number, and hands many over as one text, so that no
row becomes a tuple of Python. The others are read row by row.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec

from mapfs.trace.columns import Columns, UnreadableError
from mapfs.trace.events import READ, WRITE
from mapfs.views.report.arrays import scan_columns
from mapfs.views.report.grid import CELL_BITS, KIND_BITS, ROW_BITS, Grid, Layout
from mapfs.views.report.kinds import COLD_, EVICT_, FOUND, REFAULT_, SHARED_, USED, WRITE_, kind_got, kind_of
from mapfs.views.report.part import LONGEST, Part, Sums, longest_of, pages_of

_CHUNK = 250_000
_FEW = 20  # one of so many is looked up by its serial number
_UNDRAWN = -1  # the cell of what has no lane
_LOW, _ROW, _KIND = (1 << CELL_BITS) - 1, (1 << ROW_BITS) - 1, (1 << KIND_BITS) - 1


class _Bases(dict[int, int]):
    """The first cell of each group that SQL packed, found out when it is first asked for."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self._layout = layout

    def __missing__(self, number: int) -> int:
        base = self._layout.base(*self._layout.group(number))
        self[number] = found = _UNDRAWN if base is None else base
        return found


def scan(db: sqlite3.Connection, layout: Layout, first: int, end: int) -> Part:
    """Scans the events with serial numbers from `first` to before `end`."""
    try:
        with closing(Columns(db)) as columns:
            return scan_columns(columns, layout, first, end)
    except UnreadableError:
        return scan_texts(db, layout, first, end)


def scan_texts(db: sqlite3.Connection, layout: Layout, first: int, end: int) -> Part:
    """The same, through SQLite."""
    part = Part(Grid(layout))
    one = _Scan(db, part)
    for start in range(first, end, _CHUNK):
        bounds = start, min(start + _CHUNK, end)
        one.requests(bounds)
        one.faults(bounds)
        one.evictions(bounds)
        if part.grid.fit():
            one = _Scan(db, part)
    return part


class _Scan:
    """Adds events to a part, as long as its layout stays."""

    def __init__(self, db: sqlite3.Connection, part: Part) -> None:
        self._db = db
        self._part = part
        self._layout = part.grid.layout
        self._bases = _Bases(self._layout)
        self._whole = self._layout.plain_size // self._layout.page_size
        db.execute("CREATE TEMP TABLE IF NOT EXISTS report_widths (file INTEGER PRIMARY KEY, width INTEGER NOT NULL)")
        widths = [(file, self._layout.width(file)) for file in self._layout.widths]
        db.executemany("INSERT OR REPLACE INTO report_widths VALUES (?, ?)", widths)

    def requests(self, bounds: tuple[int, int]) -> None:
        """What mapfs answered or did."""
        layout, whole = self._layout, self._whole
        kind = f"CASE e.class WHEN 'COLD' THEN {COLD_} WHEN 'REFAULT' THEN {REFAULT_} ELSE {WRITE_} END"
        plain = (
            f"e.size = {layout.plain_size} AND e.offset % {layout.page_size} = 0 AND e.errno = 0 AND e.direct = 0 AND"
            f" (e.class = 'COLD' AND e.refaults = 0 OR e.class = 'REFAULT' AND e.refaults = {whole}"
            f" OR e.class = 'WRITE' AND e.op = {WRITE})"
        )
        packed, waits = self._columns("requests", [layout.sql(kind, plain), "e.wait_ns"], bounds)
        others = self._cells(packed, whole)
        found: defaultdict[int, list[int]] = defaultdict(list)
        for number, wait in zip([cell >> CELL_BITS for cell in packed], waits, strict=True):
            found[number].append(wait)
        for number, own in found.items():
            self._group(number, len(own), len(own) * whole, sum(own), max(own))
        self._keep_longest(max(waits, default=-1), bounds)
        columns = "wait_ns, refaults, op, class, errno, direct"
        for where, (wait_ns, refaults, op, cls, errno, direct) in self._rows("requests", columns, others, len(packed)):
            self._add(where, kind_of(op, cls, errno, direct), refaults, wait_ns)

    def faults(self, bounds: tuple[int, int]) -> None:
        """What processes got from the page cache."""
        layout = self._layout
        kind = f"CASE e.class WHEN 'AHEAD' THEN {USED} WHEN 'SHARED' THEN {SHARED_} ELSE {FOUND} END"
        plain = f"e.size = {layout.page_size} AND e.offset % {layout.page_size} = 0 AND e.class IS NOT 'JOINED'"
        by = "ifnull(e.by_thread, 0)"
        packed, whose = self._columns("faults", [layout.sql(kind, plain), by], bounds)
        others = self._cells(packed, 1)
        numbers = [cell >> CELL_BITS for cell in packed]
        for number, count in Counter(numbers).items():
            self._group(number, count, count)
        who = (1 << KIND_BITS + layout.thread_bits) - 1
        threads = [number & who if number >= 0 else -1 for number in numbers]
        for (number, by_thread), count in Counter(zip(threads, whose, strict=True)).items():
            if number >= 0:
                _, thread, kind_ = layout.group(number)
                self._part.sharing[thread, by_thread, kind_] += count
        waits = self._part.longest
        columns = "wait_ns, serial, ifnull(by_thread, 0), class"
        for where, (wait_ns, serial, by_thread, cls) in self._rows("faults", columns, others, len(packed)):
            kind_ = kind_got(cls)
            self._add(where, kind_, 0, wait_ns or 0)
            self._part.sharing[where[1], by_thread, kind_] += pages_of(where[3], where[4], layout.page_size)
            if wait_ns is not None:
                waits.append((wait_ns, serial))
        self._part.longest = longest_of(waits)

    def evictions(self, bounds: tuple[int, int]) -> None:
        """What left the page cache: sums alone, for in the cells of a long trace it would hide what came in."""
        layout, part = self._layout, self._part
        plain = f"e.size = {layout.page_size} AND e.offset % {layout.page_size} = 0 AND e.time_ns >= {layout.start_ns}"
        row = f"(e.time_ns - {layout.start_ns}) / {layout.height_ns}"
        packing = f"CASE WHEN {plain} THEN e.file << {ROW_BITS} | {row} ELSE -e.serial END"
        (packed,) = self._columns("evictions", [packing], bounds)
        others = []
        for number, count in Counter(packed).items():
            if number < 0:
                others.append(-number)
                continue
            part.groups[number >> ROW_BITS, 0, EVICT_].add(Sums(count, count, 0, count * layout.page_size))
            part.pages[EVICT_, (number & _ROW) << layout.row_shift] += count
        for (file, _, time_ns, offset, size), _ in self._rows("evictions", "0", others, len(packed)):
            pages = pages_of(offset, size, layout.page_size)
            part.groups[file, 0, EVICT_].add(Sums(1, pages, 0, size))
            part.pages[EVICT_, layout.row(time_ns) << layout.row_shift] += pages

    def _columns(self, table: str, columns: list[str], bounds: tuple[int, int]) -> list[list[int]]:
        """Columns of numbers, those at the same place of one row."""
        texts = ", ".join(f"'[' || ifnull(group_concat({column}), '') || ']'" for column in columns)
        (row,) = self._db.execute(
            f"SELECT {texts} FROM {table} e LEFT JOIN report_widths w ON w.file = e.file"  # noqa: S608 -- constants
            " WHERE e.serial >= ? AND e.serial < ?",
            bounds,
        )
        return [msgspec.json.decode(text, type=list[int]) for text in row]

    def _cells(self, packed: list[int], pages: int) -> list[int]:
        """Counts cells of `pages` pages each; returns the serial numbers of what is not packed."""
        bases, part, shift = self._bases, self._part, self._layout.row_shift
        cells, others = part.grid.cells, []
        when: defaultdict[int, int] = defaultdict(int)
        for cell, count in Counter(packed).items():
            if cell < 0:
                others.append(-cell)
                continue
            number = cell >> CELL_BITS
            when[(number & _KIND) << ROW_BITS | cell & _ROW] += count
            base = bases[number]
            if base != _UNDRAWN:
                drawn = base | cell & _LOW
                cells[drawn] = cells.get(drawn, 0) + count
        for number, count in when.items():
            kind, row = number >> ROW_BITS, (number & _ROW) << shift
            part.pages[kind, row] += count * pages
            if kind == REFAULT_:
                part.again[kind, row] += count * pages
        return others

    def _group(self, number: int, count: int, pages: int, wait_ns: int = 0, longest_ns: int = 0) -> None:
        if number < 0:
            return
        group = self._layout.group(number)
        again = pages if group[2] == REFAULT_ else 0
        size = pages * self._layout.page_size
        self._part.groups[group].add(Sums(count, pages, again, size, wait_ns, longest_ns))

    def _rows(
        self, table: str, columns: str, serials: list[int], of: int
    ) -> Iterator[tuple[tuple[int, ...], tuple[Any, ...]]]:
        """File, thread, time, offset and size, and `columns`, of rows by their serial numbers, which are in order: one
        by one where they are few of `of`, else by looking at all.
        """
        if not serials:
            return
        columns = f"file, ifnull(thread, 0), time_ns, offset, size, {columns} FROM {table}"
        if len(serials) * _FEW < of:
            chosen = "serial IN (SELECT value FROM json_each(?))"
            for row in self._db.execute(f"SELECT {columns} WHERE {chosen}", (str(serials),)):
                yield row[:5], row[5:]
            return
        wanted, bounds = set(serials), (min(serials), max(serials))
        for serial, *row in self._db.execute(f"SELECT serial, {columns} WHERE serial BETWEEN ? AND ?", bounds):
            if serial in wanted:
                yield tuple(row[:5]), tuple(row[5:])

    def _add(self, where: tuple[int, ...], kind: int, refaults: int = 0, wait_ns: int = 0) -> None:
        """What is not packed: `where` is file, thread, time, offset and size."""
        file, thread, time_ns, offset, size = where
        part, layout = self._part, self._layout
        pages = pages_of(offset, size, layout.page_size)
        part.groups[file, thread, kind].add(Sums(1, pages, refaults, size, wait_ns, wait_ns))
        row = layout.row(time_ns)
        part.pages[kind, row << layout.row_shift] += pages
        part.again[kind, row << layout.row_shift] += refaults
        base = layout.base(file, thread, kind)
        if base is not None:
            for column in layout.columns(file, offset, size):
                cell = base | column << ROW_BITS | row
                part.grid.cells[cell] = part.grid.cells.get(cell, 0) + 1

    def _keep_longest(self, longest_ns: int, bounds: tuple[int, int]) -> None:
        part = self._part
        floor = part.longest[-1][0] if len(part.longest) == LONGEST else 0
        if longest_ns < floor:
            return
        rows = self._db.execute(
            f"SELECT wait_ns, serial FROM requests WHERE serial >= ? AND serial < ? AND op = {READ}"  # noqa: S608
            f" AND wait_ns >= ? AND class IS NOT 'AHEAD' ORDER BY wait_ns DESC, serial LIMIT {LONGEST}",
            (*bounds, floor),
        )
        part.longest = longest_of([*part.longest, *rows])
