"""Values in Thrift's compact protocol, which Parquet writes its footer in. Pure, no I/O.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md. A struct becomes a dict from the
numbers of its fields to their values, a list a list; what the numbers mean, who asks knows.
"""

from typing import Any

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_INTEGERS = (4, 5, 6)
_MOST_DEEP = 32
_MOST_VALUES = 4_000_000


class MalformedError(ValueError):
    """The bytes are not in this protocol."""


class Reader:
    """Reads values from `data`, one after another. Raises MalformedError, IndexError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._values = 0

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise MalformedError("a number is too long")

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The fields of a struct by their numbers."""
        if depth > _MOST_DEEP:
            raise MalformedError("it is nested too deep")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            kind = head & 15
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _byte(self) -> int:
        byte = self._data[self._at]
        self._at += 1
        return byte

    def _bytes(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise MalformedError("it is cut off")
        data = self._data[self._at : end]
        self._at = end
        return data

    def _value(self, kind: int, depth: int) -> Any:
        self._values += 1
        if self._values > _MOST_VALUES:
            raise MalformedError("it has too many values")
        if kind in _INTEGERS:
            return self._integer()
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            return self._list(depth + 1)
        if kind == _MAP:
            return self._map(depth + 1)
        if kind == _DOUBLE:
            return self._bytes(8)
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        raise MalformedError(f"it has a value of the unknown type {kind}")

    def _count(self, count: int, depth: int) -> int:
        if count > len(self._data) - self._at or depth > _MOST_DEEP:  # an element takes a byte at least
            raise MalformedError("a list is longer than the data")
        return count

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count = self._count(head >> 4 if head >> 4 < 15 else self._varint(), depth)
        return [self._value(head & 15, depth) for _ in range(count)]

    def _map(self, depth: int) -> list[tuple[Any, Any]]:
        count = self._count(self._varint(), depth)
        kinds = self._byte() if count else 0
        return [(self._value(kinds >> 4, depth), self._value(kinds & 15, depth)) for _ in range(count)]
