"""Whole columns of the tables of a trace that has ended, as arrays of numpy: decoded from the pages of the file.

sqlite3 makes an object of each value of each row, which takes most of the time of a view that looks at all of them.
The file format is documented and will not change (https://www.sqlite.org/fileformat2.html): a table is a tree of pages
whose leaves hold records of a header, a byte a column where values are short, and the values one after another. All
records of some hundred leaves are decoded together. Whatever is not as a recorder writes it, damage included, raises
UnreadableError, and is then read, or refused, by SQLite.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

try:
    import numpy
except ImportError:  # the extra `fast`
    numpy = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[numpy.int64]

NULL = -(1 << 63)  # what stands for NULL
_LEAF, _INTERIOR = 0x0D, 0x05  # table pages
_BATCH = 1 << 20  # bytes of leaves that are decoded together: what fits into a cache
_CELL = 4  # bytes of a row at least
_DEPTH = 20  # levels of a tree at most
_FRONT = 8  # bytes before the first page: a value is read as the last of eight bytes
_INTEGERS = (0, 1, 2, 3, 4, 6, 8)  # bytes of a value, by its type; 8 and 9 are the numbers 0 and 1 themselves
_TEXT = 13  # the first type that is a text, each odd one is one byte longer


class UnreadableError(Exception):
    """The trace must be read through SQLite."""


class Columns:
    """The tables of one file. Used by one thread. Raises UnreadableError where it cannot be opened."""

    def __init__(self, db: sqlite3.Connection) -> None:
        path = db.execute("SELECT file FROM pragma_database_list WHERE name = 'main'").fetchone()[0]
        if numpy is None or not path or db.execute("SELECT ended_ns FROM mount").fetchone()[0] is None:
            raise UnreadableError
        self._tables = {
            name: (root, [row[1] for row in db.execute(f"PRAGMA table_info({name})")])
            for name, root in db.execute("SELECT name, rootpage FROM sqlite_schema WHERE type = 'table'")
            if name in ("requests", "faults", "evictions")
        }
        try:
            # nobody writes it any more, so it matters not that closing it ends the locks of `db` (fcntl_locking(2))
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise UnreadableError from error
        head = os.pread(self._fd, 100, 0).ljust(100, b"\0")
        self._size = int.from_bytes(head[16:18], "big")
        self._count = os.fstat(self._fd).st_size // max(1, self._size)
        beside = any(os.path.exists(path + suffix) for suffix in ("-wal", "-journal"))
        if beside or self._size < 512 or head[18:21] != b"\1\1\0":  # one page is 64 KiB; WAL; bytes kept for others
            self.close()
            raise UnreadableError

    def close(self) -> None:
        """Closes the file."""
        os.close(self._fd)

    def read(self, table: str, names: Sequence[str], first: int, end: int) -> "Iterator[list[Numbers]]":
        """The serial numbers from `first` to before `end`, ascending, and the columns `names`, of batches of rows.

        A NULL is NULL, a text is the code of its first character. Raises UnreadableError.
        """
        root, columns = self._tables[table]
        wanted = [columns.index(name) for name in names]
        leaves = self._leaves(root, first, end)
        step = max(1, _BATCH // self._size)
        for at in range(0, len(leaves), step):
            try:
                serials, values = self._decode(leaves[at : at + step], len(columns), wanted)
            except (IndexError, ValueError) as error:
                raise UnreadableError from error
            low, high = numpy.searchsorted(serials, (first, end)).tolist()
            if low < high:
                yield [column[low:high] for column in (serials, *values)]

    def _load(self, pages: "Numbers") -> "NDArray[numpy.uint8]":
        """The pages one after another, behind `_FRONT` bytes."""
        size = self._size
        if int(pages.min()) < 1 or int(pages.max()) > self._count:
            raise UnreadableError
        made = numpy.zeros(_FRONT + len(pages) * size, numpy.uint8)
        view, cuts = made.data, (numpy.flatnonzero(numpy.diff(pages) != 1) + 1).tolist()
        for low, high in zip([0, *cuts], [*cuts, len(pages)], strict=True):  # runs of pages
            wanted = view[_FRONT + low * size : _FRONT + high * size]
            if os.preadv(self._fd, [wanted], (int(pages[low]) - 1) * size) != len(wanted):
                raise UnreadableError
        return made

    def _leaves(self, root: int, first: int, end: int) -> "Numbers":
        """The numbers of the leaves that hold these rows, in the order of the rows."""
        level = numpy.array([root], numpy.int64)
        for _ in range(_DEPTH):
            data = self._load(level)
            kinds = data[_FRONT :: self._size]
            if (kinds == _LEAF).all():
                return level
            if (kinds != _INTERIOR).any():
                raise UnreadableError
            try:
                level = numpy.concatenate([self._children(data, number, first, end) for number in range(len(level))])
            except IndexError as error:
                raise UnreadableError from error
            if len(level) > self._count:
                raise UnreadableError  # damage: no page stands twice in a tree
            if not len(level):
                return level
        raise UnreadableError

    def _children(self, data: "NDArray[numpy.uint8]", number: int, first: int, end: int) -> "Numbers":
        start = _FRONT + number * self._size
        count, last = _big(data[start + 3 : start + 5]), _big(data[start + 8 : start + 12])
        cells = start + data[start + 12 : start + 12 + 2 * count].view(">u2").astype(numpy.int64)
        windows = _windows(data, ">u4")
        keys, _ = _varints(data, cells + 4)
        children = numpy.append(windows[cells].astype(numpy.int64), last)
        low, high = numpy.searchsorted(keys, (first, end - 1)).tolist()
        return children[low : high + 1]

    def _decode(self, pages: "Numbers", columns: int, wanted: Sequence[int]) -> "tuple[Numbers, list[Numbers]]":
        """The rows of leaves: their numbers, and the values of the columns `wanted`."""
        data = self._load(pages)
        starts = _FRONT + numpy.arange(len(pages)) * self._size
        counts = data[starts + 3].astype(numpy.int64) << 8 | data[starts + 4]
        if (counts > self._size // _CELL).any():
            raise UnreadableError
        before = numpy.cumsum(counts) - counts
        base = numpy.repeat(starts, counts)
        pointers = base + 8 + 2 * (numpy.arange(int(counts.sum())) - numpy.repeat(before, counts))
        cells = base + (data[pointers].astype(numpy.int64) << 8 | data[pointers + 1])
        sizes, at = _varints(data, cells)
        serials, at = _varints(data, at)
        if not len(serials):
            return serials, [serials] * len(wanted)
        if ((at + sizes > base + self._size) | (data[at] != columns + 1)).any():  # goes on in another page; long types
            raise UnreadableError
        windows, values = _windows(data, ">i8"), {}
        start = at + columns + 1
        for column in range(max(wanted) + 1):
            types = data.take(at + 1 + column)
            one = int(types[0]) if types.min() == types.max() else None
            if one is None:
                if column in wanted:
                    values[column] = _values(data, windows, types, start)
                start = start + _WIDTHS.take(types)
                continue
            if column in wanted:
                values[column] = _alike(data, windows, one, start)
            start = start + _WIDTHS[one]
        return serials, [values[column] for column in wanted]


def _big(data: Any) -> int:
    return int.from_bytes(data.tobytes(), "big")


def _windows(data: "NDArray[numpy.uint8]", kind: str) -> "NDArray[Any]":
    """A number of the type `kind` at each place."""
    width = numpy.dtype(kind).itemsize
    return numpy.ndarray((len(data) - width + 1,), kind, data, strides=(1,))


def _varints(data: "NDArray[numpy.uint8]", at: "Numbers") -> "tuple[Numbers, Numbers]":
    """The numbers of seven bits a byte at `at`, and where each ends."""
    byte = data.take(at)
    value, at = (byte & 127).astype(numpy.int64), at + 1
    for _ in range(7):
        more = byte > 127
        if more.all() and len(more):
            byte = data.take(at)
            value, at = value << 7 | byte & 127, at + 1
        elif more.any():
            index = numpy.flatnonzero(more)
            byte = numpy.zeros_like(byte)
            byte[index] = data[at[index]]
            value[index] = value[index] << 7 | byte[index] & 127
            at[index] += 1
        else:
            return value, at
    raise UnreadableError


#: bytes of a value, by its type; one longer than a byte, a float or a blob is UnreadableError
_WIDTHS: Any = None
if numpy is not None:
    _WIDTHS = numpy.zeros(256, numpy.int64)
    _WIDTHS[1:7] = _INTEGERS[1:]
    _WIDTHS[_TEXT:128:2] = numpy.arange((128 - _TEXT + 1) // 2)


def _values(
    data: "NDArray[numpy.uint8]", windows: "NDArray[Any]", types: "NDArray[numpy.uint8]", start: "Numbers"
) -> "Numbers":
    """The values of a column that are at `start`."""
    made = numpy.empty(len(start), numpy.int64)
    if types.min() > 0 and types.max() < 7:
        widths = _WIDTHS.take(types)
        shifts = 64 - 8 * widths
        made[:] = windows[start + widths - 8]
        made <<= shifts
        made >>= shifts
        return made
    for one in numpy.unique(types).tolist():
        index = numpy.flatnonzero(types == one)
        made[index] = _alike(data, windows, one, start[index])
    return made


def _alike(data: "NDArray[numpy.uint8]", windows: "NDArray[Any]", one: int, start: "Numbers") -> "Numbers":
    """The values that are all of one type."""
    if one in (0, 8, 9):
        return numpy.full(len(start), one - 8 if one else NULL, numpy.int64)
    if one > _TEXT and one & 1:
        return data.take(start).astype(numpy.int64)
    if one > 6:
        raise UnreadableError
    width = int(_WIDTHS[one])
    shift = 64 - 8 * width
    made: Numbers = windows[start + (width - 8)].astype(numpy.int64)
    return made << shift >> shift
