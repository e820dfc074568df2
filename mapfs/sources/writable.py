"""`dir:PATH,rw`: a mirrored directory in which files are made, written, moved and removed.

Every call resolves the parent of a path anew from the root's descriptor (see `openat2`) and then names only its
last part, so no link or race leads out of the root. A file is opened for reading first, and for writing when
somebody opens it for that (`DescriptorSource.make_writable`): a program that is only run is not busy for others.
"""

import contextlib
import ctypes
import os
import stat
from collections.abc import Iterator

from mapfs.sources.backing import DescriptorSource, apply_changes
from mapfs.sources.base import Changes, Source, WritableDirectory
from mapfs.sources.directory import BackingDirectory

_libc = ctypes.CDLL(None, use_errno=True)
_EXISTING = os.O_PATH | os.O_DIRECTORY


class WritableBackingDirectory(BackingDirectory, WritableDirectory):
    """The directory at `root`, to be changed too. Raises OSError where it cannot be opened."""

    def create(self, path: bytes, mode: int, owner: tuple[int, int]) -> Source:
        with self._parent(path) as (parent, name):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(name, flags, stat.S_IMODE(mode), dir_fd=parent)
        if _gives_away(owner):
            os.fchown(fd, *owner)
            os.fchmod(fd, stat.S_IMODE(mode))  # chown(2) takes the set-id bits away
        return DescriptorSource(fd, f"file {os.fsdecode(path)!r}", writable=True)

    def make(self, path: bytes, mode: int, rdev: int, owner: tuple[int, int]) -> None:
        with self._parent(path) as (parent, name):
            if stat.S_ISDIR(mode):
                os.mkdir(name, stat.S_IMODE(mode), dir_fd=parent)
            else:
                os.mknod(name, mode, rdev, dir_fd=parent)
            if _gives_away(owner):
                os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)

    def symlink(self, path: bytes, target: bytes, owner: tuple[int, int]) -> None:
        with self._parent(path) as (parent, name):
            os.symlink(target, name, dir_fd=parent)
            if _gives_away(owner):
                os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)

    def link(self, path: bytes, new: bytes) -> None:
        with self._parent(path) as (parent, name), self._parent(new) as (other, other_name):
            os.link(name, other_name, src_dir_fd=parent, dst_dir_fd=other, follow_symlinks=False)

    def unlink(self, path: bytes) -> None:
        with self._parent(path) as (parent, name):
            os.unlink(name, dir_fd=parent)

    def rmdir(self, path: bytes) -> None:
        with self._parent(path) as (parent, name):
            os.rmdir(name, dir_fd=parent)

    def rename(self, path: bytes, new: bytes, flags: int) -> None:
        with self._parent(path) as (parent, name), self._parent(new) as (other, other_name):
            if not flags:
                os.rename(name, other_name, src_dir_fd=parent, dst_dir_fd=other)
                return
            if _libc.renameat2(parent, name, other, other_name, ctypes.c_uint(flags)):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), path)

    def change(self, path: bytes, changes: Changes) -> None:
        fd = self._open(path, os.O_PATH)
        try:
            # the way through /proc leads to what O_PATH opened, be it a link, and follows nothing further
            apply_changes(f"/proc/self/fd/{fd}", changes)
        finally:
            os.close(fd)

    def statvfs(self) -> os.statvfs_result:
        return os.fstatvfs(self.root)

    def sync(self, path: bytes) -> None:
        fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """A descriptor of the directory that holds `path`, and the last part of `path`."""
        above, _, name = path.rpartition(b"/")
        fd = self._open(above, _EXISTING)
        try:
            yield fd, name
        finally:
            os.close(fd)


def _gives_away(owner: tuple[int, int]) -> bool:
    """Whether what was made has to be given to the user who asked for it: root serves others."""
    return os.geteuid() == 0 and owner != (0, 0)
