"""A directory whose every file is wrapped when it is opened."""

import errno
import os
from collections.abc import Callable, Sequence

from mapfs.sources.base import Changes, DirectorySource, Entry, Source, WritableDirectory

Wrap = Callable[[Source], Source]


class WrappedDirectory(DirectorySource):
    """Hands everything on to `inner`; each file that it opens gets `wraps` around it, the first one innermost."""

    def __init__(self, inner: DirectorySource, wraps: Sequence[Wrap]) -> None:
        self.inner = inner
        self.slow = inner.slow
        self._wraps = wraps

    def wrapped(self, source: Source) -> Source:
        """`source`, an open file of it, with the wrappers around it."""
        for wrap in self._wraps:
            source = wrap(source)
        return source

    def open(self, path: bytes) -> Source:
        return self.wrapped(self.inner.open(path))

    def names(self, path: bytes) -> list[bytes]:
        return self.inner.names(path)

    def entry(self, path: bytes) -> Entry:
        return self.inner.entry(path)

    def listed(self, path: bytes) -> Entry:
        return self.inner.listed(path)

    def readlink(self, path: bytes) -> bytes:
        return self.inner.readlink(path)

    def prompt(self) -> DirectorySource | None:
        inner = self.inner.prompt()
        return None if inner is None else _Prompt(inner, ())

    def hide(self, device: int) -> None:
        self.inner.hide(device)

    def close(self) -> None:
        self.inner.close()


class _Prompt(WrappedDirectory):
    """Whose names are at hand; a file is opened with what is around it, which may take time."""

    def open(self, path: bytes) -> Source:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)


class WrappedWritableDirectory(WrappedDirectory, WritableDirectory):
    """The same around a directory in which names can be made and removed."""

    def __init__(self, inner: WritableDirectory, wraps: Sequence[Wrap]) -> None:
        super().__init__(inner, wraps)
        self.writable = inner

    def create(self, path: bytes, mode: int, owner: tuple[int, int]) -> Source:
        return self.wrapped(self.writable.create(path, mode, owner))

    def make(self, path: bytes, mode: int, rdev: int, owner: tuple[int, int]) -> None:
        self.writable.make(path, mode, rdev, owner)

    def symlink(self, path: bytes, target: bytes, owner: tuple[int, int]) -> None:
        self.writable.symlink(path, target, owner)

    def link(self, path: bytes, new: bytes) -> None:
        self.writable.link(path, new)

    def unlink(self, path: bytes) -> None:
        self.writable.unlink(path)

    def rmdir(self, path: bytes) -> None:
        self.writable.rmdir(path)

    def rename(self, path: bytes, new: bytes, flags: int) -> None:
        self.writable.rename(path, new, flags)

    def change(self, path: bytes, changes: Changes) -> None:
        self.writable.change(path, changes)

    def statvfs(self) -> os.statvfs_result:
        return self.writable.statvfs()

    def sync(self, path: bytes) -> None:
        self.writable.sync(path)


def wrapped_directory(inner: DirectorySource, wraps: Sequence[Wrap]) -> DirectorySource:
    """`inner` itself where nothing is to be put around its files."""
    if not wraps:
        return inner
    if isinstance(inner, WritableDirectory):
        return WrappedWritableDirectory(inner, wraps)
    return WrappedDirectory(inner, wraps)
