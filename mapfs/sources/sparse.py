"""`sparse:SIZE|OFFSET=SPEC|...`: SIZE zeroes, with sources at offsets. A bar within a part is doubled."""

import contextlib
import errno

from mapfs.errors import SourceError, SpecError
from mapfs.sources.parts import Part, PartsSource, Piece, split
from mapfs.sources.spec import Spec
from mapfs.units import parse_size


def parts_of(spec: Spec) -> list[Spec]:
    """The specs of the parts. Raises SpecError."""
    return [part.parsed() for _, part in _parsed(spec)[1]]


def open_sparse(spec: Spec) -> PartsSource:
    """Raises SourceError where a part is a directory, or has no room; then none stays open."""
    size, parts = _parsed(spec)
    with contextlib.ExitStack() as stack:
        found: list[Piece] = []
        for offset, part in parts:
            source = part.opened(stack)
            found.append(Piece(offset, source.size, source, f"part {part.number}"))
        made = PartsSource(_with_gaps(size, found))
        stack.pop_all()
        return made


def _with_gaps(size: int, found: list[Piece]) -> list[Piece]:
    """The pieces in the order of their offsets, and what is between them. Raises SourceError."""
    pieces: list[Piece] = []
    end = 0
    for piece in sorted(found, key=lambda piece: (piece.start, piece.size)):
        if piece.start < end:
            raise SourceError(
                f"sparse: {piece.what} begins at {piece.start}, before {pieces[-1].what} ends at {end}; "
                "move one of them, or cut it short with truncate=",
                errno.EINVAL,
            )
        pieces += [Piece(end, piece.start - end, None), piece]
        end = piece.start + piece.size
    if end > size:
        raise SourceError(
            f"sparse: {pieces[-1].what} ends at {end}, past the size {size}; write a larger size, or cut the part "
            "short with truncate=",
            errno.EINVAL,
        )
    return [*pieces, Piece(end, size - end, None)]


def _parsed(spec: Spec) -> tuple[int, list[tuple[int, Part]]]:
    size, *texts = split(spec.arg)
    parts: list[tuple[int, Part]] = []
    for number, text in enumerate(texts, 1):
        offset, equals, inner = text.partition("=")
        if not equals:
            raise SpecError(f"sparse: part {number}: {text!r} is not OFFSET=SPEC; write 64K=file:/data/a")
        parts.append((_size(f"part {number}", offset), Part("sparse", number, inner)))
    return _size("its size", size), parts


def _size(what: str, text: str) -> int:
    try:
        return parse_size(text)
    except SpecError as error:
        raise SpecError(f"sparse: {what} cannot be read: {error}") from error
