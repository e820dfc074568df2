"""Labels: which bytes of a file have which name.

A format hands over ranges in any order, which may nest or overlap; what is kept are sorted ranges that do not, each
with the name of the most specific one there: a symbol within its section, the section in the gaps between symbols.
Half a million ranges take some 12 MB; names are made when they are asked for.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

MOST_RANGES = 1_000_000  # of one file; what has more has no labels
_LONGEST = 256  # characters of a name
_END = (1 << 63) - 1

#: First byte, byte behind the last, and the number of the name.
Span = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Range:
    """`name` is that of the bytes from `start` up to, but not including, `end`."""

    start: int
    end: int
    name: str


class Labels:
    """The labels of one file of `size` bytes. Two ranges may have one name: a table lies where it lies."""

    def __init__(self, size: int, spans: Iterable[Span] = (), name: Callable[[int], str] = str) -> None:
        """`name` gives the text for a number. Raises ValueError for spans outside the file, or too many of them."""
        self.size = size
        self._name = name
        self._starts = array("Q")
        self._ends = array("Q")
        self._numbers = array("Q")
        kept = sorted(_checked(spans, size), key=lambda span: (span[0], -span[1]))
        for start, end, number in flattened(kept):
            if self._ends and self._ends[-1] == start and self._numbers[-1] == number:
                self._ends[-1] = end
                continue
            self._starts.append(start)
            self._ends.append(end)
            self._numbers.append(number)

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Range]:
        for start, end, number in zip(self._starts, self._ends, self._numbers, strict=True):
            yield Range(start, end, self.name(number))

    def name(self, number: int) -> str:
        """The text of a name."""
        text = self._name(number)
        return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"

    def at(self, offset: int) -> str | None:
        """The name of the byte at `offset`, None where it has none."""
        numbers = self.numbers(offset, 1)
        return self.name(numbers[0]) if numbers else None

    def over(self, offset: int, size: int) -> str | None:
        """What `size` bytes at `offset` hold: the first name, and how many others, as in `users_idx +2`."""
        numbers = self.numbers(offset, size)
        if not numbers:
            return None
        others = len(numbers) - 1
        return f"{self.name(numbers[0])} +{others}" if others else self.name(numbers[0])

    def numbers(self, offset: int, size: int) -> list[int]:
        """The different names of these bytes, as their numbers, in the order of the offsets."""
        end = offset + size
        index = max(0, bisect_right(self._starts, offset) - 1)
        found: dict[int, None] = {}
        for at in range(index, len(self._starts)):
            if self._starts[at] >= end:
                break
            if self._ends[at] > offset:
                found[self._numbers[at]] = None
        return list(found)

    def extents(self, page_size: int) -> dict[str, tuple[int, int]]:
        """Of each name, how many bytes it has, and how many pages hold some of them."""
        names: dict[int, str] = {}
        extents: dict[str, tuple[int, int, int]] = {}  # and the last of the pages
        for start, end, number in zip(self._starts, self._ends, self._numbers, strict=True):
            name = names.get(number)
            if name is None:
                name = names[number] = self.name(number)
            size, pages, last = extents.get(name, (0, 0, -1))
            first, past = start // page_size, -(-end // page_size)
            extents[name] = size + end - start, pages + past - first - (first == last), past - 1
        return {name: (size, pages) for name, (size, pages, _) in extents.items()}

    def names(self, offset: int, size: int) -> list[str]:
        """The different names of these bytes, in the order of the offsets."""
        return list(dict.fromkeys(self.name(number) for number in self.numbers(offset, size)))


def _checked(spans: Iterable[Span], size: int) -> Iterator[Span]:
    for count, (start, end, number) in enumerate(spans):
        if not 0 <= start <= end <= size:
            raise ValueError(f"{start} to {end} does not lie within the {size} bytes of the file")
        if count == MOST_RANGES:
            raise ValueError(f"there are more than {MOST_RANGES} ranges")
        if start < end:
            yield start, end, number


def flattened(spans: Iterable[Span]) -> Iterator[Span]:
    """Ranges without overlaps, in order, of spans sorted by start, the longer first: where two overlap, the one that
    began later holds, up to its end.
    """
    open_: list[tuple[int, int]] = []  # end and number of what encloses `at`, the innermost last
    at = 0
    for start, end, number in [*spans, (_END, _END, -1)]:
        while open_ and at < start:
            inner_end, inner = open_[-1]
            until = min(inner_end, start)
            if at < until:
                yield at, until, inner
                at = until
            if inner_end <= at:
                open_.pop()
        at = start
        open_.append((end, number))
