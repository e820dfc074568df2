"""`device:PATH[,rw]`: a block device, its size asked of it, or a character device with `size=`.

`device:` alone is the directory of all block devices that this user may read.
"""

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Hashable

from mapfs.errors import SourceError, SpecError, of_path
from mapfs.sources.backing import DescriptorSource
from mapfs.sources.base import Buffer, Changes, DirectorySource, Entry, Source
from mapfs.sources.spec import Spec, is_set
from mapfs.units import parse_size

_BLKGETSIZE64 = 0x80081272  # linux/fs.h: _IOR(0x12, 114, size_t) on 64-bit machines
_READABLE, _WRITABLE = stat.S_IFREG | 0o444, stat.S_IFREG | 0o644  # only a regular file can be mapped through FUSE


class DeviceSource(DescriptorSource):
    """The bytes of a device, shown as a regular file. `length` is the size of a character device."""

    def __init__(self, fd: int, what: str, length: int | None = None, *, writable: bool = False) -> None:
        super().__init__(fd, what, writable=writable)
        self._length = length

    @property
    def size(self) -> int:
        if self._length is not None:
            return self._length
        answer = fcntl.ioctl(self.fd, _BLKGETSIZE64, b"\0" * 8)
        return int(struct.unpack("=Q", answer)[0])

    def version(self) -> int:
        return self.size

    def entry(self) -> Entry:
        return self.described(None)

    def described(self, identity: Hashable) -> Entry:
        """Its times are those of the device node: the kernel drops the cached pages of what has a new mtime."""
        status = os.fstat(self.fd)
        return Entry(
            _WRITABLE if self.writable else _READABLE,
            self.size,
            atime_ns=status.st_atime_ns,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
            identity=identity,
        )

    def write(self, offset: int, data: Buffer) -> None:
        if offset + len(data) > self.size:
            raise SourceError(f"{self.what} ends at {self.size} and cannot grow", errno.ENOSPC)
        super().write(offset, data)

    def resize(self, size: int) -> None:
        if size != self.size:
            raise SourceError(f"{self.what} has a size of its own, {self.size} bytes (ftruncate(2))", errno.EINVAL)

    def seek(self, offset: int, whence: int) -> int:
        return Source.seek(self, offset, whence)  # a device has no holes, and lseek(2) of it knows none

    def change(self, changes: Changes) -> None:
        """The times alone: mode and owner shown here are not those of the node, which guard the whole device."""
        if (changes.mode, changes.uid, changes.gid) != (None, None, None):
            Source.change(self, changes)
        super().change(changes)


def open_device(spec: Spec) -> "Source | DirectorySource":
    """The device at `spec.arg`. Raises SourceError where there is none that can be read at an offset."""
    writable = is_set(spec, "rw")
    if not spec.arg:
        if spec.options:
            raise SpecError("device: without a path lists the block devices and takes no size= and no rw")
        return BlockDevices()
    what = f"device {spec.arg!r}"
    try:
        # O_NOCTTY: a terminal must not become that of the daemon, which would end with it
        flags = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        fd = os.open(spec.arg, (os.O_RDWR if writable else os.O_RDONLY) | flags)
    except IsADirectoryError as error:  # opened for writing
        raise _no_device(what) from error
    except OSError as error:
        raise of_path(error, what) from error
    try:
        return _opened(fd, what, spec.options.get("size"), writable=writable)
    except BaseException:
        os.close(fd)
        raise


def _no_device(what: str) -> SourceError:
    return SourceError(f"{what} is no device; write file: for a file and dir: for a directory")


def _opened(fd: int, what: str, size: str | None, *, writable: bool) -> Source:
    mode = os.fstat(fd).st_mode
    if stat.S_ISBLK(mode):
        if size is not None:
            raise SpecError(f"{what} is a block device and knows its own size; leave size= out")
        return DeviceSource(fd, what, writable=writable)
    if not stat.S_ISCHR(mode):
        raise _no_device(what)
    if size is None:
        raise SpecError(f"{what} is a character device, which has no size of its own; add size=, as in size=64K")
    length = parse_size(size)
    try:
        os.pread(fd, 0, 0)
    except OSError as error:
        raise SourceError(f"{what} cannot be read at an offset, so it has no pages to map") from error
    os.set_blocking(fd, True)
    return DeviceSource(fd, what, length, writable=writable)


class BlockDevices(DirectorySource):
    """The block devices in /dev that this process may read, as files."""

    def names(self, path: bytes) -> list[bytes]:
        if path:
            raise NotADirectoryError(path)
        return [os.fsencode(entry.name) for entry in os.scandir("/dev") if self._fits(entry.path)]

    def entry(self, path: bytes) -> Entry:
        if not path:
            return Entry(stat.S_IFDIR | 0o555, nlink=2)
        source = self.open(path)
        try:
            return source.described(path)
        finally:
            source.close()

    def open(self, path: bytes) -> DeviceSource:
        device = os.path.join(b"/dev", path)
        if b"/" in path or not self._fits(os.fsdecode(device)):
            raise FileNotFoundError(path)
        return DeviceSource(os.open(device, os.O_RDONLY | os.O_CLOEXEC), f"device {os.fsdecode(device)!r}")

    @staticmethod
    def _fits(path: str) -> bool:
        try:
            return stat.S_ISBLK(os.stat(path, follow_symlinks=False).st_mode) and os.access(path, os.R_OK)
        except OSError:
            return False
