"""What happened to the pages of one file, in bounded memory: cells that coarsen as more of them are touched.

A cell tells how often its pages were demanded, what happened to it last, when, and by whom. It is one page at first;
where there are more than MOST_CELLS of them, each two become one, so that no file takes more than 4 MB, however it is
touched.
"""

import operator
from array import array
from dataclasses import dataclass, field

MOST_CELLS = 1 << 18
_CHUNK = 256  # cells that are kept together; what was never touched takes nothing
_MOST_CHUNKS = MOST_CELLS // _CHUNK
_CHUNK_BYTES = 13 * _CHUNK + 600
_LARGEST = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Seen:
    """What happened to a range of pages: `demands` of them, and of the last thing that happened its kind, the number
    of the process, and when, ms of the model's clock. All 0 where nothing did.
    """

    demands: int = 0
    kind: int = 0
    who: int = 0
    at_ms: int = 0


NOTHING = Seen()


@dataclass(slots=True)
class _Chunk:
    demands: "array[int]" = field(default_factory=lambda: array("I", bytes(4 * _CHUNK)))
    at_ms: "array[int]" = field(default_factory=lambda: array("I", bytes(4 * _CHUNK)))
    who: "array[int]" = field(default_factory=lambda: array("I", bytes(4 * _CHUNK)))
    kind: bytearray = field(default_factory=lambda: bytearray(_CHUNK))


class PageMap:
    """The cells of one file."""

    def __init__(self) -> None:
        self._chunks: dict[int, _Chunk] = {}
        self.shift = 0

    @property
    def pages_a_cell(self) -> int:
        """A power of 2."""
        return 1 << self.shift

    @property
    def size(self) -> int:
        """Bytes that it takes, roughly."""
        return len(self._chunks) * _CHUNK_BYTES

    def touch(self, first: int, count: int, *, demands: int, kind: int, who: int, at_ms: int) -> None:
        """This happened to `count` pages from `first` on; `demands` is 1 where each was demanded, else 0."""
        shift = self.shift
        for cell in range(first >> shift, ((first + count - 1) >> shift) + 1):
            chunk = self._chunks.get(cell // _CHUNK)
            if chunk is None:
                if len(self._chunks) >= _MOST_CHUNKS:
                    self.coarsen()
                    at = max(first, cell << shift)  # the cells before have it already
                    self.touch(at, first + count - at, demands=demands, kind=kind, who=who, at_ms=at_ms)
                    return
                chunk = self._chunks[cell // _CHUNK] = _Chunk()
            at = cell % _CHUNK
            if demands:
                pages = 1 if not shift else min(first + count, (cell + 1) << shift) - max(first, cell << shift)
                chunk.demands[at] = min(chunk.demands[at] + pages, _LARGEST)
            chunk.kind[at], chunk.who[at], chunk.at_ms[at] = kind, who, at_ms

    def coarsen(self) -> None:
        """Each two cells become one."""
        old, self._chunks = self._chunks, {}
        self.shift += 1
        half = _CHUNK // 2
        for number, chunk in old.items():
            new = self._chunks.setdefault(number // 2, _Chunk())
            start = number % 2 * half
            into = slice(start, start + half)
            sums = map(operator.add, chunk.demands[::2], chunk.demands[1::2])
            new.demands[into] = array("I", [min(one, _LARGEST) for one in sums])
            later = [at + (chunk.at_ms[at + 1] > chunk.at_ms[at] or not chunk.kind[at]) for at in range(0, _CHUNK, 2)]
            new.at_ms[into] = array("I", [chunk.at_ms[at] for at in later])
            new.who[into] = array("I", [chunk.who[at] for at in later])
            new.kind[into] = bytes([chunk.kind[at] for at in later])

    def seen(self, first: int, count: int) -> Seen:
        """What happened to `count` pages from `first` on, or to the cells that they lie in."""
        cell, last = first >> self.shift, (first + count - 1) >> self.shift
        demands, best = 0, NOTHING
        while cell <= last:
            number, at = divmod(cell, _CHUNK)
            end = min(_CHUNK, at + last - cell + 1)
            chunk = self._chunks.get(number)
            if chunk is not None:
                demands += sum(chunk.demands[at:end])
                times = chunk.at_ms[at:end]
                newest = at + times.index(max(times))
                if not chunk.kind[newest]:  # at 0 ms something may have happened to another
                    newest = next((one for one in range(at, end) if chunk.kind[one]), newest)
                if chunk.kind[newest] and (not best.kind or chunk.at_ms[newest] >= best.at_ms):
                    best = Seen(0, chunk.kind[newest], chunk.who[newest], chunk.at_ms[newest])
            cell += end - at
        return Seen(demands, best.kind, best.who, best.at_ms)

    def clear(self) -> None:
        """Forgets all."""
        self._chunks.clear()
        self.shift = 0
