"""The contract of a source: all that somebody who writes one has to read.

A *source* is where one file's bytes come from. It has a `size` and answers `read(offset, size)` with
exactly that many bytes, or raises. A *directory source* is a whole directory of them, looked up by path.

Sources are synchronous and are called from several threads at once, and know nothing of FUSE, mounts or
traces. mapfs checks the bounds before it calls, clamps nothing afterwards, and turns whatever a source
raises into the error that the waiting client gets: a SIGBUS for a mapping, an errno for read(2).
"""

import os
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass, field

#: What a read gives back: anything contiguous whose length is its number of bytes.
Buffer = bytes | bytearray | memoryview

#: What has no times of its own is as old as this process. It must not be the time of the call: the kernel takes
#: another mtime for another content, and drops all pages of the file.
_STARTED = time.time_ns()


class Source(ABC):
    """Where one file's bytes come from."""

    #: A descriptor that the kernel may read in the source's stead, where there is one.
    backing_fd: int | None = None

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes, now. It may change; `version()` changes with it."""

    @abstractmethod
    def read(self, offset: int, size: int) -> Buffer:
        """Exactly `size` bytes from `offset`; may take its time. `0 <= offset`, `offset + size <= self.size`
        at the time the client learned of the size. Raises SourceError (or anything) where it cannot."""

    def try_read(self, offset: int, size: int) -> Buffer | None:
        """The same bytes if they can be had without waiting for anything, else None.

        A source in memory returns `self.read(offset, size)` here. What returns None is read on a thread
        that may wait, so that it never delays the demands of other files.
        """
        return None

    def version(self) -> Hashable:
        """A value that changes when the content does; None means that it never does."""
        return None

    def entry(self) -> "Entry":
        """What stat(2) shall say of a file of this source."""
        return Entry(size=self.size)

    def close(self) -> None:
        """Gives back what the source holds. Called once, when no read is running."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What stat(2) says of a file, of a directory or of a symbolic link. Sizes in bytes, times in ns."""

    mode: int = stat.S_IFREG | 0o444
    size: int = 0
    nlink: int = 1
    uid: int = field(default_factory=os.getuid)
    gid: int = field(default_factory=os.getgid)
    atime_ns: int = _STARTED
    mtime_ns: int = _STARTED
    ctime_ns: int = _STARTED
    rdev: int = 0
    #: Of 512 bytes; None: as many as the size takes.
    blocks: int | None = None
    #: Equal for two names of the same file (hard links), None where the source cannot tell.
    identity: Hashable = None

    @classmethod
    def of_stat(cls, status: os.stat_result) -> "Entry":
        """The entry that fstat(2) describes."""
        return cls(
            mode=status.st_mode,
            size=status.st_size,
            nlink=status.st_nlink,
            uid=status.st_uid,
            gid=status.st_gid,
            atime_ns=status.st_atime_ns,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
            rdev=status.st_rdev,
            blocks=status.st_blocks,
            identity=(status.st_dev, status.st_ino),
        )


class DirectorySource(ABC):
    """A directory whose entries are sources, links and further directories.

    A path is bytes, relative, its parts joined by `/`, without `.` or `..`; `b""` is the directory
    itself. Missing entries raise FileNotFoundError, others the OSError that fits.
    """

    @abstractmethod
    def names(self, path: bytes) -> list[bytes]:
        """The names in the directory at `path`, without `.` and `..`."""

    @abstractmethod
    def entry(self, path: bytes) -> Entry:
        """What lstat(2) shall say of `path`."""

    @abstractmethod
    def open(self, path: bytes) -> Source:
        """The bytes of the regular file at `path`."""

    def readlink(self, path: bytes) -> bytes:
        """Where the symbolic link at `path` points."""
        raise FileNotFoundError(path)

    def hide(self, device: int) -> None:
        """Shows nothing of the filesystem with this st_dev: the mount itself, which would wait for itself."""

    def close(self) -> None:
        """Gives back what the directory holds."""
