"""`slice=OFFSET+SIZE`: a part of a file, as a file. It lies within the file when it is opened, and never grows."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace

from mapfs.errors import SourceError, SpecError
from mapfs.sources.base import Buffer, Entry, Source
from mapfs.sources.wrap.base import Wrapper
from mapfs.units import parse_size

_KEEP_SIZE, _PUNCH_HOLE, _COLLAPSE, _INSERT = 0x01, 0x02, 0x08, 0x20  # fallocate(2)
_FIXED = "a slice has a fixed size"


class Slice(Wrapper):
    """`length` bytes of `inner` from `start` on, or what is left of them where it shrank."""

    def __init__(self, inner: Source, start: int, length: int) -> None:
        super().__init__(inner)
        self.backing_fd = None  # its bytes lie elsewhere
        self._start = start
        self._length = length

    @property
    def size(self) -> int:
        return max(0, min(self._length, self.inner.size - self._start))

    def entry(self) -> Entry:
        return replace(self.inner.entry(), size=self.size, blocks=None, identity=None)

    def read(self, offset: int, size: int) -> Buffer:
        return self.inner.read(self._start + offset, size)

    def try_read(self, offset: int, size: int) -> Buffer | None:
        return self.inner.try_read(self._start + offset, size)

    def hold(self, offset: int, size: int) -> float:
        return self.inner.hold(self._start + offset, size)

    def write(self, offset: int, data: Buffer) -> None:
        if offset + len(data) > self._length:
            raise SourceError(f"{_FIXED} and ends before {offset + len(data)}", errno.ENOSPC)
        self.inner.write(self._start + offset, data)

    def resize(self, size: int) -> None:
        if size != self.size:
            raise SourceError(f"{_FIXED}; write into it only", errno.EPERM)

    def allocate(self, mode: int, offset: int, size: int) -> None:
        if mode & (_COLLAPSE | _INSERT):
            raise SourceError(f"{_FIXED}: nothing can be shifted in it", errno.EOPNOTSUPP)
        if offset + size > self._length and not mode & _KEEP_SIZE:
            raise SourceError(f"{_FIXED} and ends before {offset + size}", errno.ENOSPC)
        size = min(size, self._length - offset)  # what lies behind is not ours to punch
        if size > 0:
            self.inner.allocate(mode, self._start + offset, size)

    def seek(self, offset: int, whence: int) -> int:
        size = self.size
        if not 0 <= offset < size:
            raise SourceError("there is nothing at or past the end", errno.ENXIO)
        found = self.inner.seek(self._start + offset, whence) - self._start
        if found < size:
            return found
        if whence == os.SEEK_DATA:
            raise SourceError("there is no data before the end", errno.ENXIO)
        return size


def make_slice(value: str | None) -> Callable[[Source], Source]:
    """Raises SpecError for what is not OFFSET+SIZE; what it returns raises SourceError for what lies outside."""
    first, plus, second = (value or "").partition("+")
    if not plus:
        raise SpecError(f"slice={value or ''} is not OFFSET+SIZE, as in slice=4K+64K")
    start, length = parse_size(first), parse_size(second)

    def around(inner: Source) -> Source:
        if start + length > inner.size:
            raise SourceError(f"slice={value} does not lie within the {inner.size} bytes that there are", errno.EINVAL)
        return Slice(inner, start, length)

    return around
