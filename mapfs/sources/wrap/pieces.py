"""Which part of a copy on write is whose: the pieces of a range, and lseek(2) over them."""

import enum
import errno
import os
from dataclasses import dataclass

from mapfs.errors import SourceError, errno_of
from mapfs.sources.base import Source
from mapfs.sources.wrap.spans import Spans
from mapfs.units import PAGE_SIZE, page_count


class Of(enum.Enum):
    """Who has the bytes of a piece."""

    INNER = enum.auto()
    OVERLAY = enum.auto()
    NOBODY = enum.auto()  # they are zeroes


INNER, OVERLAY, NOBODY = Of


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a file, and who has them."""

    of: Of
    offset: int
    size: int


def pieces(overlaid: Spans, offset: int, size: int, visible: int) -> list[Piece]:
    """The pieces of `size` bytes at `offset`. `overlaid` are pages; from `visible` on nothing is the inner source's."""
    found: list[Piece] = []
    end = offset + size

    def add(of: Of, start: int, stop: int) -> None:
        if start < stop:
            found.append(Piece(of, start, stop - start))

    for first, last, present in overlaid.runs(offset // PAGE_SIZE, page_count(end)):
        start, stop = max(offset, first * PAGE_SIZE), min(end, last * PAGE_SIZE)
        if present:
            add(OVERLAY, start, stop)
        else:
            middle = max(start, min(stop, visible))
            add(INNER, start, middle)
            add(NOBODY, middle, stop)
    return found


def seek(found: list[Piece], size: int, whence: int, inner: Source, overlay: Source) -> int:
    """The next data or hole in the pieces `found`, which go to the end of the file at `size`. Raises SourceError."""
    for piece in found:
        at = None
        if piece.of == NOBODY:
            at = piece.offset if whence == os.SEEK_HOLE else None
        else:
            try:
                at = (inner if piece.of == INNER else overlay).seek(piece.offset, whence)
            except (SourceError, OSError) as error:
                if errno_of(error) != errno.ENXIO:
                    raise
        if at is not None and at < piece.offset + piece.size:
            return at
    if whence == os.SEEK_DATA:
        raise SourceError("there is no data before the end", errno.ENXIO)
    return size
