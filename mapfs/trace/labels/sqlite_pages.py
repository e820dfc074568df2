"""The pages of a SQLite database: b-tree pages, their cells, and the rows of the schema. Pure, no I/O.

https://www.sqlite.org/fileformat2.html, chapters 1.6 (b-tree pages) and 2.1 (records).
"""

import struct
from collections.abc import Iterator

INDEX_INNER, TABLE_INNER, INDEX_LEAF, TABLE_LEAF = 2, 5, 10, 13


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and where it ends. Raises IndexError."""
    value = 0
    for place in range(at, at + 8):
        byte = data[place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + 1
    return value << 8 | data[at + 8], at + 9


class Page:
    """A b-tree page. Cells that reach out of it are left out."""

    def __init__(self, data: bytes, usable: int, header: int) -> None:
        """`header` is where its header begins: behind the file's on the first page."""
        self.data = data
        self.kind = data[header]
        self._usable = usable
        inner = self.kind in (INDEX_INNER, TABLE_INNER)
        first = header + (12 if inner else 8)
        count = min(int.from_bytes(data[header + 3 : header + 5], "big"), (usable - first) // 2)
        self._cells = struct.unpack_from(f">{count}H", data, first)
        self._last = int.from_bytes(data[header + 8 : header + 12], "big") if inner else 0
        self._largest = usable - 35 if self.kind == TABLE_LEAF else (usable - 12) * 64 // 255 - 23  # bytes kept here
        self._smallest = (usable - 12) * 32 // 255 - 23

    def children(self) -> list[int]:
        """The pages below an inner one."""
        data, end = self.data, self._usable - 4
        return [*[int.from_bytes(data[at : at + 4], "big") for at in self._cells if at <= end], self._last]

    def overflowing(self) -> Iterator[tuple[bytes, int, int]]:
        """Of the cells whose payload goes on elsewhere: the part here, the first page of the rest, how many pages."""
        data, skip = self.data, 4 if self.kind == INDEX_INNER else 0
        if self.kind == TABLE_INNER:
            return
        short = min(0x7F, self._largest)
        for at in self._cells:
            if at + skip < self._usable and data[at + skip] > short:  # its size is one byte else, and it fits
                cell = self._cell(at + skip)
                if cell is not None and cell[2]:
                    yield cell

    def payloads(self) -> Iterator[tuple[bytes, int, int]]:
        """The same of all cells of a leaf; 0 pages where all of it is here."""
        for at in self._cells:
            cell = self._cell(at)
            if cell is not None:
                yield cell

    def _cell(self, at: int) -> tuple[bytes, int, int] | None:
        try:
            size, at = varint(self.data, at)
            if self.kind == TABLE_LEAF:
                _, at = varint(self.data, at)
        except IndexError:
            return None
        local, room = size, self._usable - 4
        if size > self._largest:
            local = self._smallest + (size - self._smallest) % room
            local = local if local <= self._largest else self._smallest
        end = at + local
        if end > self._usable:
            return None
        rest = size - local
        following = int.from_bytes(self.data[end : end + 4], "big") if rest else 0
        return self.data[at:end], following, -(-rest // room)


def schema_row(payload: bytes, encoding: str) -> tuple[str, int] | None:
    """The name and the root page of a row of sqlite_schema (type, name, tbl_name, rootpage, sql). None for what has
    no pages, such as a view, and what cannot be read.
    """
    try:
        end, at = varint(payload, 0)
        kinds: list[int] = []
        while at < end and len(kinds) < 4:
            kind, at = varint(payload, at)
            kinds.append(kind)
        fields, at = [], end
        for kind in kinds:
            size = _size(kind)
            fields.append(payload[at : at + size])
            at += size
    except IndexError:
        return None
    if len(fields) < 4 or at > len(payload) or kinds[1] < 13 or not kinds[1] & 1:
        return None
    root = 1 if kinds[3] == 9 else int.from_bytes(fields[3], "big")
    return (fields[1].decode(encoding, "replace"), root) if root else None


def _size(kind: int) -> int:
    """Bytes of a value of a serial type."""
    if kind >= 12:
        return (kind - 12) // 2
    return (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)[kind]
