"""A source made of others: what `concat:` and `sparse:` share, from the text `SPEC|SPEC` to the bytes.

Where each part lies is settled when it is opened, with the size that the part has then; a part that shrinks has
errors at its end, and what it grows by is not seen. Between parts there may be gaps, which are zeroes.
"""

import contextlib
import errno
import os
import re
from bisect import bisect_right
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace

from mapfs.errors import SourceError, SpecError, errno_of, of_path
from mapfs.sources import catalogue
from mapfs.sources.ahead import OPTIONS as AHEAD_OPTIONS
from mapfs.sources.base import Buffer, DirectorySource, Entry, Source
from mapfs.sources.coherency import OPTIONS as COHERENCY_OPTIONS
from mapfs.sources.spec import Spec
from mapfs.sources.warm import OPTIONS as WARM_OPTIONS

_PART = re.compile(r"((?:[^|]|\|\|)*)(?:\||\Z)", re.DOTALL)


def split(text: str) -> list[str]:
    """`text` at its single bars, the doubled ones undone. Pairs are taken from the left."""
    parts, at = [], 0
    while True:
        match = _PART.match(text, at)
        assert match is not None, "the pattern matches the empty string"
        parts.append(match[1].replace("||", "|"))
        at = match.end()
        if at == len(text) and len(match[0]) == len(match[1]):
            return parts


@dataclass(frozen=True, slots=True)
class Piece:
    """The first `size` bytes of `source`, or `size` zeroes, at `start` of the whole."""

    start: int
    size: int
    source: Source | None
    what: str = "a gap"


class PartsSource(Source):
    """Pieces, each of which begins where the last one ends; it takes over the life of their sources."""

    def __init__(self, pieces: list[Piece]) -> None:
        self._pieces = [piece for piece in pieces if piece.size]
        self._starts = [piece.start for piece in self._pieces]
        self._size = sum(piece.size for piece in self._pieces)
        self._sources = [piece.source for piece in pieces if piece.source is not None]
        self.writable = any(source.writable for source in self._sources)
        self.gap = max((source.gap for source in self._sources), default=0)
        self.versioned = all(source.versioned or source.version() is None for source in self._sources)

    @property
    def size(self) -> int:
        return self._size

    def _touched(self, offset: int, size: int) -> Iterator[tuple[Piece, int, int]]:
        """Each piece in the range: the offset in it, and how much of it."""
        number = bisect_right(self._starts, offset) - 1
        while size:
            piece = self._pieces[number]
            skip = offset - piece.start
            part = min(size, piece.size - skip)
            yield piece, skip, part
            number, offset, size = number + 1, offset + part, size - part

    def read(self, offset: int, size: int) -> Buffer:
        pieces = [_read(*touched) for touched in self._touched(offset, size)]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def try_read(self, offset: int, size: int) -> Buffer | None:
        pieces: list[Buffer] = []
        for piece, skip, part in self._touched(offset, size):
            data = bytes(part) if piece.source is None else piece.source.try_read(skip, part)
            if data is None or len(data) != part:
                return None  # `read` says what is wrong with it
            pieces.append(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def hold(self, offset: int, size: int) -> float:
        held = (piece.source.hold(skip, part) for piece, skip, part in self._touched(offset, size) if piece.source)
        return max(held, default=0.0)

    def version(self) -> Hashable:
        versions = tuple(source.version() for source in self._sources)
        return versions if any(version is not None for version in versions) else None

    def refresh(self) -> None:
        self._each("refresh")

    def flush(self) -> None:
        self._each("flush")

    def close(self) -> None:
        self._each("close")

    def _each(self, method: str) -> None:
        """Calls all of them, whichever fails; then raises what the first one raised."""
        with contextlib.ExitStack() as stack:
            for source in self._sources:  # the last one that is pushed is called first
                stack.callback(getattr(source, method))

    def entry(self) -> Entry:
        """As old as the latest of the parts that can change; what never does has no times to tell of."""
        blocks, times = 0, []
        for source in self._sources:
            entry = source.entry()
            blocks += -(-entry.size // 512) if entry.blocks is None else entry.blocks
            if source.version() is not None:
                times.append((entry.atime_ns, entry.mtime_ns, entry.ctime_ns))
        whole = replace(super().entry(), blocks=blocks)
        if not times:
            return whole
        atime, mtime, ctime = (max(column) for column in zip(*times, strict=True))
        return replace(whole, atime_ns=atime, mtime_ns=mtime, ctime_ns=ctime)

    def write(self, offset: int, data: Buffer) -> None:
        """What cannot be written may be covered, as long as it is left as it is: the kernel writes whole pages.

        Raises SourceError, and writes nothing, where it would change.
        """
        if offset + len(data) > self._size:
            raise SourceError(f"its parts end at {self._size}, and nothing can be written past them", errno.ENOSPC)
        view, stores = memoryview(data).cast("B"), []
        for piece, skip, part in self._touched(offset, len(data)):
            piece_of_data, view = view[:part], view[part:]
            if piece.source is not None and piece.source.writable:
                stores.append((piece.source, skip, piece_of_data))
            elif piece_of_data != _read(piece, skip, part):
                raise SourceError(f"{piece.what} at {piece.start} is read-only; add rw to its part", errno.EROFS)
        for source, skip, piece_of_data in stores:
            source.write(skip, piece_of_data)

    def resize(self, size: int) -> None:
        if size != self._size:
            raise SourceError("its size is that of its parts, and cannot be changed", errno.EROFS)

    def seek(self, offset: int, whence: int) -> int:
        if not 0 <= offset < self._size:
            return super().seek(offset, whence)
        for piece, skip, part in self._touched(offset, self._size - offset):
            found = _seek(piece, skip, whence)
            if found < skip + part:
                return piece.start + found
        if whence == os.SEEK_HOLE:
            return self._size
        raise SourceError("there is no data from there on", errno.ENXIO)


def _read(piece: Piece, offset: int, size: int) -> Buffer:
    if piece.source is None:
        return bytes(size)
    data = piece.source.read(offset, size)
    if len(data) != size:
        raise SourceError(
            f"{piece.what} has no bytes at {offset + len(data)}: it shrank, or is shorter than its size says"
        )
    return data


def _seek(piece: Piece, offset: int, whence: int) -> int:
    """Where in the piece; its size, or more, where there is none."""
    if piece.source is None:
        return offset if whence == os.SEEK_HOLE else piece.size
    try:
        return piece.source.seek(offset, whence)
    except (OSError, SourceError) as error:
        if errno_of(error) != errno.ENXIO:
            raise
        return piece.size  # nothing but a hole up to its end, or it shrank


@dataclass(frozen=True, slots=True)
class Part:
    """A part as it is written: `text` is its spec, `number` counts from 1."""

    kind: str
    number: int
    text: str

    def parsed(self) -> Spec:
        """Raises SpecError where the part is no spec of a kind."""
        try:
            spec = catalogue.parse(self.text)
        except SpecError as error:
            raise SpecError(f"{self.kind}: part {self.number}: {error}") from error
        options = sorted((COHERENCY_OPTIONS | AHEAD_OPTIONS | WARM_OPTIONS) & set(spec.options))
        if options:
            raise SpecError(f"{self.kind}: part {self.number}: {options[0]}= goes behind the whole, not behind a part")
        return spec

    def opened(self, stack: contextlib.ExitStack) -> Source:
        """The source, closed with `stack`. Raises SourceError for a directory too."""
        spec = self.parsed()
        try:
            source = catalogue.open_spec(spec)
        except SpecError as error:
            raise SpecError(f"{self.kind}: part {self.number}: {error}") from error
        except SourceError as error:
            raise SourceError(f"{self.kind}: part {self.number}: {error}", error.errno) from error
        except OSError as error:
            raise of_path(error, f"{self.kind}: part {self.number}: {self.text}") from error
        stack.callback(source.close)
        if isinstance(source, DirectorySource):
            raise SourceError(
                f"{self.kind}: part {self.number} is a directory, which has no bytes; name a file in it", errno.EISDIR
            )
        return source
