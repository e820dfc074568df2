"""The scan of a trace that has ended, by numpy: see `scan`, which it is a faster way for."""

import contextlib
from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from mapfs.trace.columns import NULL, Columns, UnreadableError
from mapfs.trace.events import PUSH, READ
from mapfs.views.packed import known, packed, span_of, sums_of, unpacked
from mapfs.views.summary.part import CLASSES, DEMAND, Layout, Part, Piece

with contextlib.suppress(ImportError):  # then nothing can be read in columns
    import numpy

if TYPE_CHECKING:
    from mapfs.trace.columns import Numbers

_KIND, _CLASS = 6, 7  # bits of a kind, and of the first character of a class
_DENSE = 1 << 20  # keys of which the sums are kept in a table with a place for each
_REQUEST = ("file", "offset", "size", "thread", "op", "errno", "direct", "class", "refaults", "wait_ns")
_FAULT = ("file", "offset", "size", "thread", "by_thread", "class", "wait_ns")
_CODES = {ord(name[0]) if name else NULL: name for name in CLASSES}


def scan_columns(columns: Columns, layout: Layout, first: int, end: int) -> Part:
    """Scans the events with serial numbers from `first` to before `end`. Raises UnreadableError."""
    part, taken = Part(), _Waits(layout)
    for bucket, (low, high) in enumerate(pairwise(layout.edges)):
        start, stop = max(low, first), min(high, end)
        if start >= stop:
            continue
        piece = Piece(bucket, start, stop)
        pages = [
            _requests(rows, layout, part, piece, taken) for rows in columns.read("requests", _REQUEST, start, stop)
        ]
        if layout.seen:
            for batch in columns.read("evictions", _FAULT[:3], start, stop):
                piece.evicted += _evictions(batch, layout, part)
            for batch in columns.read("faults", _FAULT, start, stop):
                _faults(batch, layout, part)
        whole = (start, stop) == (low, high)
        piece.pages = piece.brought
        if piece.refaults or not whole:  # without re-faults each is another one
            different = _different(numpy.concatenate(pages)) if pages else numpy.empty(0, numpy.int64)
            piece.pages = len(different)
            piece.read = set() if whole else set(different.tolist())
        part.pieces.append(piece)
    taken.into(part)
    return part


def _requests(rows: "list[Numbers]", layout: Layout, part: Part, piece: Piece, taken: "_Waits") -> "Numbers":
    """Adds requests to `part` and `piece`; the pages that were read, each with its file."""
    _, file, offset, size, thread, op, errno, direct, cls, refaults, wait = rows
    thread = known(thread)
    ahead = cls == ord("A")
    kind = op << 3 | (errno != 0) << 2 | (direct != 0) << 1 | ahead
    first, count = span_of(offset, size, layout.shift)
    taken.add(part, (thread, file, kind), wait, (size, count, refaults))
    waited = (op == READ) & ~ahead
    piece.longest = max(piece.longest, int(wait[waited].max(initial=-1)))
    read = kind | 1 == DEMAND | 1
    piece.demands += int((read & ~ahead).sum())
    if not read.all():
        pushed = kind | 3 == PUSH << 3 | 3
        piece.pushed += int((count[pushed] - refaults[pushed]).sum())
        file, offset, size, first, count, refaults = (
            column[read] for column in (file, offset, size, first, count, refaults)
        )
    piece.brought += int(count.sum())
    piece.refaults += int(refaults.sum())
    piece.several += int(count[count > 1].sum())
    short = (offset + size) & (layout.page_size - 1) != 0
    for number, reached in zip(file[short].tolist(), (offset + size)[short].tolist(), strict=True):
        part.ends[number] = max(part.ends.get(number, 0), reached)
    return _numbered(layout, file, first, count)


def _numbered(layout: Layout, file: "Numbers", first: "Numbers", count: "Numbers") -> "Numbers":
    """A number for each page of each request: other files have other numbers."""
    if (count > 1).any():
        if int(count.sum()) > 1 << 26:
            raise UnreadableError  # a request has 256 pages at most
        within = numpy.arange(int(count.sum())) - numpy.repeat(numpy.cumsum(count) - count, count)
        file, first = numpy.repeat(file, count), numpy.repeat(first, count) + within
    if len(file) and int(first.max()).bit_length() + layout.file_bits > 62:
        raise UnreadableError
    return first << layout.file_bits | file


def _different(numbers: "Numbers") -> "Numbers":
    numbers.sort()
    return numbers[numpy.concatenate(([True], numbers[1:] != numbers[:-1]))] if len(numbers) else numbers


def _evictions(rows: "list[Numbers]", layout: Layout, part: Part) -> int:
    _, file, offset, size = rows
    _, pages = span_of(offset, size, layout.shift)
    widths = [layout.file_bits]
    for (number,), (count,) in zip(*sums_of(packed((file,), widths), widths, (pages,)), strict=True):
        part.evicted[number] += count
    return int(pages.sum())


def _faults(rows: "list[Numbers]", layout: Layout, part: Part) -> None:
    _, _, offset, size, thread, by, cls, wait = rows
    thread, by = known(thread), known(by)
    _, pages = span_of(offset, size, layout.shift)
    bits = layout.threads.bit_length()
    keys = packed((thread, by, known(cls)), widths := [bits, bits, _CLASS])
    for (who, brought, code), (count,) in zip(*sums_of(keys, widths, (pages,)), strict=True):
        part.faults[who, brought, _CODES.get(code or NULL)] += count
    joined = cls == ord("J")
    if joined.any():
        keys, wait = packed((thread[joined], by[joined]), [bits, bits]), wait[joined]
        told = (wait != NULL).astype(numpy.int64)
        values = (numpy.ones_like(told), known(wait), told)
        for key, sums in zip(*sums_of(keys, [bits, bits], values), strict=True):
            before = part.joined.get((key[0], key[1]), (0, 0, 0))
            part.joined[key[0], key[1]] = (before[0] + sums[0], before[1] + sums[1], before[2] + sums[2])


class _Waits:
    """The wait of each request, with its key, until all are sorted at once; and the sums of each key."""

    def __init__(self, layout: Layout) -> None:
        self._widths = [layout.threads.bit_length(), layout.file_bits, _KIND]
        self._taken: list[tuple[Numbers, Numbers]] = []
        keys = 1 << sum(self._widths)
        self._sums = numpy.zeros((3, keys), numpy.int64) if keys <= _DENSE else None

    def add(self, part: Part, keys: "Sequence[Numbers]", waits: "Numbers", sums: "Sequence[Numbers]") -> None:
        """Requests: of which group, their waits, and their bytes, pages and re-faults."""
        numbers = packed(keys, self._widths)
        self._taken.append((numbers, waits))
        if self._sums is None:
            _add(part, zip(*sums_of(numbers, self._widths, sums), strict=True))
        else:
            for own, column in zip(self._sums, sums, strict=True):
                numpy.add.at(own, numbers, column)

    def into(self, part: Part) -> None:
        """Gives each group its waits, sorted."""
        if not self._taken:
            return
        numbers, waits = (numpy.concatenate(columns) for columns in zip(*self._taken, strict=True))
        self._taken.clear()
        numbers, waits = _sorted(numbers, waits)
        starts = numpy.flatnonzero(numpy.concatenate(([True], numbers[1:] != numbers[:-1])))
        ends = [*starts[1:].tolist(), len(numbers)]
        keys = unpacked(numbers[starts], self._widths)
        if self._sums is not None:
            _add(part, zip(keys, self._sums[:, numbers[starts]].T.tolist(), strict=True))
        for key, start, end in zip(keys, starts.tolist(), ends, strict=True):
            group = part.groups[key[0], key[1], key[2]]
            group.waits = array("q", waits[start:end].tobytes())
            group.wait_ns = int(waits[start:end].sum())


def _add(part: Part, sums: "Iterable[tuple[tuple[int, ...], list[int]]]") -> None:
    for key, (size, pages, refaults) in sums:
        group = part.groups[key[0], key[1], key[2]]
        group.bytes += size
        group.pages += pages
        group.refaults += refaults


def _sorted(keys: "Numbers", waits: "Numbers") -> "tuple[Numbers, Numbers]":
    """By key and then by wait."""
    bits = int(waits.max()).bit_length()
    if int(keys.max()).bit_length() + bits < 63 and waits.min() >= 0:  # one number is sorted in a fifth of the time
        both = keys << bits | waits
        both.sort()
        return both >> bits, both & ((1 << bits) - 1)
    order = numpy.lexsort((waits, keys))
    return keys[order], waits[order]
