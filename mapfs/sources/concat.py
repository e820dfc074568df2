"""`concat:SPEC|SPEC|...`: sources one after another, as one file. A bar within a part is doubled."""

import contextlib
import errno

from mapfs.errors import SourceError
from mapfs.sources.parts import Part, PartsSource, Piece, split
from mapfs.sources.spec import Spec

_LIMIT = 1 << 63  # what no file reaches: off_t


def parts_of(spec: Spec) -> list[Spec]:
    """The specs of the parts. Raises SpecError."""
    return [part.parsed() for part in _parts(spec)]


def open_concat(spec: Spec) -> PartsSource:
    """Raises SourceError where a part is a directory, or all together are too large; then none stays open."""
    with contextlib.ExitStack() as stack:
        pieces: list[Piece] = []
        end = 0
        for part in _parts(spec):
            source = part.opened(stack)
            pieces.append(Piece(end, source.size, source, f"part {part.number}"))
            end += pieces[-1].size
        if end >= _LIMIT:
            raise SourceError("concat: its parts together are larger than a file can be (8E)", errno.EFBIG)
        made = PartsSource(pieces)
        stack.pop_all()
        return made


def _parts(spec: Spec) -> list[Part]:
    return [Part("concat", number, text) for number, text in enumerate(split(spec.arg), 1)]
