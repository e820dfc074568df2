"""A source over an open descriptor: what disk files, devices, shared memory and inherited descriptors share."""

import ctypes
import errno
import os
import stat
from collections.abc import Hashable

from mapfs.errors import SourceError
from mapfs.sources.base import Buffer, Changes, Entry, Source

_libc = ctypes.CDLL(None, use_errno=True)
#: statfs(2), f_type: tmpfs (memfd and POSIX shared memory too), ramfs, hugetlbfs.
_IN_MEMORY = frozenset({0x01021994, 0x858458F6, 0x958458F6})


def in_memory(fd: int) -> bool:
    """Whether the file behind `fd` lies in memory, so that reading it never waits.

    tmpfs cannot be asked by RWF_NOWAIT: it gives EOPNOTSUPP.
    """
    status = (ctypes.c_ulong * 32)()  # struct statfs, whose first field is f_type, and to spare
    return _libc.fstatfs(ctypes.c_int(fd), status) == 0 and status[0] & 0xFFFFFFFF in _IN_MEMORY


def fallocate(fd: int, mode: int, offset: int, size: int) -> None:
    """fallocate(2), which Python has without its modes. Raises OSError."""
    long = ctypes.c_int64  # off_t of the 64-bit call
    if _libc.fallocate64(ctypes.c_int(fd), ctypes.c_int(mode), long(offset), long(size)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class DescriptorSource(Source):
    """The bytes behind `fd`, by pread(2) and, where it is `writable`, pwrite(2); closes it in the end.

    `what` names it in errors. What lies in memory is read without further ado; preadv2(2) with RWF_NOWAIT asks
    the others whether the bytes are in the page cache.
    """

    fills = True

    def __init__(self, fd: int, what: str, *, writable: bool = False) -> None:
        self.fd = fd
        self.backing_fd = fd
        self.what = what
        self.writable = writable
        # of a device node, the filesystem is where the node lies, which says nothing of its bytes
        self._flags = 0 if stat.S_ISREG(os.fstat(fd).st_mode) and in_memory(fd) else os.RWF_NOWAIT
        self._nowait = True

    @property
    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def version(self) -> Hashable:
        status = os.fstat(self.fd)
        return status.st_mtime_ns, status.st_size  # as Entry.version

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
        data = bytearray(size)
        return data if self.try_fill(offset, memoryview(data)) else None

    def try_fill(self, offset: int, into: memoryview) -> bool:
        if not self._nowait:
            return False
        try:
            return os.preadv(self.fd, (into,), offset, self._flags) == len(into)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                self._nowait = False
            return False  # the waiting read meets the same error and reports it

    def write(self, offset: int, data: Buffer) -> None:
        if not self.writable:  # the descriptor itself may be
            super().write(offset, data)
        rest = memoryview(data)
        while rest:
            done = os.pwrite(self.fd, rest, offset)
            if not done:
                raise SourceError(f"{self.what} takes no more bytes at {offset}")
            rest, offset = rest[done:], offset + done

    def resize(self, size: int) -> None:
        if not self.writable:
            super().resize(size)
        os.ftruncate(self.fd, size)

    def flush(self) -> None:
        os.fsync(self.fd)

    def allocate(self, mode: int, offset: int, size: int) -> None:
        if not self.writable:
            super().allocate(mode, offset, size)
        fallocate(self.fd, mode, offset, size)

    def seek(self, offset: int, whence: int) -> int:
        return os.lseek(self.fd, offset, whence)  # reads and writes name their own offsets

    def change(self, changes: Changes) -> None:
        apply_changes(self.fd, changes)

    def make_writable(self) -> None:
        """Opens the same file for writing too, under the same descriptor, reads in progress notwithstanding."""
        if self.writable:
            return
        fd = os.open(f"/proc/self/fd/{self.fd}", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.dup2(fd, self.fd, inheritable=False)
        finally:
            os.close(fd)
        self.writable = True

    def close(self) -> None:
        os.close(self.fd)


def apply_changes(fd: int | str, changes: Changes) -> None:
    """chown(2), chmod(2) and utimensat(2), in the order in which one does not undo the other. Raises OSError.

    `fd` may be a path, whose last part may be followed (/proc/self/fd/N).
    """
    if changes.uid is not None or changes.gid is not None:
        os.chown(fd, -1 if changes.uid is None else changes.uid, -1 if changes.gid is None else changes.gid)
    if changes.mode is not None:
        os.chmod(fd, stat.S_IMODE(changes.mode))
    if changes.atime_ns is not None or changes.mtime_ns is not None:
        now = os.stat(fd)
        atime = now.st_atime_ns if changes.atime_ns is None else changes.atime_ns
        mtime = now.st_mtime_ns if changes.mtime_ns is None else changes.mtime_ns
        os.utime(fd, ns=(atime, mtime))
