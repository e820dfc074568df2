"""The scan of a trace that has ended, by numpy: see `scan`, which it is a faster way for."""

import contextlib
from itertools import starmap
from typing import TYPE_CHECKING

from mapfs.trace.columns import NULL, Columns, UnreadableError
from mapfs.trace.events import DROP, PUSH, READ, WRITE
from mapfs.views.packed import known, packed, span_of, sums_of, unpacked
from mapfs.views.report.grid import (
    COLOUR_BITS,
    COLUMN_BITS,
    KEPT,
    KIND_BITS,
    NOBODY,
    OTHERS,
    ROW_BITS,
    Grid,
    Layout,
    coarser,
)
from mapfs.views.report.kinds import (
    COLD_,
    DIRECT,
    DROP_,
    ERROR_,
    EVICT_,
    FOUND,
    JOINED_,
    PUSH_,
    READ_AHEAD,
    REFAULT_,
    SHARED_,
    UNKNOWN,
    USED,
    WRITE_,
)  # fmt: skip
from mapfs.views.report.part import LONGEST, Part, Sums, longest_of

with contextlib.suppress(ImportError):  # then nothing can be read in columns
    import numpy

if TYPE_CHECKING:
    from mapfs.trace.columns import Numbers

_DENSE = 1 << 20  # groups of which the sums are kept in a table with a place for each
_MANY = 1 << 20  # cells that are sorted together
_REQUEST = ("file", "thread", "time_ns", "offset", "size", "wait_ns", "refaults", "op", "class", "errno", "direct")
_FAULT = ("file", "thread", "time_ns", "offset", "size", "wait_ns", "by_thread", "class")
_EVICTION = ("file", "time_ns", "offset", "size")


def scan_columns(columns: Columns, layout: Layout, first: int, end: int) -> Part:
    """Scans the events with serial numbers from `first` to before `end`. Raises UnreadableError."""
    part = Part(Grid(layout))
    one = _Scan(part)
    for rows in columns.read("requests", _REQUEST, first, end):
        one.requests(rows)
    for rows in columns.read("faults", _FAULT, first, end):
        one.faults(rows)
    for rows in columns.read("evictions", _EVICTION, first, end):
        one.evictions(rows)
    one.finish()
    return part


class _Scan:
    """Adds batches of rows to a part."""

    def __init__(self, part: Part) -> None:
        self._part = part
        layout = self._layout = part.grid.layout
        if layout.page_size & (layout.page_size - 1):
            raise UnreadableError
        self._page_shift = layout.page_size.bit_length() - 1
        self._widths = [layout.file_bits, layout.thread_bits, KIND_BITS]
        keys = 1 << sum(self._widths)
        self._sums = numpy.zeros((6, keys), numpy.int64) if keys <= _DENSE else None
        self._pages = numpy.zeros((2, 1 << KIND_BITS + ROW_BITS), numpy.int64)
        self._cells = _Cells(layout)
        self._requested, self._got = _tables()

    def requests(self, rows: "list[Numbers]") -> None:
        """What mapfs answered or did."""
        serial, file, thread, time, offset, size, wait, refaults, op, cls, errno, direct = rows
        kind = self._requested.take(known(cls))
        kind[direct != 0] = DIRECT  # each of the following goes before the ones before it
        kind[op == WRITE] = WRITE_
        kind[(errno != 0) | (cls == ord("E"))] = ERROR_
        kind[op == PUSH] = PUSH_
        kind[op == DROP] = DROP_
        self._add(file, known(thread), kind, time, offset, size, wait, refaults)
        self._keep_longest(serial, wait, (op == READ) & (cls != ord("A")))

    def faults(self, rows: "list[Numbers]") -> None:
        """What processes got from the page cache."""
        serial, file, thread, time, offset, size, wait, by, cls = rows
        thread, kind = known(thread), self._got.take(known(cls))
        pages = self._add(file, thread, kind, time, offset, size, known(wait), numpy.zeros_like(kind))
        bits = self._layout.thread_bits
        widths = [bits, bits, KIND_BITS]
        keys, sums = sums_of(packed((thread, known(by), kind), widths), widths, (pages,))
        for (got, brought, number), (count,) in zip(keys, sums, strict=True):
            self._part.sharing[got, brought, number] += count
        self._keep_longest(serial, wait, wait != NULL)

    def evictions(self, rows: "list[Numbers]") -> None:
        """What left the page cache: sums alone, for in the cells of a long trace it would hide what came in."""
        _, file, time, offset, size = rows
        none = numpy.zeros_like(file)
        self._add(file, none, none + EVICT_, time, offset, size, none, none, drawn=False)

    def finish(self) -> None:
        """Gives the part what was summed up."""
        part = self._part
        if self._sums is not None:
            found = numpy.flatnonzero(self._sums[0])
            self._into_groups(found, self._sums[:, found])
        for counts, own in zip((part.pages, part.again), self._pages, strict=True):
            for place in numpy.flatnonzero(own).tolist():
                counts[place >> ROW_BITS, place & (1 << ROW_BITS) - 1] += int(own[place])
        part.grid = self._cells.grid()

    def _add(
        self,
        file: "Numbers",
        thread: "Numbers",
        kind: "Numbers",
        time: "Numbers",
        offset: "Numbers",
        size: "Numbers",
        wait: "Numbers",
        refaults: "Numbers",
        *,
        drawn: bool = True,
    ) -> "Numbers":
        """Rows; how many pages each has."""
        layout = self._layout
        _, pages = span_of(offset, size, self._page_shift)
        self._add_sums(packed((file, thread, kind), self._widths), pages, refaults, size, wait)
        row = numpy.clip((time - layout.start_ns) // layout.row_ns, 0, (1 << ROW_BITS) - 1)
        when = kind << ROW_BITS | row
        numpy.add.at(self._pages[0], when, pages)
        numpy.add.at(self._pages[1], when, refaults)
        if drawn:
            self._cells.add(file, thread, kind, row, offset, size)
        return pages

    def _add_sums(
        self, keys: "Numbers", pages: "Numbers", refaults: "Numbers", size: "Numbers", wait: "Numbers"
    ) -> None:
        different, sums = None, self._sums
        if sums is None:
            different, keys = numpy.unique(keys, return_inverse=True)
            sums = numpy.zeros((6, len(different)), numpy.int64)
        for own, column in zip(sums, (numpy.ones_like(keys), pages, refaults, size, wait), strict=False):
            numpy.add.at(own, keys, column)
        numpy.maximum.at(sums[5], keys, wait)
        if different is not None:
            self._into_groups(different, sums)

    def _into_groups(self, keys: "Numbers", sums: "Numbers") -> None:
        groups = self._part.groups
        for key, own in zip(unpacked(keys, self._widths), starmap(Sums, sums.T.tolist()), strict=True):
            groups[key[0], key[1], key[2]].add(own)

    def _keep_longest(self, serial: "Numbers", wait: "Numbers", of: "Numbers") -> None:
        part = self._part
        floor = part.longest[-1][0] if len(part.longest) == LONGEST else 0
        found = numpy.flatnonzero(of & (wait >= floor))
        if len(found) > LONGEST:  # lexsort(3) takes long
            found = found[wait[found] >= numpy.partition(wait[found], -LONGEST)[-LONGEST]]
        found = found[numpy.lexsort((serial[found], -wait[found]))[:LONGEST]]
        part.longest = longest_of([*part.longest, *zip(wait[found].tolist(), serial[found].tolist(), strict=True)])


class _Cells:
    """Counts the cells of a grid, many at once."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._found = self._counts = numpy.empty(0, numpy.int64)
        self._taken: list[Numbers] = []
        self._count = 0
        self._lanes = _Lookup(layout.lanes, -1)
        self._colours = _Lookup({0: NOBODY, **layout.colours}, OTHERS)
        shifts = {file: width.bit_length() - 1 for file, width in layout.widths.items()}
        self._shifts = _Lookup(shifts, layout.page_size.bit_length() - 1)

    def add(
        self, file: "Numbers", thread: "Numbers", kind: "Numbers", row: "Numbers", offset: "Numbers", size: "Numbers"
    ) -> None:
        """Marks, `row` being the finest."""
        layout, lane = self.layout, self._lanes.of(file)
        drawn = lane >= 0
        if not drawn.all():
            file, thread, kind, row, offset, size, lane = (
                one[drawn] for one in (file, thread, kind, row, offset, size, lane)
            )
        shift, last = self._shifts.of(file) + layout.column_shift, (1 << COLUMN_BITS) - 1
        first = numpy.minimum(offset >> shift, last)
        columns = numpy.minimum(numpy.maximum(first, (offset + size - 1) >> shift), last) - first + 1
        who = (lane << COLOUR_BITS | self._colours.of(thread)) << KIND_BITS | kind
        cells = (who << COLUMN_BITS | first) << ROW_BITS | row >> layout.row_shift
        if (columns > 1).any():
            within = numpy.arange(int(columns.sum())) - numpy.repeat(numpy.cumsum(columns) - columns, columns)
            cells = numpy.repeat(cells, columns) + (within << ROW_BITS)
        self._taken.append(cells)
        self._count += len(cells)
        if self._count >= _MANY:
            self._flush()

    def _flush(self) -> None:
        if not self._count:
            return
        cells, counts = numpy.concatenate((self._found, *self._taken)), numpy.ones(self._count, numpy.int64)
        self._found, self._counts = _counted(cells, numpy.concatenate((self._counts, counts)))
        self._taken, self._count = [], 0
        while len(self._found) > KEPT and (halved := self.layout.merging()):
            self._found, self._counts = _counted(coarser(self._found, *halved), self._counts)
            self.layout = self.layout.merged(*halved)

    def grid(self) -> Grid:
        """All that was added."""
        self._flush()
        made = Grid(self.layout)
        made.cells = dict(zip(self._found.tolist(), self._counts.tolist(), strict=True))
        return made


class _Lookup:
    """A dict of numbers, for columns; `default` is for what is not in it."""

    def __init__(self, values: dict[int, int], default: int) -> None:
        most = max(values, default=0) + 2  # the last place is that of all that are larger
        self._default = default
        self._keys = numpy.array(sorted(values), numpy.int64)
        self._values = numpy.array([values[key] for key in self._keys.tolist()], numpy.int64)
        self._dense = None
        if most <= _DENSE:
            self._dense = numpy.full(most, default, numpy.int64)
            self._dense[self._keys] = self._values

    def of(self, column: "Numbers") -> "Numbers":
        """The value of each, none of which is negative."""
        if self._dense is not None:
            return self._dense.take(column, mode="clip")
        places = numpy.minimum(numpy.searchsorted(self._keys, column), len(self._keys) - 1)
        return numpy.where(self._keys[places] == column, self._values[places], self._default)


def _counted(cells: "Numbers", counts: "Numbers") -> "tuple[Numbers, Numbers]":
    """The different cells, ascending, and the sums of the counts of each."""
    order = numpy.argsort(cells)
    cells = cells[order]
    starts = numpy.flatnonzero(numpy.concatenate(([True], cells[1:] != cells[:-1])))
    return cells[starts], numpy.add.reduceat(counts[order], starts)


def _tables() -> "tuple[Numbers, Numbers]":
    """The kind of a request, and of what was got, by the first character of its class; 0 is none."""
    requested, got = numpy.full(256, UNKNOWN, numpy.int64), numpy.full(256, FOUND, numpy.int64)
    for name, kind in (("C", COLD_), ("R", REFAULT_), ("A", READ_AHEAD)):
        requested[ord(name)] = kind
    for name, kind in (("A", USED), ("S", SHARED_), ("J", JOINED_)):
        got[ord(name)] = kind
    return requested, got
