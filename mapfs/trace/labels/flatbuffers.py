"""Tables in FlatBuffers, which Arrow writes its metadata in. Pure, no I/O.

https://flatbuffers.dev/internals/: a table begins with the distance back to its vtable, which has the place of each
field within the table, 0 where it is not there; what is not a number is the distance to it. Positions only ever lead
into `data`, or struct.error is raised; a vector is bounded by the data that is left.
"""

import struct


class Table:
    """A table in `data` at `at`. Fields count from 0. Every method raises struct.error for what leads out."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._vtable = at - _unpack("<i", data, at)
        self._fields = (_unpack("<H", data, self._vtable) - 4) // 2

    @classmethod
    def root(cls, data: bytes) -> "Table":
        """The table that all of `data` is."""
        return cls(data, _unpack("<I", data, 0))

    def _place(self, field: int) -> int:
        """Where the field stands, 0 where it does not."""
        if field >= self._fields:
            return 0
        place = _unpack("<H", self._data, self._vtable + 4 + 2 * field)
        return self._at + place if place else 0

    def number(self, field: int, form: str, default: int = 0) -> int:
        """A number, its type as struct has it, `default` where it is not there."""
        place = self._place(field)
        return _unpack("<" + form, self._data, place) if place else default

    def _target(self, field: int) -> int:
        place = self._place(field)
        return place + _unpack("<I", self._data, place) if place else 0

    def table(self, field: int) -> "Table | None":
        """A table within it."""
        target = self._target(field)
        return Table(self._data, target) if target else None

    def text(self, field: int) -> str:
        """A string, empty where it is not there."""
        target = self._target(field)
        if not target:
            return ""
        size = _unpack("<I", self._data, target)
        return self._data[target + 4 : target + 4 + size].decode("utf-8", "backslashreplace")

    def tables(self, field: int) -> "list[Table]":
        """A vector of tables."""
        places = self.structs(field, "I")
        start = self._target(field) + 4
        return [Table(self._data, start + 4 * number + place) for number, (place,) in enumerate(places)]

    def structs(self, field: int, form: str) -> list[tuple[int, ...]]:
        """A vector of structs, packed as `form` has it."""
        target = self._target(field)
        if not target:
            return []
        one = struct.Struct("<" + form)
        size = _unpack("<I", self._data, target) * one.size
        if size > len(self._data) - target - 4:
            raise struct.error("a vector is longer than the data")
        return list(one.iter_unpack(self._data[target + 4 : target + 4 + size]))


def _unpack(form: str, data: bytes, at: int) -> int:
    if at < 0:
        raise struct.error("it leads out of the data")
    value: int = struct.unpack_from(form, data, at)[0]
    return value
