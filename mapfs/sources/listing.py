"""A remote directory: what is listed once is believed for some seconds, since `entry` is asked for each name.

A kind of server says in three methods how a directory is listed, how one file is looked at where the listing does
not tell its size, and how a file is opened.
"""

import errno
import os
import stat
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from mapfs.errors import SourceError
from mapfs.sources.base import DirectorySource, Entry, Source

T = TypeVar("T")

FRESH = 5.0  # seconds
_MOST = 10_000  # answers kept
DIRECTORY = Entry(stat.S_IFDIR | 0o555, nlink=2)


class _Kept(Generic[T]):
    """Answers by path, for FRESH seconds."""

    def __init__(self) -> None:
        self._answers: dict[bytes, tuple[float, T]] = {}
        self._lock = threading.Lock()

    def get(self, path: bytes, ask: Callable[[bytes], T]) -> T:
        """The answer for `path`, by asking where there is none. Nothing is locked meanwhile."""
        kept = self._answers.get(path)
        if kept is not None and time.monotonic() - kept[0] < FRESH:
            return kept[1]
        answer = ask(path)
        with self._lock:
            if len(self._answers) >= _MOST:
                self._answers.clear()
            self._answers[path] = (time.monotonic(), answer)
        return answer


class RemoteDirectory(DirectorySource):
    """A directory on a server, read-only. Its methods wait for the network."""

    slow = True

    def __init__(self) -> None:
        self._listings = _Kept[Mapping[bytes, Entry | None]]()
        self._entries = _Kept[Entry]()

    @abstractmethod
    def listing(self, path: bytes) -> Mapping[bytes, Entry | None]:
        """The names in the directory at `path`; None where only `look` knows the rest. Raises SourceError."""

    @abstractmethod
    def look(self, path: bytes) -> Entry:
        """What there is to say of the file at `path`. Raises SourceError."""

    @abstractmethod
    def fetch(self, path: bytes) -> Source:
        """The file at `path`, opened. Raises SourceError."""

    def check(self) -> None:
        """Lists the root, to be called when it is opened. Raises SourceError."""
        self._listings.get(b"", self.listing)

    def names(self, path: bytes) -> list[bytes]:
        entry = self._listed(path)
        if entry is None or not stat.S_ISDIR(entry.mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        listed = self._asked(self._listings, path, self.listing)
        return list(listed)

    def entry(self, path: bytes) -> Entry:
        entry = self._listed(path)
        return self._asked(self._entries, path, self.look) if entry is None else entry

    def open(self, path: bytes) -> Source:
        listed = self._listed(path)
        if listed is not None and stat.S_ISDIR(listed.mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        try:
            return self.fetch(path)
        except SourceError as error:
            raise OSError(error.errno, str(error), path) from error

    def _listed(self, path: bytes) -> Entry | None:
        """By what its parents list: no path leads to what they do not. Raises FileNotFoundError."""
        if not path:
            return DIRECTORY
        above, _, name = path.rpartition(b"/")
        parent = self._listed(above)
        if parent is not None and stat.S_ISDIR(parent.mode):
            listed = self._asked(self._listings, above, self.listing)
            if name in listed:
                return listed[name]
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    @staticmethod
    def _asked(kept: _Kept[T], path: bytes, ask: Callable[[bytes], T]) -> T:
        try:
            return kept.get(path, ask)
        except SourceError as error:
            raise OSError(error.errno, str(error), path) from error


def is_name(name: bytes) -> bool:
    """Whether a directory can have it."""
    return 0 < len(name) <= 255 and name not in (b".", b"..") and b"/" not in name and b"\0" not in name
