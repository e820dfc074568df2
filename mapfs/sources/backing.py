"""A source over an open descriptor: what disk files, devices, shared memory and inherited descriptors share."""

import errno
import os
from collections.abc import Hashable

from mapfs.errors import SourceError
from mapfs.sources.base import Buffer, Entry, Source


class DescriptorSource(Source):
    """The bytes behind `fd`, by pread(2); closes it in the end.

    `what` names it in errors. `in_memory` says that reading never waits for a disk (tmpfs, memfd).
    preadv2(2) with RWF_NOWAIT asks the others whether the bytes are in the page cache.
    """

    def __init__(self, fd: int, what: str, *, in_memory: bool = False) -> None:
        self.fd = fd
        self.backing_fd = fd
        self.what = what
        self._in_memory = in_memory
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
                raise SourceError(f"{self.what} ends at {offset + got}, before the {offset + size} bytes it had")
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
