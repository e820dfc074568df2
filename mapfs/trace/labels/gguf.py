"""GGUF: a header with keys and values, a table of tensors, and the tensors, each at a multiple of the alignment.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The gguf package is not asked: it brings numpy, requests and
PyYAML along, maps the whole file, and makes an array of each token of the vocabulary, while a label needs the table
alone. A tensor reaches up to the next one, so that no table of quantised types has to be known; up to `alignment` - 1
bytes of padding count as its own.
"""

import struct

from mapfs.trace.labels.content import Content, UnreadableError
from mapfs.trace.labels.ranges import MOST_RANGES, Labels

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of the types of values, bytes
_UINT32, _STRING, _ARRAY = 4, 8, 9
_PIECE = 1 << 18
_MOST_NESTED = 4
_MOST_ITEMS = 5_000_000  # strings and arrays in arrays
_MOST_DIMENSIONS = 8


class _Reader:
    """Reads forward, some hundred KiB at a time."""

    def __init__(self, content: Content, order: str) -> None:
        self._content = content
        self._order = order
        self._buffer = b""
        self._start = 0
        self._items = 0
        self.at = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes. Raises UnreadableError."""
        if self.at + size > self._start + len(self._buffer):
            self._buffer = self._content.read(self.at, min(max(size, _PIECE), self._content.size - self.at))
            self._start = self.at
            if len(self._buffer) < size:
                raise UnreadableError("the header is cut off")
        begin = self.at - self._start
        self.at += size
        return self._buffer[begin : begin + size]

    def skip(self, size: int) -> None:
        """Goes over `size` bytes. Raises UnreadableError."""
        self.at += size
        if self.at > self._content.size:
            raise UnreadableError("the header is cut off")
        if self.at > self._start + len(self._buffer):
            self._buffer, self._start = b"", self.at

    def number(self, code: str) -> int:
        """An integer, its type as struct has it."""
        made: int = struct.unpack(self._order + code, self.take(struct.calcsize(self._order + code)))[0]
        return made

    def string(self) -> str:
        """A name."""
        return self.take(self.number("Q")).decode("utf-8", "backslashreplace")

    def skip_value(self, kind: int, depth: int = 0) -> None:
        """Goes over a value."""
        if kind in _SIZES:
            self.skip(_SIZES[kind])
        elif kind == _STRING:
            self.skip(self.number("Q"))
        elif kind == _ARRAY and depth < _MOST_NESTED:
            inner, count = self.number("I"), self.number("Q")
            if inner in _SIZES:
                self.skip(_SIZES[inner] * count)
                return
            self._items += count
            if self._items > _MOST_ITEMS:
                raise UnreadableError("it has too many values")
            for _ in range(count):
                self.skip_value(inner, depth + 1)
        else:
            raise UnreadableError(f"it has a value of the unknown type {kind}")


def labels(content: Content) -> Labels:
    """A tensor a label. Raises UnreadableError, ValueError."""
    version = content.read(4, 4)
    order = "<" if version[:2] != b"\0\0" else ">"  # a small number either way
    reader = _Reader(content, order)
    reader.skip(4)
    if reader.number("I") not in (2, 3):
        raise UnreadableError("it has another version")
    tensors, values = reader.number("Q"), reader.number("Q")
    if max(tensors, values) > MOST_RANGES:
        raise UnreadableError("it has too many tensors")
    alignment = _alignment(reader, values)
    names, offsets = ["(header)"], []
    for _ in range(tensors):
        names.append(reader.string())
        dimensions = reader.number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise UnreadableError("a tensor has too many dimensions")
        reader.skip(8 * dimensions + 4)
        offsets.append(reader.number("Q"))
    data = -(-reader.at // alignment) * alignment
    return _with_ends(content.size, names, reader.at, [data + offset for offset in offsets])


def _alignment(reader: _Reader, values: int) -> int:
    """Goes over the keys and values. The alignment that they tell, or the usual one."""
    alignment = 32
    for _ in range(values):
        key, kind = reader.string(), reader.number("I")
        if key == "general.alignment" and kind == _UINT32:
            alignment = reader.number("I")
        else:
            reader.skip_value(kind)
    if not alignment:
        raise UnreadableError("the alignment is 0")
    return alignment


def _with_ends(size: int, names: list[str], header: int, starts: list[int]) -> Labels:
    spans = [(0, header, 0)]
    order = sorted(range(len(starts)), key=lambda number: starts[number])
    for place, number in enumerate(order):
        end = starts[order[place + 1]] if place + 1 < len(order) else size
        spans.append((starts[number], end, number + 1))
    return Labels(size, spans, names.__getitem__)
