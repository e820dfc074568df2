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
from mapfs.sources.openat2 import filesystem_of_mount, mount_id, open_beneath
from mapfs.sources.spec import Spec, is_set

_OWN_TYPE = "fuse.mapfs"


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
