"""Arrow IPC files (Feather 2 too): the buffer of a column in a record batch, as in `name/0 (offsets)`.

https://arrow.apache.org/docs/format/Columnar.html: the footer has the schema and the place of each record batch, whose
metadata lists the buffers in the order of the schema. Of the file, this is all that is read. pyarrow is not asked: it
tells where a buffer lies in memory, which for compressed ones is nowhere in the file. Streams have no footer, and no
labels.
"""

from collections.abc import Iterator

from mapfs.trace.labels.content import Content, UnreadableError
from mapfs.trace.labels.flatbuffers import Table
from mapfs.trace.labels.ranges import MOST_RANGES, Labels

MAGIC = b"ARROW1"
_CONTINUATION = b"\xff\xff\xff\xff"  # before the length of a message, from Arrow 0.15 on
_MOST_DEEP = 64
_MOST_FIELDS = 100_000
_V5 = 4  # MetadataVersion; before, unions had a validity buffer
_BLOCK = "qi4xq"  # offset, bytes of metadata, bytes of the body
_PRIMITIVE = ("validity", "data")
_VARIADIC = "…"
#: Schema.fbs, union Type: the buffers of a field of each type
_BUFFERS: dict[int, tuple[str, ...]] = {
    1: (),  # null
    4: ("validity", "offsets", "data"),  # binary
    5: ("validity", "offsets", "data"),  # utf8
    12: ("validity", "offsets"),  # list
    13: ("validity",),  # struct
    16: ("validity",),  # fixed-size list
    17: ("validity", "offsets"),  # map
    19: ("validity", "offsets", "data"),  # large binary
    20: ("validity", "offsets", "data"),  # large utf8
    21: ("validity", "offsets"),  # large list
    22: (),  # run-end encoded
    23: ("validity", "views", _VARIADIC),  # binary view
    24: ("validity", "views", _VARIADIC),  # utf8 view
    25: ("validity", "offsets", "sizes"),  # list view
    26: ("validity", "offsets", "sizes"),  # large list view
}
_PRIMITIVES = frozenset({2, 3, 6, 7, 8, 9, 10, 11, 15, 18})
_UNION = 14

#: Of each buffer of a batch: the path of its column, and which of its buffers it is.
Plan = list[tuple[str, str]]


def labels(content: Content) -> Labels:
    """A buffer a label. Raises UnreadableError, ValueError, struct.error."""
    tail = content.read(content.size - 10, 10)
    if tail[4:] != MAGIC:
        raise UnreadableError("it has no footer")
    length = int.from_bytes(tail[:4], "little")
    start = content.size - 10 - length
    footer = Table.root(content.read(start, length))
    table = footer.table(1)
    if table is None:
        raise UnreadableError("it has no schema")
    schema = _Schema(table, footer.number(0, "h"))
    names, spans = ["(magic number)", "(footer)", "(schema)"], [(0, 8, 0), (start, content.size, 1)]
    blocks: list[tuple[tuple[int, ...], int | None]] = [(block, None) for block in footer.structs(2, _BLOCK)]
    blocks += [(block, number) for number, block in enumerate(footer.structs(3, _BLOCK))]
    spans.append((8, min([start, *[block[0] for block, _ in blocks]]), 2))
    for (offset, metadata, _), number in blocks:
        what = "(dictionary)" if number is None else f"(metadata of batch {number})"
        spans.append((offset, offset + metadata, len(names)))
        names.append(what)
        for name, first, size in _buffers(content, offset, metadata, number, schema):
            if offset + metadata + first + size > start:
                raise UnreadableError(f"{name} reaches into the footer")
            spans.append((offset + metadata + first, offset + metadata + first + size, len(names)))
            names.append(name)
            if len(names) > MOST_RANGES:
                raise UnreadableError("it has too many buffers")
    return Labels(content.size, spans, names.__getitem__)


class _Schema:
    """The buffers of each column, in their order; those of dictionaries aside, by the numbers of the dictionaries."""

    def __init__(self, schema: Table, version: int) -> None:
        self.dictionaries: dict[int, Plan] = {}
        self._version = version
        self._fields = 0
        self.plan = [place for field in schema.tables(1) for place in self._plan(field, "", 0)]

    def _plan(self, field: Table, above: str, depth: int) -> Plan:
        """The buffers of `field` and of what is below it."""
        self._fields += 1
        if depth > _MOST_DEEP or self._fields > _MOST_FIELDS:
            raise UnreadableError("it has too many columns, or nested too deep")
        name = field.text(0) if not above else f"{above}.{field.text(0)}"
        plan = [(name, buffer) for buffer in self._own(field)]
        for child in field.tables(5):
            plan += self._plan(child, name, depth + 1)
        encoding = field.table(4)
        if encoding is None:
            return plan
        self.dictionaries[encoding.number(0, "q")] = plan
        return [(name, "validity"), (name, "indices")]

    def _own(self, field: Table) -> tuple[str, ...]:
        kind = field.number(2, "B")
        if kind == _UNION:
            union = field.table(3)
            dense = union is not None and union.number(0, "h") == 1
            return ("validity",) * (self._version < _V5) + ("types",) + ("offsets",) * dense
        if kind in _PRIMITIVES:
            return _PRIMITIVE
        if kind not in _BUFFERS:
            raise UnreadableError(f"it has a column of the unknown type {kind}")
        return _BUFFERS[kind]


def _buffers(
    content: Content, offset: int, size: int, number: int | None, schema: _Schema
) -> Iterator[tuple[str, int, int]]:
    """Name, offset in the body and size of each buffer of a record batch, or of a dictionary."""
    data = content.read(offset, size)
    message = Table.root(data[8:] if data.startswith(_CONTINUATION) else data[4:])  # behind its length
    batch, plan = message.table(2), schema.plan
    if batch is not None and number is None:
        plan = schema.dictionaries[batch.number(0, "q")]
        batch = batch.table(1)
    if batch is None:
        raise UnreadableError("a batch has no metadata")
    variadic = iter(batch.structs(4, "q"))
    where = "dictionary" if number is None else number
    places = iter(batch.structs(2, "qq"))
    for column, buffer in plan:
        count = next(variadic, (0,))[0] if buffer == _VARIADIC else 1
        if not 0 <= count <= MOST_RANGES:
            raise UnreadableError("a column has too many buffers")
        for place in range(count):
            what = f"data {place}" if buffer == _VARIADIC else buffer
            first, length = next(places, (0, 0))
            if first < 0 or length < 0:
                raise UnreadableError("a buffer begins before the body")
            yield f"{column}/{where} ({what})", first, length
