"""Parquet: the chunk of a column in a row group, as in `user.id/3`, and the indexes beside the chunks.

https://github.com/apache/parquet-format: the footer says where each chunk lies, and nothing else is read. pyarrow would
say it too, from C++ that a damaged file could take this process down with.
"""

from typing import Any

from mapfs.trace.labels import thrift
from mapfs.trace.labels.content import Content, UnreadableError
from mapfs.trace.labels.ranges import Labels

MAGIC = b"PAR1"
# of FileMetaData, RowGroup, ColumnChunk and ColumnMetaData in parquet.thrift
_ROW_GROUPS = 4
_COLUMNS = 1
_METADATA, _INDEXES = 3, ((4, 5, "offset index"), (6, 7, "column index"))
_PATH, _SIZE, _PAGES, _BLOOM = 3, 7, (9, 10, 11), (14, 15, "bloom filter")


def labels(content: Content) -> Labels:
    """A chunk a label. Raises UnreadableError, ValueError, and what a footer that is none raises."""
    tail = content.read(content.size - 8, 8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC:
        raise UnreadableError("it has no footer that can be read")
    start = content.size - 8 - length
    footer = thrift.Reader(content.read(start, length)).struct()
    names, spans = ["(magic number)", "(footer)"], [(0, 4, 0), (start, content.size, 1)]

    def add(name: str, first: int, size: int) -> None:
        if first < 4 or size < 0 or first + size > start:
            raise UnreadableError(f"{name} does not lie between the magic number and the footer")
        spans.append((first, first + size, len(names)))
        names.append(name)

    for number, group in enumerate(footer[_ROW_GROUPS]):
        for chunk in group[_COLUMNS]:
            metadata: dict[int, Any] = chunk[_METADATA]
            name = ".".join(part.decode("utf-8", "backslashreplace") for part in metadata[_PATH]) + f"/{number}"
            add(name, min(metadata[field] for field in _PAGES if metadata.get(field)), metadata[_SIZE])
            for fields, (first, size, what) in ((chunk, _INDEXES[0]), (chunk, _INDEXES[1]), (metadata, _BLOOM)):
                if fields.get(first) and fields.get(size):
                    add(f"{name} ({what})", fields[first], fields[size])
    return Labels(content.size, spans, names.__getitem__)
