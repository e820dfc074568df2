"""`cow`, `cow=DIR`: copy on write. What is written stays in an overlay: an unnamed file in TMPDIR, or in DIR.

The overlay has whole pages, at the offsets that they have in the file; a page that is written in part is copied from
the source inside first. Nothing of the overlay outlives the process, so `flush` has nothing to do; `commit` writes it
into the source inside, `discard` forgets it. With the first change the size becomes the overlay's own: what the source
inside grows by later is not seen, but what changes in a page that was not written is.

Writers take turns. Readers wait for nobody: they note which pages are whose, read, and read again if pages were taken
out of the overlay meanwhile.
"""

import errno
import stat
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import replace

from mapfs.errors import SourceError, errno_of, reason_of
from mapfs.sources.backing import DescriptorSource, fallocate
from mapfs.sources.base import Buffer, Changes, Entry, Source
from mapfs.sources.wrap.base import Wrapper
from mapfs.sources.wrap.pieces import INNER, OVERLAY, Piece, pieces, seek
from mapfs.sources.wrap.spans import Spans
from mapfs.sources.wrap.storage import unnamed_file
from mapfs.units import PAGE_SIZE, page_count

_KEEP_SIZE, _PUNCH_HOLE, _ZERO_RANGE = 0x01, 0x02, 0x10  # fallocate(2)
_CHUNK = 1 << 20


class CopyOnWrite(Wrapper):
    """`inner`, with what was written in `overlay`, an empty file that this takes over."""

    def __init__(self, inner: Source, overlay: DescriptorSource) -> None:
        super().__init__(inner)
        self.backing_fd = None
        self.writable = True
        self.versioned = inner.versioned or inner.version() is None
        self._overlay = overlay
        self._writing = threading.Lock()  # held while the overlay is changed, which may take long
        self._lock = threading.Lock()  # held for a moment, for all below
        self._pages = Spans()  # those in the overlay; in it, what lies past the end is zeroes
        self._size: int | None = None  # None: nothing was changed, everything is the inner source's
        self._visible = 0  # bytes from which on nothing is the inner source's
        self._taken = 0  # how often pages were taken out of the overlay
        self._changes = 0
        self._attributes: dict[str, int] = {}  # what stat(2) says otherwise than of the inner source

    @property
    def size(self) -> int:
        size = self._size
        return self.inner.size if size is None else size

    @property
    def dirty(self) -> int:
        """Bytes in the overlay, whole pages."""
        return self._pages.count * PAGE_SIZE

    def version(self) -> Hashable:
        return self.inner.version(), self._changes

    def entry(self) -> Entry:
        inner = self.inner.entry()
        mode = inner.mode | (stat.S_IMODE(inner.mode) & 0o444) >> 1  # who may read it may write the overlay
        with self._lock:
            own = {"mode": mode, **self._attributes}
        return replace(inner, size=self.size, blocks=None, identity=None, **own)

    def read(self, offset: int, size: int) -> Buffer:
        data = self._gather(offset, size, self._read)
        assert data is not None, "a read gives bytes or raises"
        return data

    def try_read(self, offset: int, size: int) -> Buffer | None:
        return self._gather(offset, size, self._try_read)

    def hold(self, offset: int, size: int) -> float:
        """The longest that the source inside asks for, of the pieces that are its own."""
        try:
            found = self._pieces(offset, size)[1]
        except SourceError:
            return 0.0  # it shrank: the read says so
        return max((self.inner.hold(one.offset, one.size) for one in found if one.of == INNER), default=0.0)

    def write(self, offset: int, data: Buffer) -> None:
        with self._writing:
            if len(data):
                size = self._begin()
                self._put(offset, data)
                self._changed(max(size, offset + len(data)))

    def resize(self, size: int) -> None:
        with self._writing:
            if size == self.size:
                return
            before = self._begin()
            if size < before:
                with self._lock:
                    self._taken += 1
                    self._visible = min(self._visible, size)
                    self._pages.remove(page_count(size), page_count(before))
                    self._size = size
                if self._overlay.size > size:  # zeroes behind the new end, in its page too
                    self._overlay.resize(size)
                    self._overlay.resize(page_count(size) * PAGE_SIZE)
            self._changed(size)

    def allocate(self, mode: int, offset: int, size: int) -> None:
        """Punches holes and zeroes; reserves nothing."""
        if mode & ~_KEEP_SIZE not in (_PUNCH_HOLE, _ZERO_RANGE):
            raise SourceError("cow= reserves no space; write into it", errno.EOPNOTSUPP)
        with self._writing:
            before = self._begin()
            self._zero(offset, min(before, offset + size))
            self._changed(before if mode & _KEEP_SIZE else max(before, offset + size))

    def seek(self, offset: int, whence: int) -> int:
        size = self.size
        if not 0 <= offset < size:
            raise SourceError("there is nothing at or past the end", errno.ENXIO)
        return seek(self._pieces(offset, size - offset)[1], size, whence, self.inner, self._overlay)

    def flush(self) -> None:
        """Nothing: the overlay ends with the process, whatever is made durable."""

    def change(self, changes: Changes) -> None:
        with self._lock:
            for name in ("uid", "gid", "atime_ns", "mtime_ns"):
                value = getattr(changes, name)
                if value is not None:
                    self._attributes[name] = value
            if changes.mode is not None:
                self._attributes["mode"] = stat.S_IFREG | stat.S_IMODE(changes.mode)
            self._attributes["ctime_ns"] = time.time_ns()

    def commit(self) -> None:
        """Writes the overlay into the source inside and makes that durable; the overlay is empty then.

        Raises SourceError (EROFS) where the source inside is read-only, or whatever a write of it raises: the overlay
        keeps everything then, and it can be tried again.
        """
        with self._writing:
            if self._size is None:
                return
            if not self.inner.writable:
                raise SourceError("the source inside cow= is read-only; open it with rw to commit to it", errno.EROFS)
            if self._visible < self.inner.size:
                self.inner.resize(self._visible)
            for start, stop in self._pages:
                end = min(stop * PAGE_SIZE, self._size)
                for offset in range(start * PAGE_SIZE, end, _CHUNK):
                    self.inner.write(offset, self._overlay.read(offset, min(_CHUNK, end - offset)))
            if self.inner.size != self._size:
                self.inner.resize(self._size)
            self.inner.flush()
            self._empty()

    def discard(self) -> None:
        """Forgets what was written, and new attributes too."""
        with self._writing:
            if self._size is None and not self._attributes:
                return
            with self._lock:
                self._attributes.clear()
            self._empty()

    def close(self) -> None:
        try:
            self._overlay.close()
        finally:
            self.inner.close()

    def _pieces(self, offset: int, size: int) -> tuple[int, list[Piece]]:
        """Where `size` bytes at `offset` are, and the state of `_taken` in which that holds."""
        with self._lock:
            if self._size is None:
                return self._taken, [Piece(INNER, offset, size)]
            if offset + size > self._size:
                raise SourceError(
                    f"the copy has no bytes at {max(offset, self._size)}: it shrank, or is shorter than its size says"
                )
            return self._taken, pieces(self._pages, offset, size, self._visible)

    def _gather(self, offset: int, size: int, read: Callable[[Piece], Buffer | None]) -> Buffer | None:
        while True:
            taken, found = self._pieces(offset, size)
            data = []
            try:
                for piece in found:
                    part = read(piece)
                    if part is None:
                        return None
                    data.append(part)
            except (SourceError, OSError):
                if taken == self._taken:
                    raise
            if taken == self._taken:
                return data[0] if len(data) == 1 else b"".join(data)

    def _read(self, piece: Piece) -> Buffer:
        if piece.of == INNER:
            return self.inner.read(piece.offset, piece.size)
        return self._overlay.read(piece.offset, piece.size) if piece.of == OVERLAY else bytes(piece.size)

    def _try_read(self, piece: Piece) -> Buffer | None:
        if piece.of == INNER:
            return self.inner.try_read(piece.offset, piece.size)
        return self._overlay.try_read(piece.offset, piece.size) if piece.of == OVERLAY else bytes(piece.size)

    def _begin(self) -> int:
        """The size; from here on it is the overlay's own."""
        with self._lock:
            if self._size is None:
                self._size = self._visible = self.inner.size
            return self._size

    def _changed(self, size: int) -> None:
        with self._lock:
            self._size = size
            self._touch()

    def _touch(self) -> None:
        """Another version, with an mtime that none before had."""
        self._changes += 1
        now = max(time.time_ns(), self._attributes.get("mtime_ns", 0) + 1)
        self._attributes["mtime_ns"] = self._attributes["ctime_ns"] = now

    def _empty(self) -> None:
        with self._lock:
            self._taken += 1
            self._pages.clear()
            self._size = None
            self._touch()
        self._overlay.resize(0)

    def _put(self, offset: int, data: Buffer) -> None:
        """Stores `data` in the overlay, and what is missing of the first and the last page. Nothing of it is seen
        before all is there, but for pages that were in the overlay already.
        """
        end = offset + len(data)
        first, last = offset // PAGE_SIZE, (end - 1) // PAGE_SIZE
        start, stop = first * PAGE_SIZE, (last + 1) * PAGE_SIZE
        if first not in self._pages:
            self._store(start, self._under(start, offset - start))
        if last not in self._pages:
            self._store(end, self._under(end, stop - end))
        self._store(offset, data)
        with self._lock:
            self._pages.add(first, last + 1)

    def _store(self, offset: int, data: Buffer) -> None:
        try:
            self._overlay.write(offset, data)
        except OSError as error:
            raise SourceError(
                f"cow= cannot keep what was written: {reason_of(error)}; name a place with more room by cow=DIR",
                errno_of(error),
            ) from error

    def _under(self, offset: int, size: int) -> bytes:
        """What lies there where the overlay has nothing."""
        held = max(0, min(size, self._visible - offset))
        return (bytes(self.inner.read(offset, held)) if held else b"") + bytes(size - held)

    def _zero(self, start: int, end: int) -> None:
        """Makes the bytes from `start` up to `end` zeroes: a hole in the overlay, but for parts of pages."""
        first, last = page_count(start), end // PAGE_SIZE
        for one, other in (
            (start, min(end, first * PAGE_SIZE)),
            (max(start, first * PAGE_SIZE, last * PAGE_SIZE), end),
        ):
            if one < other:
                self._put(one, bytes(other - one))
        if first >= last:
            return
        held = max(first, min(last, page_count(self._visible)))  # from there on, no page shows the inner source
        if self._overlay.size > first * PAGE_SIZE:
            fallocate(self._overlay.fd, _PUNCH_HOLE | _KEEP_SIZE, first * PAGE_SIZE, (last - first) * PAGE_SIZE)
        if self._overlay.size < held * PAGE_SIZE:
            self._overlay.resize(held * PAGE_SIZE)
        with self._lock:
            self._pages.add(first, held)
            self._pages.remove(held, last)


def make_cow(value: str | None) -> Callable[[Source], Source]:
    """What it returns raises SourceError where no file can be made in the directory."""
    return lambda inner: CopyOnWrite(inner, unnamed_file("cow", value or None))
