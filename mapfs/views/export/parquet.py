"""A table with types (Apache Parquet): the keys of an event as columns, `by` as three of them; null is null.

Written in row groups as the events come, so that memory does not grow with the trace. Where events were lost, a row has
`lost` for its op, and in the column `lost` how many. By pyarrow, the reference implementation for Python, which takes
batches of typed columns; DuckDB, which would do as well, takes rows by SQL alone.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, BinaryIO

from mapfs.errors import MapfsError
from mapfs.views.export import Events

try:
    import pyarrow  # type: ignore[import-untyped]  # it has no types
    from pyarrow import parquet
except ImportError as missing:
    raise MapfsError("parquet needs the package pyarrow; install it with pip install 'mapfs[parquet]'") from missing

_ROWS = 100_000  # in a row group
_NUMBER, _TEXT = pyarrow.int64(), pyarrow.string()
_NAME = pyarrow.dictionary(pyarrow.int32(), _TEXT)  # the same few texts again and again
_COLUMNS = {
    "time_ns": _NUMBER, "wall_ns": pyarrow.timestamp("ns", tz="UTC"), "op": _NAME, "class": _NAME, "via": _NAME,
    "direct": pyarrow.bool_(), "file": _NAME, "offset": _NUMBER, "size": _NUMBER, "page": _NUMBER, "pages": _NUMBER,
    "refaults": _NUMBER, "demanded": _NUMBER, "tid": _NUMBER, "pid": _NUMBER, "command": _NAME, "container": _NAME,
    "wait_ns": _NUMBER, "total_ns": _NUMBER, "error": _NAME, "reason": _NAME, "by_tid": _NUMBER, "by_pid": _NUMBER,
    "by_command": _NAME, "label": _NAME, "lost": _NUMBER,
}  # fmt: skip


def write(events: Events, out: BinaryIO, _evidence: str = "") -> None:
    """All columns, always in the same order. Raises OSError where `out` cannot be written."""
    schema = pyarrow.schema(list(_COLUMNS.items()))
    rows = map(_row, events)
    with parquet.ParquetWriter(out, schema, compression="zstd") as table:
        while batch := list(islice(rows, _ROWS)):
            table.write_table(pyarrow.table(list(_columns(batch)), schema=schema))


def _row(event: Mapping[str, Any]) -> Mapping[str, Any]:
    if event["op"] == "lost":
        return {"op": "lost", "lost": event["count"]}
    by = event["by"]
    named = {f"by_{key}": value for key, value in by.items()} if by else {}
    return {**event, **named, "via": None if event["via"] == "?" else event["via"]}


def _columns(batch: list[Mapping[str, Any]]) -> Iterator[Any]:
    for name, kind in _COLUMNS.items():
        values = [row.get(name) for row in batch]
        yield pyarrow.array(values, _TEXT).dictionary_encode() if kind is _NAME else pyarrow.array(values, kind)
