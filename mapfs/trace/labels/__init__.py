"""Labels: what an offset of a file is called in the words of its format; a module a format.

`labels_of` is all that the rest of mapfs calls. Which format a file has, its content says, never its name. Each module
reads what names the parts of the file (a header, a table, a footer), not the parts, in Python: labels are read in the
recorder and in views, which no C library of a format may take down, and no header may keep busy. What is damaged has
no labels, and none ever reaches outside the file. docs/TRACE.md says what a label is, of each format.
"""

import importlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from mapfs.trace.labels.content import Content
from mapfs.trace.labels.ranges import Labels, Range

__all__ = ["Labels", "Range", "labels_of", "labels_of_descriptor"]

_MIB = 1 << 20
_HEAD = 16


@dataclass(frozen=True, slots=True)
class Format:
    """A module with `labels(content)`. `magic` is what the file begins with; where it is empty, the module's
    `recognised(head, content)` tells. `most` bytes may be read to find the labels.
    """

    module: str
    magic: bytes = b""
    most: int = 64 * _MIB


#: In the order in which they are tried.
FORMATS: dict[str, Format] = {
    "elf": Format(".elf", b"\x7fELF", 256 * _MIB),
    "sqlite": Format(".sqlite", b"SQLite format 3\0"),
    "gguf": Format(".gguf", b"GGUF"),
    "npy": Format(".npy", b"\x93NUMPY"),
    "parquet": Format(".parquet", b"PAR1", 16 * _MIB),
    "arrow": Format(".arrow", b"ARROW1\0\0"),
    "safetensors": Format(".safetensors"),
    "zip": Format(".archive", most=16 * _MIB),
}


def labels_of(path: str, size: int | None = None) -> Labels | None:
    """The labels of the regular file at `path`; None where it has none, is damaged, or has not `size` bytes (any,
    without one). Never raises.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        return None
    try:
        return labels_of_descriptor(fd, size)
    finally:
        os.close(fd)


def labels_of_descriptor(fd: int, size: int | None = None) -> Labels | None:
    """The same of an open file."""
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or size not in (None, status.st_size):
            return None
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # what is not read for a label, nobody should read ahead
        return _labels(fd, status.st_size)
    except Exception:  # whatever the content made go wrong
        return None


def _labels(fd: int, size: int) -> Labels | None:
    content = Content(fd, size, most_bytes=_MIB)
    head = content.head(_HEAD)
    for one in FORMATS.values():
        if one.magic and not head.startswith(one.magic):
            continue
        module = importlib.import_module(one.module, __name__)
        if not one.magic and not module.recognised(head, content):
            continue
        read: Callable[[Content], Labels] = module.labels
        labels = read(Content(fd, size, most_bytes=one.most))
        return labels if len(labels) else None
    return None
