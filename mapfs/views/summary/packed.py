"""The waits of plain requests, gathered by what they are counted with: by numpy where it is installed."""

import sqlite3
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from mapfs.views.summary.part import Layout, Piece, columns_of, texts_of

if TYPE_CHECKING:
    import numpy


class Packed(Protocol):
    """`others` are the serial numbers of what was not plain in the rows that were taken last."""

    others: list[int]

    def take(
        self, db: sqlite3.Connection, layout: Layout, columns: list[str], bounds: tuple[int, int], piece: Piece
    ) -> list[int]:
        """Takes the rows between `bounds`, of which `columns` are a key (a negative one is a serial number), a wait and
        perhaps the number of the first page; these, of plain requests. The piece gets what they add up to.
        """

    def waits(self) -> dict[int, "array[int]"]:
        """All waits that were taken, by their keys."""

    def ordered(self, waits: "array[int]") -> "tuple[array[int], int]":
        """The waits in their order, and their sum."""


def packed() -> Packed:
    """The faster of the two."""
    try:
        import numpy
    except ImportError:
        return Lists()
    return Arrays(numpy)


class Lists:
    """By Python alone."""

    def __init__(self) -> None:
        self.others: list[int] = []
        self._waits: dict[int, array[int]] = {}
        self._appends: dict[int, Callable[[int], None]] = {}

    def take(
        self, db: sqlite3.Connection, layout: Layout, columns: list[str], bounds: tuple[int, int], piece: Piece
    ) -> list[int]:
        """See Packed."""
        keys, waits, *paging = columns_of(db, "requests", columns, "1", bounds)
        before = {key: len(own) for key, own in self._waits.items()}
        self._add(keys, waits)
        again = (1 << layout.refault_bits) - 1
        for key, own in self._waits.items():
            count = len(own) - before.get(key, 0)
            piece.add(count, layout.pages, count * (key & again))
        piece.longest = max(piece.longest, max(waits, default=-1))
        pages = paging[0] if paging else []
        return [page for page, key in zip(pages, keys, strict=True) if key >= 0] if pages and self.others else pages

    def waits(self) -> dict[int, "array[int]"]:
        """See Packed."""
        return self._waits

    def ordered(self, waits: "array[int]") -> "tuple[array[int], int]":
        """See Packed."""
        return array("q", sorted(waits)), sum(waits)

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
                self._waits[key] = array("q", [wait])
                appends[key] = self._waits[key].append


class Arrays:
    """By numpy: numbers never become objects of Python."""

    def __init__(self, numpy: Any) -> None:
        self.others: list[int] = []
        self._numpy = numpy
        self._taken: list[tuple[numpy.ndarray, numpy.ndarray]] = []

    def take(
        self, db: sqlite3.Connection, layout: Layout, columns: list[str], bounds: tuple[int, int], piece: Piece
    ) -> list[int]:
        """See Packed."""
        np = self._numpy
        texts = texts_of(db, "requests", columns, "1", bounds)
        keys, waits, *paging = (
            np.fromstring(text, np.int64, sep=",") if text else np.empty(0, np.int64) for text in texts
        )
        if not len(keys):
            self.others = []
            return []
        piece.longest = max(piece.longest, int(waits.max()))
        plain = keys >= 0
        self.others = (-keys[~plain]).tolist()
        if self.others:
            keys, waits, paging = keys[plain], waits[plain], [pages[plain] for pages in paging]
        again = (1 << layout.refault_bits) - 1
        piece.add(len(keys), layout.pages, int((keys & again).sum()))
        self._taken.append((keys, waits))
        pages: list[int] = paging[0].tolist() if paging else []
        return pages

    def waits(self) -> dict[int, "array[int]"]:
        """See Packed."""
        np = self._numpy
        if not self._taken:
            return {}
        keys, waits = (np.concatenate(columns) for columns in zip(*self._taken, strict=True))
        self._taken.clear()
        if not len(keys):
            return {}
        keys, waits = self._sorted(keys, waits)
        starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
        ends = [*starts[1:].tolist(), len(keys)]
        found: dict[int, array[int]] = {}
        for start, end in zip(starts.tolist(), ends, strict=True):
            found[int(keys[start])] = own = array("q")
            own.frombytes(waits[start:end].tobytes())
        return found

    def ordered(self, waits: "array[int]") -> "tuple[array[int], int]":
        """See Packed."""
        numbers = self._numpy.array(waits, self._numpy.int64)
        numbers.sort()
        made = array("q")
        made.frombytes(numbers.tobytes())
        return made, int(numbers.sum())

    def _sorted(self, keys: "numpy.ndarray", waits: "numpy.ndarray") -> "tuple[numpy.ndarray, numpy.ndarray]":
        np = self._numpy
        bits = int(waits.max()).bit_length()
        if int(keys.max()).bit_length() + bits < 63 and waits.min() >= 0:  # one number is sorted in a fifth of the time
            both = (keys << bits) | waits
            both.sort()
            return both >> bits, both & ((1 << bits) - 1)
        order = np.lexsort((waits, keys))
        return keys[order], waits[order]
