"""`dir:PATH[,rw]`: a directory of this machine with all that is below it: names, modes, times, symlinks.

Each path is resolved anew from the root's descriptor (see `openat2`), so that a rename, a symlink or `..`
can never lead out, and no descriptor is held for a directory. Symlinks are shown, never followed: the
client's kernel follows them, with the client's rights, in the client's name space.
"""

import errno
import os
import stat

from mapfs.errors import SourceError, of_path
from mapfs.sources.backing import DescriptorSource
from mapfs.sources.base import DirectorySource, Entry, Source
from mapfs.sources.openat2 import filesystem_of_mount, mount_id, open_beneath, open_cached
from mapfs.sources.spec import Spec, is_set

_OWN_TYPE = "fuse.mapfs"
#: Of what needs no block device, those whose stat(2) asks nobody (/proc/filesystems). An overlay over a server, which
#: would, is not told apart.
_LOCAL = frozenset({"tmpfs", "ramfs", "overlay", "btrfs", "zfs", "bcachefs"})
_SHARED = frozenset({"fuseblk", "gfs2", "ocfs2"})  # of those with a block device, whose stat(2) asks somebody
_IN_INODE = 60  # bytes of a link's target from which on a filesystem may keep it elsewhere (ext4)


class BackingDirectory(DirectorySource):
    """The directory at `root`. Raises OSError where it cannot be opened."""

    def __init__(self, root: str) -> None:
        self.root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._hidden: set[int] = set()

    def names(self, path: bytes) -> list[bytes]:
        fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return [os.fsencode(name) for name in os.listdir(fd)]
        finally:
            os.close(fd)

    def entry(self, path: bytes) -> Entry:
        fd = self._open(path, os.O_PATH)
        try:
            return Entry.of_stat(os.fstat(fd))
        finally:
            os.close(fd)

    def listed(self, path: bytes) -> Entry:
        fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return Entry.of_stat(os.fstat(fd))
        finally:
            os.close(fd)

    def open(self, path: bytes) -> Source:
        fd = self._open(path, os.O_RDONLY | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return DescriptorSource(fd, f"file {os.fsdecode(path)!r}")

    def readlink(self, path: bytes) -> bytes:
        fd = self._open(path, os.O_PATH)
        try:
            return os.readlink(b"", dir_fd=fd)
        finally:
            os.close(fd)

    def prompt(self) -> DirectorySource | None:
        if not _is_local(self.root):
            return None
        try:
            os.close(open_cached(self.root, b"", os.O_PATH))
        except OSError:  # no such call, or not yet
            return None
        return _Prompt(self.root)

    def hide(self, device: int) -> None:
        self._hidden.add(device)

    def close(self) -> None:
        os.close(self.root)

    def _open(self, path: bytes, flags: int) -> int:
        """Into other mounts too, except the mount itself and its like: even stat(2) of that would wait for itself,
        and two mounts that mirror each other would wait for each other.
        """
        try:
            return open_beneath(self.root, path, flags, cross_mounts=False)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        probe = open_beneath(self.root, path, os.O_PATH)
        try:
            device, kind = filesystem_of_mount(mount_id(probe))
            if device in self._hidden or kind == _OWN_TYPE:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        finally:
            os.close(probe)
        return open_beneath(self.root, path, flags)


class _Prompt(BackingDirectory):
    """As far as the kernel has it in memory, and in the mount of the root alone."""

    def __init__(self, root: int) -> None:
        self.root = root

    def close(self) -> None:
        """The root is not its own."""

    def readlink(self, path: bytes) -> bytes:
        if self.entry(path).size >= _IN_INODE:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)
        return super().readlink(path)

    def _open(self, path: bytes, flags: int) -> int:
        try:
            return open_cached(self.root, path, flags)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path) from error


def _is_local(fd: int) -> bool:
    """Whether the filesystem behind `fd` is one of this machine, which answers stat(2) of what is in memory at once."""
    try:
        kind = filesystem_of_mount(mount_id(fd))[1]
        if kind in _LOCAL:
            return True
        with open("/proc/filesystems", encoding="ascii", errors="replace") as lines:
            return kind not in _SHARED and f"\t{kind}\n" in lines
    except OSError:  # of a /proc without them (proc(5), subset=pid)
        return False


def open_dir(spec: Spec) -> DirectorySource:
    """The directory at `spec.arg`. Raises SourceError where there is none that can be read."""
    from mapfs.sources.writable import WritableBackingDirectory  # it builds on this module

    what = f"directory {spec.arg!r}"
    made = WritableBackingDirectory if is_set(spec, "rw") else BackingDirectory
    try:
        directory = made(spec.arg)
    except NotADirectoryError as error:
        raise SourceError(f"{spec.arg!r} is not a directory; write file:{spec.arg}") from error
    except OSError as error:
        raise of_path(error, what) from error
    try:
        directory.names(b"")
    except OSError as error:
        directory.close()
        raise of_path(error, what) from error
    return directory
