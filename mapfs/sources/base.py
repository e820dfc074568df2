"""The contract of a source: all that somebody who writes one has to read.

A *source* is where one file's bytes come from. It has a `size` and answers `read(offset, size)` with
exactly that many bytes, or raises. A *directory source* is a whole directory of them, looked up by path.

Sources are synchronous and are called from several threads at once, and know nothing of FUSE, mounts or
traces. mapfs checks the bounds before it calls, clamps nothing afterwards, and turns whatever a source
raises into the error that the waiting client gets: a SIGBUS for a mapping, an errno for read(2).
"""

import errno
import os
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass, field

from mapfs.errors import SourceError

#: What a read gives back: anything contiguous whose length is its number of bytes.
Buffer = bytes | bytearray | memoryview

#: What has no times of its own is as old as this process. It must not be the time of the call: the kernel takes
#: another mtime for another content, and drops all pages of the file.
_STARTED = time.time_ns()


class Source(ABC):
    """Where one file's bytes come from. `size` and `read` are all that a source must have."""

    #: A descriptor that the kernel may read in the source's stead, where there is one.
    backing_fd: int | None = None
    #: Whether `write`, `resize` and `allocate` may be called.
    writable: bool = False
    #: Whether `try_fill` spares a copy, and is to be called in the stead of `try_read`.
    fills: bool = False
    #: Whether `version()` tells of every change, so that nobody need compare the content.
    versioned: bool = False
    #: Bytes between two reads that are better read along than skipped: about what comes in the time of one more
    #: request to a server. 0: only what is next to each other is read at once.
    gap: int = 0

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

    def try_fill(self, offset: int, into: memoryview) -> bool:
        """Puts the same bytes, as many as `into` has, there, if they can be had without waiting. False: they cannot be
        had so, and what `into` holds is nothing; `read` then gets them, or says why they cannot be had at all.
        """
        data = self.try_read(offset, len(into))
        if data is None or len(data) != len(into):
            return False
        into[:] = data
        return True

    def hold(self, offset: int, size: int) -> float:
        """Seconds that `read(offset, size)` is to be put off, for what is slow on purpose.

        Asked once before a read that `try_read` did not answer. The wait is the caller's and takes no thread,
        so that any number of requests may be put off at once, and all of them end with the mount.
        """
        return 0.0

    def version(self) -> Hashable:
        """A value that changes when the content does; None means that it never does. Must not wait."""
        return None

    @property
    def refreshes(self) -> bool:
        """Whether `refresh` does anything."""
        return type(self).refresh is not Source.refresh

    def refresh(self) -> None:
        """Looks at the backing again, where that takes time (a server): `size` and `version()` then tell what it
        found. Called on a thread that may wait, when a file is opened or at each interval of `coherency=live`.
        """

    def entry(self) -> "Entry":
        """What stat(2) shall say of a file of this source. Must not wait."""
        return Entry(size=self.size, mode=stat.S_IFREG | (0o644 if self.writable else 0o444))

    def make_writable(self) -> None:
        """Called before the first write of a file of a `WritableDirectory`, which opens files for reading.
        Raises OSError where it may not be written.
        """
        if not self.writable:
            raise SourceError("it is read-only", errno.EROFS)

    def write(self, offset: int, data: Buffer) -> None:
        """Stores all of `data` at `offset`, which may lie at or past the end: what is between is zeroes then."""
        raise SourceError("it is read-only", errno.EROFS)

    def resize(self, size: int) -> None:
        """Cuts the content off at `size`, or continues it with zeroes (ftruncate(2))."""
        raise SourceError("its size cannot be changed", errno.EROFS)

    def flush(self) -> None:
        """Makes what was written durable (fsync(2)); raises where it is not. Nothing to do for most."""

    def allocate(self, mode: int, offset: int, size: int) -> None:
        """fallocate(2) with its modes: reserves, punches holes, zeroes."""
        raise SourceError("it has no storage to allocate", errno.EOPNOTSUPP)

    def seek(self, offset: int, whence: int) -> int:
        """Where the next data (SEEK_DATA) or hole (SEEK_HOLE) is, from `offset` on, as lseek(2) has it."""
        if not 0 <= offset < self.size:
            raise SourceError("there is nothing at or past the end", errno.ENXIO)
        return offset if whence == os.SEEK_DATA else self.size

    def change(self, changes: "Changes") -> None:
        """Changes mode, owner or times, where the backing has them."""
        raise SourceError("its attributes cannot be changed", errno.EPERM)

    def close(self) -> None:
        """Gives back what the source holds. Called once, when no read is running."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What chmod(2), chown(2) and utimensat(2) ask for; None leaves as it is. Times in ns."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


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

    @property
    def version(self) -> Hashable:
        """What a file on disk has for a version of its content."""
        return self.mtime_ns, self.size

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

    #: Whether its calls take long (a server is asked): then they come from threads that may wait, several at once.
    slow: bool = False

    @abstractmethod
    def names(self, path: bytes) -> list[bytes]:
        """The names in the directory at `path`, without `.` and `..`."""

    @abstractmethod
    def entry(self, path: bytes) -> Entry:
        """What lstat(2) shall say of `path`."""

    @abstractmethod
    def open(self, path: bytes) -> Source:
        """The bytes of the regular file at `path`."""

    def listed(self, path: bytes) -> Entry:
        """`entry` of the directory at `path`, whose names may be asked for: else PermissionError."""
        return self.entry(path)

    def readlink(self, path: bytes) -> bytes:
        """Where the symbolic link at `path` points."""
        raise FileNotFoundError(path)

    def prompt(self) -> "DirectorySource | None":
        """The same directory as one that never waits: its calls raise BlockingIOError where they would have to. None
        where they always would. It is closed with this one, and asked for no names.
        """
        return None

    def hide(self, device: int) -> None:
        """Shows nothing of the filesystem with this st_dev: the mount itself, which would wait for itself."""

    def close(self) -> None:
        """Gives back what the directory holds."""


class WritableDirectory(DirectorySource):
    """A directory source in which names can be made, moved and removed. Each call raises the OSError that fits.

    Where the daemon is root, `owner` is whom the new file shall belong to: uid and gid.
    """

    @abstractmethod
    def create(self, path: bytes, mode: int, owner: tuple[int, int]) -> Source:
        """A new empty regular file, open for reading and writing. FileExistsError where the name is taken."""

    @abstractmethod
    def make(self, path: bytes, mode: int, rdev: int, owner: tuple[int, int]) -> None:
        """mkdir(2) where `mode` says S_IFDIR, else mknod(2): a regular file, FIFO or socket."""

    @abstractmethod
    def symlink(self, path: bytes, target: bytes, owner: tuple[int, int]) -> None:
        """A symbolic link at `path`; `target` is any text."""

    @abstractmethod
    def link(self, path: bytes, new: bytes) -> None:
        """One more name for the file at `path` (link(2))."""

    @abstractmethod
    def unlink(self, path: bytes) -> None:
        """Removes a name that is no directory's."""

    @abstractmethod
    def rmdir(self, path: bytes) -> None:
        """Removes an empty directory."""

    @abstractmethod
    def rename(self, path: bytes, new: bytes, flags: int) -> None:
        """renameat2(2) with its flags."""

    @abstractmethod
    def change(self, path: bytes, changes: Changes) -> None:
        """Mode, owner or times of what is at `path`, a symbolic link itself."""

    @abstractmethod
    def statvfs(self) -> os.statvfs_result:
        """What statvfs(3) says of the filesystem."""

    def sync(self, path: bytes) -> None:
        """fsync(2) of the directory at `path`."""
