"""What was served of a file, so that it can be told which of those pages have changed since: what `coherency=live`
rests on. Not an option of a spec; the mount puts it around a file that is watched.

Of each page that is read a 64-bit hash is kept (8 bytes a page). `changes` reads the pages again and compares: in
pieces of `_CHUNK` pages where many of them were served, whose digest as a whole mostly says that nothing changed,
and that without the interpreter lock; else page by page. What a mount writes itself is no change. The hash is XXH3: a
page takes 0.2 us and a GiB a tenth of what BLAKE2b takes, and nobody gains by making two contents look alike.
"""

import os
import stat
import threading
from array import array
from collections.abc import Hashable, Iterator

import xxhash

from mapfs.sources.base import Buffer, Source
from mapfs.sources.wrap.base import Wrapper
from mapfs.units import PAGE_SIZE, page_span

_CHUNK = 256  # pages
_DENSE = 32  # served pages of a chunk from which on it is read as a whole
_NONE, _SUSPECT = 0, 1  # in place of a hash: never served; what the page cache has is not known


def _hash(data: Buffer) -> int:
    found = xxhash.xxh3_64_intdigest(data)
    return found if found not in (_NONE, _SUSPECT) else 2


class Digests:
    """The hashes of the pages of one file that were served; they outlive the source when it is reopened."""

    def __init__(self) -> None:
        self.chunks: dict[int, array[int]] = {}
        self.fresh: set[int] = set()  # chunks with pages whose hash is newer than the chunk's digest
        self.whole: dict[int, bytes] = {}
        self.version: Hashable = None  # of the source, when `changes` looked last
        self.lock = threading.Lock()  # held while content and hash have to agree

    def get(self, page: int) -> int:
        """The hash of `page`, or that there is none."""
        chunk = self.chunks.get(page // _CHUNK)
        return _NONE if chunk is None else chunk[page % _CHUNK]

    def set(self, page: int, value: int) -> None:
        """Keeps the hash of `page`."""
        number, at = divmod(page, _CHUNK)
        chunk = self.chunks.get(number)
        if chunk is None:
            chunk = self.chunks[number] = array("Q", bytes(8 * _CHUNK))
        chunk[at] = value
        self.fresh.add(number)

    def suspect(self, first: int, last: int) -> None:
        """What the page cache has of those pages from `first` to `last` that were served is not known any more."""
        for number, chunk in self.chunks.items():
            start = number * _CHUNK
            for at in range(max(first - start, 0), min(last + 1 - start, _CHUNK)):
                if chunk[at] != _NONE:
                    chunk[at] = _SUSPECT
                    self.fresh.add(number)

    def forget(self, first: int = 0, last: int | None = None) -> None:
        """Pages from `first` to `last` are in the page cache no more."""
        for number, chunk in list(self.chunks.items()):
            start = number * _CHUNK
            low, high = max(first - start, 0), _CHUNK if last is None else min(last + 1 - start, _CHUNK)
            if low < high:
                chunk[low:high] = array("Q", bytes(8 * (high - low)))
                self.fresh.add(number)
                if not any(chunk):
                    del self.chunks[number]
                    self.whole.pop(number, None)


class Served(Wrapper):
    """A source that remembers what was read of it."""

    def __init__(self, inner: Source, digests: Digests) -> None:
        super().__init__(inner)
        self.digests = digests
        # of a disk file, what is not in the page cache cannot have changed without a new mtime
        fd = inner.backing_fd
        self._skips_uncached = fd is not None and stat.S_ISREG(os.fstat(fd).st_mode)

    def read(self, offset: int, size: int) -> Buffer:
        return self._remembered(offset, self.inner.read(offset, size))

    def try_read(self, offset: int, size: int) -> Buffer | None:
        data = self.inner.try_read(offset, size)
        return None if data is None else self._remembered(offset, data)

    def _remembered(self, offset: int, data: Buffer) -> Buffer:
        digests = self.digests
        if offset % PAGE_SIZE:
            return data  # never by the page cache
        view = memoryview(data).cast("B")
        for at in range(0, len(view), PAGE_SIZE):
            page = (offset + at) // PAGE_SIZE
            found, before = _hash(view[at : at + PAGE_SIZE]), digests.get(page)
            if before != found:
                # not what was served before: whether the page cache has the one or the other, nobody can tell
                digests.set(page, found if before == _NONE else _SUSPECT)
        return data

    def write(self, offset: int, data: Buffer) -> None:
        with self.digests.lock:
            pages = {*page_span(offset, len(data))}
            if offset > self.inner.size:  # the page that was the last one goes on with zeroes
                pages.add(self.inner.size // PAGE_SIZE)
            known = {page: self._patched(page, offset, data) for page in pages}
            self.inner.write(offset, data)
            for page, value in known.items():
                if value != _NONE:
                    self.digests.set(page, value)

    def _patched(self, page: int, offset: int, data: Buffer) -> int:
        """The hash that `page` is going to have, as the page cache has it, once `data` is written."""
        start = page * PAGE_SIZE
        size = max(self.inner.size, offset + len(data))
        end = min(start + PAGE_SIZE, size)
        if offset <= start and offset + len(data) >= end:
            return _hash(memoryview(data)[start - offset : end - offset])
        before = self.digests.get(page)
        if before == _NONE:
            return _NONE
        old = bytes(self.inner.read(start, max(0, min(end, self.inner.size) - start)))
        if _hash(old) != before:
            return _SUSPECT
        made = bytearray(old.ljust(end - start, b"\0"))
        low, high = max(offset, start), min(offset + len(data), end)
        if low < high:
            made[low - start : high - start] = data[low - offset : high - offset]
        return _hash(made)

    def resize(self, size: int) -> None:
        with self.digests.lock:
            old = self.inner.size
            self.inner.resize(size)
            self.digests.forget(-(-size // PAGE_SIZE))
            for page in {size // PAGE_SIZE, old // PAGE_SIZE}:
                self.digests.suspect(page, page)

    def allocate(self, mode: int, offset: int, size: int) -> None:
        with self.digests.lock:
            self.inner.allocate(mode, offset, size)
            pages = page_span(offset, size)
            self.digests.suspect(pages.start, pages.stop - 1)

    def changes(self) -> Iterator[tuple[int, bytes]]:
        """Each served page whose content is another now, and that content; from then on it counts as served."""
        digests, version = self.digests, self.inner.version()
        same, digests.version = version == digests.version, version
        for number in sorted(digests.chunks):
            with digests.lock:
                chunk = digests.chunks.get(number)
                changed = [] if chunk is None else list(self._compare(number, chunk, same))
            yield from changed
        digests.forget(-(-self.inner.size // PAGE_SIZE))

    def _compare(self, number: int, chunk: "array[int]", same: bool) -> Iterator[tuple[int, bytes]]:
        fresh = number in self.digests.fresh
        self.digests.fresh.discard(number)  # first: what is served from here on is looked at the next time
        served = [at for at, value in enumerate(chunk) if value != _NONE]
        start = number * _CHUNK
        data = None
        if len(served) >= _DENSE:
            data = self._now(start, _CHUNK, same)
            if data is not None:
                whole = xxhash.xxh3_128_digest(data)
                if not fresh and self.digests.whole.get(number) == whole:
                    return
                self.digests.whole[number] = whole
        for at in served:
            content = self._now(start + at, 1, same) if data is None else data[at * PAGE_SIZE : (at + 1) * PAGE_SIZE]
            if not content:
                continue  # unchanged, or past the end
            found = _hash(content)
            if found != chunk[at]:
                chunk[at] = found
                yield start + at, content

    def _now(self, page: int, count: int, same: bool) -> bytes | None:
        """The content of pages as it is; None where it cannot have changed since the last look."""
        offset = page * PAGE_SIZE
        size = max(0, min(count * PAGE_SIZE, self.inner.size - offset))
        data = self.inner.try_read(offset, size)
        if data is None and not (same and self._skips_uncached):
            data = self.inner.read(offset, size)
        return None if data is None else bytes(data)
