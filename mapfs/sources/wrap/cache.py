"""`cache=SIZE[/BLOCK][:DIR]`: what was read is kept, for sources that are slow. Blocks of 64K, if nothing is said.

Kept in memory, or in an unnamed file in DIR; at most SIZE bytes, the least recently used go first. A block is fetched
once, however many ask for it; blocks that lie side by side are fetched by one read. What is written goes through, and
the blocks that it touches are dropped. Another version of the source inside empties the cache; a version that a write
through the cache brought does not, so that a change by somebody else during that very write is not noticed.
"""

import threading
import time
from collections.abc import Callable, Iterator

from mapfs.errors import SourceError, SpecError
from mapfs.sources.backing import DescriptorSource
from mapfs.sources.base import Buffer, Changes, Source
from mapfs.sources.wrap.base import Wrapper
from mapfs.sources.wrap.blocks import Blocks, Flight
from mapfs.sources.wrap.storage import in_memory, unnamed_file
from mapfs.units import PAGE_SIZE, parse_size

_BLOCK = 1 << 16
_FORGOTTEN = 60.0  # seconds after which nobody comes any more to read what was put off
_MOST_HELD = 4096


class Cache(Wrapper):
    """`inner`, of which at most `size` bytes are kept in `store`, an empty file that this takes over."""

    def __init__(self, inner: Source, store: DescriptorSource, size: int, block: int = _BLOCK) -> None:
        super().__init__(inner)
        self.backing_fd = None  # the kernel would read around the cache
        self._block = block
        self._blocks = Blocks(store, size // block, block)
        self._version = inner.version()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._held: dict[int, float] = {}  # blocks whose fetch was put off, and until when
        #: Blocks that were found, and blocks that were fetched.
        self.hits = 0
        self.misses = 0

    @property
    def bytes(self) -> int:
        """Bytes that are kept now."""
        return self._blocks.bytes

    def try_read(self, offset: int, size: int) -> Buffer | None:
        self._look()
        parts = []
        for number, skip, length in self._parts(offset, size):
            block = self._blocks.find(number, skip + length)
            if block is None:
                return None
            data = self._blocks.read(number, block, skip, length, wait=False)
            if data is None:
                return None
            parts.append(data)
        self._count(hits=len(parts))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def hold(self, offset: int, size: int) -> float:
        """The longest that the source inside asks for, of what is missing; asked once a block."""
        longest, now = 0.0, time.monotonic()
        missing = self._blocks.absent(number for number, _, _ in self._parts(offset, size))
        with self._lock:
            known = [number for number in missing if self._held.get(number, 0.0) > now - _FORGOTTEN]
            for run in _runs([number for number in missing if number not in known]):
                start, stop = self._span(run, offset + size)
                seconds = self.inner.hold(start, stop - start)
                longest = max(longest, seconds)
                if len(self._held) > _MOST_HELD:
                    self._held.clear()
                self._held.update(dict.fromkeys(run, now + seconds))
            return max(longest, *(self._held[number] - now for number in known), 0.0)

    def read(self, offset: int, size: int) -> Buffer:
        self._look()
        wanted = list(self._parts(offset, size))
        got: dict[int, Buffer] = {}
        while len(got) < len(wanted):
            found, own = [], {}
            for number, skip, length in wanted:
                if number not in got:
                    block, ours = self._blocks.board(number, skip + length)
                    found.append((number, skip, length, block))
                    if ours is not None:
                        own[number] = ours
            self._fetch(own, offset + size)  # before all else: others wait for it
            for number, skip, length, block in found:
                if isinstance(block, Flight):
                    data: Buffer | None = block.wait()[skip : skip + length]
                else:
                    data = self._blocks.read(number, block, skip, length, wait=True)
                if data is not None and len(data) == length:  # else it is gone, or was fetched before the file grew
                    got[number] = data
                    self._count(hits=number not in own)
        parts = [got[number] for number, _, _ in wanted]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, offset: int, data: Buffer) -> None:
        stop = -(-(offset + len(data)) // self._block)
        self._change(lambda: self.inner.write(offset, data), offset // self._block, stop)

    def resize(self, size: int) -> None:
        first = min(size, self.size) // self._block
        self._change(lambda: self.inner.resize(size), first, None)

    def allocate(self, mode: int, offset: int, size: int) -> None:
        self._change(lambda: self.inner.allocate(mode, offset, size), offset // self._block, None)

    def change(self, changes: Changes) -> None:
        self._change(lambda: self.inner.change(changes), 0, 0)

    def close(self) -> None:
        try:
            self._blocks.close()
        finally:
            self.inner.close()

    def _look(self) -> None:
        """Empties the cache where the content is another."""
        version = self.inner.version()
        if version != self._version:
            with self._lock:
                if version != self._version:
                    self._version = version
                    self._blocks.drop(0, None)

    def _change(self, change: Callable[[], None], first: int, stop: int | None) -> None:
        """Changes the source inside, and drops the blocks that it may have changed."""
        with self._writing:
            self._look()
            try:
                change()
            finally:
                with self._lock:
                    self._blocks.drop(first, stop)
                    self._version = self.inner.version()

    def _parts(self, offset: int, size: int) -> Iterator[tuple[int, int, int]]:
        """The blocks that `size` bytes at `offset` touch: number, bytes to skip, bytes."""
        end = offset + size
        while offset < end:
            number, skip = divmod(offset, self._block)
            length = min(self._block - skip, end - offset)
            yield number, skip, length
            offset += length

    def _span(self, run: range, end: int) -> tuple[int, int]:
        """Where the blocks of `run` begin and end: with the file, unless somebody wants more, to `end`."""
        stop = run.stop * self._block
        return run.start * self._block, max(min(stop, self.inner.size), min(stop, end))

    def _fetch(self, own: dict[int, Flight], end: int) -> None:
        """Fetches the blocks that nobody else fetches; none of those who wait for them is left alone."""
        failed: BaseException | None = None
        for run in _runs(sorted(own)):
            try:
                if failed is not None:
                    raise failed
                start, stop = self._span(run, end)
                data = memoryview(self.inner.read(start, stop - start))
                if data.nbytes != stop - start:
                    raise SourceError(f"the source gave {data.nbytes} bytes where {stop - start} were asked for")
            except BaseException as error:
                failed = error
                for number in run:
                    self._blocks.fail(number, own[number], error)
            else:
                for number in run:
                    at = number * self._block - start
                    self._blocks.land(number, own[number], data[at : at + self._block])
                self._count(misses=len(run))
            with self._lock:
                for number in run:
                    self._held.pop(number, None)
        if failed is not None:
            raise failed

    def _count(self, *, hits: int = 0, misses: int = 0) -> None:
        with self._lock:
            self.hits += hits
            self.misses += misses


def _runs(numbers: list[int]) -> Iterator[range]:
    """Sorted numbers as ranges of neighbours."""
    start = 0
    for at in range(1, len(numbers) + 1):
        if at == len(numbers) or numbers[at] != numbers[at - 1] + 1:
            yield range(numbers[start], numbers[at - 1] + 1)
            start = at


def make_cache(value: str | None) -> Callable[[Source], Source]:
    """Raises SpecError for sizes that make no sense; what it returns raises SourceError where DIR takes no file."""
    sizes, _, directory = (value or "").partition(":")
    whole, slash, part = sizes.partition("/")
    if not whole:
        raise SpecError("cache= needs a size, as in cache=64M, cache=64M/256K or cache=1G:/var/tmp")
    size, block = parse_size(whole), parse_size(part) if slash else _BLOCK
    if block < PAGE_SIZE or block & (block - 1):
        raise SpecError(f"cache={value} has blocks of {block} bytes; they must be a power of two and at least a page")
    if size < block:
        raise SpecError(f"cache={value} has no room for a block of {block} bytes; write cache={block} or more")

    def around(inner: Source) -> Source:
        store = unnamed_file("cache", directory) if directory else in_memory("cache")
        try:
            return Cache(inner, store, size, block)
        except BaseException:
            store.close()
            raise

    return around
