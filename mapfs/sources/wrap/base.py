"""A wrapper hands everything on to the source inside it, and changes what it is there to change."""

from collections.abc import Hashable

from mapfs.sources.base import Buffer, Changes, Entry, Source


class Wrapper(Source):
    """A source around `inner`, whose life it takes over.

    A wrapper that changes what is read must give no `backing_fd`, and answer `try_read` likewise.
    """

    def __init__(self, inner: Source) -> None:
        self.inner = inner
        self.backing_fd = inner.backing_fd
        self.writable = inner.writable
        self.versioned = inner.versioned
        self.gap = inner.gap

    @property
    def size(self) -> int:
        return self.inner.size

    def read(self, offset: int, size: int) -> Buffer:
        return self.inner.read(offset, size)

    def try_read(self, offset: int, size: int) -> Buffer | None:
        return self.inner.try_read(offset, size)

    def hold(self, offset: int, size: int) -> float:
        return self.inner.hold(offset, size)

    def version(self) -> Hashable:
        return self.inner.version()

    @property
    def refreshes(self) -> bool:
        return self.inner.refreshes

    def refresh(self) -> None:
        self.inner.refresh()

    def entry(self) -> Entry:
        return self.inner.entry()

    def make_writable(self) -> None:
        self.inner.make_writable()
        self.writable = self.inner.writable

    def write(self, offset: int, data: Buffer) -> None:
        self.inner.write(offset, data)

    def resize(self, size: int) -> None:
        self.inner.resize(size)

    def flush(self) -> None:
        self.inner.flush()

    def allocate(self, mode: int, offset: int, size: int) -> None:
        self.inner.allocate(mode, offset, size)

    def seek(self, offset: int, whence: int) -> int:
        return self.inner.seek(offset, whence)

    def change(self, changes: Changes) -> None:
        self.inner.change(changes)

    def close(self) -> None:
        self.inner.close()
