"""Sets of whole numbers that come in long runs, such as the pages of a file that were written."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from operator import itemgetter

_start, _stop = itemgetter(0), itemgetter(1)


class Spans:
    """Half-open ranges, sorted, none empty, none touching another. Not thread-safe."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []
        #: How many numbers there are.
        self.count = 0

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._ranges, number, key=_start) - 1
        return at >= 0 and number < self._ranges[at][1]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._ranges)

    def add(self, start: int, stop: int) -> None:
        """Adds the numbers from `start` up to `stop`."""
        if start >= stop:
            return
        first = bisect_left(self._ranges, start, key=_stop)
        last = bisect_right(self._ranges, stop, key=_start)
        touched = self._ranges[first:last]
        if touched:
            start, stop = min(start, touched[0][0]), max(stop, touched[-1][1])
        self._replace(first, last, [(start, stop)])

    def remove(self, start: int, stop: int) -> None:
        """Removes the numbers from `start` up to `stop`."""
        if start >= stop:
            return
        first = bisect_right(self._ranges, start, key=_stop)
        last = bisect_left(self._ranges, stop, key=_start)
        touched = self._ranges[first:last]
        if touched:
            edges = [(touched[0][0], start), (stop, touched[-1][1])]
            self._replace(first, last, [(one, other) for one, other in edges if one < other])

    def clear(self) -> None:
        """Removes all."""
        self._ranges.clear()
        self.count = 0

    def runs(self, start: int, stop: int) -> Iterator[tuple[int, int, bool]]:
        """The numbers from `start` up to `stop` as ranges, each with whether they are in the set."""
        at = bisect_right(self._ranges, start, key=_stop)
        while start < stop:
            begin, end = self._ranges[at] if at < len(self._ranges) else (stop, stop)
            if start < begin:
                yield start, min(begin, stop), False
            if begin < stop and begin < end:
                yield max(start, begin), min(end, stop), True
            start = end
            at += 1

    def _replace(self, first: int, last: int, ranges: list[tuple[int, int]]) -> None:
        self.count += sum(stop - start for start, stop in ranges)
        self.count -= sum(stop - start for start, stop in self._ranges[first:last])
        self._ranges[first:last] = ranges
