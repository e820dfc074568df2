"""`truncate=SIZE`: the beginning of a file, or all of it and zeroes behind. Read-only: put `cow` around it to write.

The size stays the same whatever the file does; where it shrinks, there are zeroes, where it grows, more of it.
"""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import replace

from mapfs.errors import SourceError, SpecError
from mapfs.sources.base import Buffer, Entry, Source
from mapfs.sources.wrap.base import Wrapper
from mapfs.units import parse_size


class Truncate(Wrapper):
    """`length` bytes: those of `inner` as far as it reaches, then zeroes."""

    def __init__(self, inner: Source, length: int) -> None:
        super().__init__(inner)
        self.backing_fd = None
        self.writable = False
        self._length = length

    @property
    def size(self) -> int:
        return self._length

    def entry(self) -> Entry:
        entry = self.inner.entry()
        readable = stat.S_IMODE(entry.mode) & 0o555
        mode = stat.S_IFMT(entry.mode) | readable
        return replace(entry, mode=mode, size=self._length, blocks=None, identity=None)

    def read(self, offset: int, size: int) -> Buffer:
        held = self._held(offset, size)
        if not held:
            return bytes(size)
        data = self.inner.read(offset, held)
        return data if held == size else bytes(data) + bytes(size - held)

    def try_read(self, offset: int, size: int) -> Buffer | None:
        held = self._held(offset, size)
        if not held:
            return bytes(size)
        data = self.inner.try_read(offset, held)
        return data if data is None or held == size else bytes(data) + bytes(size - held)

    def hold(self, offset: int, size: int) -> float:
        held = self._held(offset, size)
        return self.inner.hold(offset, held) if held else 0.0

    def seek(self, offset: int, whence: int) -> int:
        if not 0 <= offset < self._length:
            raise SourceError("there is nothing at or past the end", errno.ENXIO)
        inside = offset < self.inner.size
        if inside or whence != os.SEEK_DATA:
            found = self.inner.seek(offset, whence) if inside else offset
            if found < self._length or whence != os.SEEK_DATA:
                return min(found, self._length)
        raise SourceError("there is no data before the end", errno.ENXIO)

    def write(self, offset: int, data: Buffer) -> None:
        raise _read_only()

    def resize(self, size: int) -> None:
        raise _read_only()

    def allocate(self, mode: int, offset: int, size: int) -> None:
        raise _read_only()

    def _held(self, offset: int, size: int) -> int:
        """How many of `size` bytes at `offset` are the inner source's."""
        return max(0, min(size, self.inner.size - offset))


def _read_only() -> SourceError:
    return SourceError("truncate= is read-only; put cow behind it to write into a copy", errno.EROFS)


def make_truncate(value: str | None) -> Callable[[Source], Source]:
    """Raises SpecError for what is no size."""
    if not value:
        raise SpecError("truncate= needs a size, as in truncate=64K")
    length = parse_size(value)
    return lambda inner: Truncate(inner, length)
