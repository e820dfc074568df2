"""A source over an open descriptor: what disk files, devices, shared memory and inherited descriptors share."""

import errno
import functools
import os
import stat
from collections.abc import Hashable

from mapfs.errors import SourceError
from mapfs.sources.base import Buffer, Entry, Source

_IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})


@functools.lru_cache
def in_memory(device: int) -> bool:
    """Whether the filesystem with this st_dev keeps its files in memory, so that reading one never waits.

    tmpfs cannot be asked by RWF_NOWAIT: it gives EOPNOTSUPP.
    """
    name = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
        return any(
            line.split(maxsplit=3)[2] == name and line.partition(" - ")[2].split()[0] in _IN_MEMORY for line in lines
        )


class DescriptorSource(Source):
    """The bytes behind `fd`, by pread(2); closes it in the end.

    `what` names it in errors. What lies in memory is read without further ado; preadv2(2) with RWF_NOWAIT asks
    the others whether the bytes are in the page cache.
    """

    def __init__(self, fd: int, what: str) -> None:
        self.fd = fd
        self.backing_fd = fd
        self.what = what
        status = os.fstat(fd)  # of a device, st_dev is where its node lies, which says nothing of its bytes
        self._in_memory = stat.S_ISREG(status.st_mode) and in_memory(status.st_dev)
        self._nowait = True

    @property
    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def version(self) -> Hashable:
        status = os.fstat(self.fd)
        return status.st_mtime_ns, status.st_size

    def entry(self) -> Entry:
        return Entry.of_stat(os.fstat(self.fd))

    def read(self, offset: int, size: int) -> Buffer:
        data = os.pread(self.fd, size, offset)
        if len(data) == size:
            return data
        pieces, got = [data], len(data)
        while got < size:
            data = os.pread(self.fd, size - got, offset + got)
            if not data:
                raise SourceError(
                    f"{self.what} has no bytes at {offset + got}: it shrank, or is shorter than its size says"
                )
            pieces.append(data)
            got += len(data)
        return b"".join(pieces)

    def try_read(self, offset: int, size: int) -> Buffer | None:
        if self._in_memory:
            return self.read(offset, size)
        if not self._nowait:
            return None
        data = bytearray(size)
        try:
            return data if os.preadv(self.fd, [data], offset, os.RWF_NOWAIT) == size else None
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                self._nowait = False
            return None  # the waiting read meets the same error and reports it

    def close(self) -> None:
        os.close(self.fd)
