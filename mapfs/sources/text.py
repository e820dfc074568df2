r"""`text:…`: the text itself, in UTF-8. `\n`, `\t`, `\\` and `\xHH` (one byte) are escapes."""

import re

from mapfs.errors import SpecError
from mapfs.sources.base import Entry, Source
from mapfs.sources.spec import Spec

_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.?))", re.DOTALL)
_PLAIN = {b"n": b"\n", b"t": b"\t", b"\\": b"\\"}


class BytesSource(Source):
    """Bytes that are held in memory."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._entry = Entry(size=len(content))

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, offset: int, size: int) -> bytes:
        return self.content[offset : offset + size]

    def try_read(self, offset: int, size: int) -> bytes:
        return self.content[offset : offset + size]

    def entry(self) -> Entry:
        return self._entry


def open_text(spec: Spec) -> BytesSource:
    """Raises SpecError for an escape that is none of the four."""

    def plain(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return bytes.fromhex(match[1].decode())
        if match[2] not in _PLAIN:
            wrong = match[0].decode(errors="backslashreplace")
            raise SpecError(rf"{wrong!r} is not an escape of text:; write \n, \t, \\ or \xHH")
        return _PLAIN[match[2]]

    return BytesSource(_ESCAPE.sub(plain, spec.arg.encode(errors="surrogateescape")))
