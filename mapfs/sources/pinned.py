"""A source that is pinned to one version of a remote object: what HTTP, S3 and fsspec share.

Opening looks at the object; `refresh` looks again and adopts what it finds. Each read is of the version that was
pinned when it began.
"""

import time
from abc import abstractmethod
from collections.abc import Hashable
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from mapfs.errors import SourceError
from mapfs.sources.base import Buffer, Entry, Source


class Version(Hashable, Protocol):
    """What tells one content of an object from another."""

    @property
    def size(self) -> int:
        """Bytes."""

    def entry(self) -> Entry:
        """What stat(2) shall say of a file of this content."""


V = TypeVar("V", bound=Version)


class PinnedSource(Source, Generic[V]):
    """The object that `what` names in errors. Raises SourceError where it cannot be looked at."""

    versioned = True
    gap = 256 << 10  # at 20 ms a request and 100 Mbit/s

    def __init__(self, what: str) -> None:
        self.what = what
        self._pinned = self.look()
        self._entry = self._pinned.entry()

    @abstractmethod
    def look(self) -> V:
        """The version that the object has now. Raises SourceError."""

    @abstractmethod
    def fetch(self, pinned: V, offset: int, size: int) -> Buffer:
        """`size` bytes, more than none, of the version `pinned`. Raises SourceError."""

    @property
    def size(self) -> int:
        return self._pinned.size

    def version(self) -> Hashable:
        return self._pinned

    def entry(self) -> Entry:
        return self._entry

    def read(self, offset: int, size: int) -> Buffer:
        pinned = self._pinned
        if not size:
            return b""
        if offset + size > pinned.size:
            at = max(offset, pinned.size)
            raise SourceError(f"{self.what} has no bytes at {at}: it shrank, or is shorter than its size says")
        return self.fetch(pinned, offset, size)

    def refresh(self) -> None:
        found = self.look()
        if found == self._pinned:
            return
        entry = found.entry()
        if entry.mtime_ns == self._entry.mtime_ns:  # it changed within a second, or has no time
            now = time.time_ns()
            entry = replace(entry, mtime_ns=now, ctime_ns=now)
        self._pinned, self._entry = found, entry


def entry_of(size: int, mtime_ns: int | None) -> Entry:
    """The entry of a remote file; one that has no time is as old as this process."""
    if mtime_ns is None:
        return Entry(size=size)
    return Entry(size=size, atime_ns=mtime_ns, mtime_ns=mtime_ns, ctime_ns=mtime_ns)
