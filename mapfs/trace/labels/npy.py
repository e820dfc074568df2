"""npy: one array of NumPy. Its rows, in at most a thousand ranges of a page or more, each a round number of rows.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html: a magic number, a version, the length of the
header and the header, a Python literal with the type, the order and the shape. A row is one index of the first axis; of
an array in Fortran order, whose last axis is the outermost, a column is one of the last.
"""

import ast
import math
import re
import warnings
from typing import Any

from mapfs.trace.labels.content import Content, UnreadableError
from mapfs.trace.labels.ranges import Labels
from mapfs.units import PAGE_SIZE

_LONGEST_HEADER = 10_000  # bytes, as numpy has it: beyond, ast.literal_eval is no safe reader
_MOST = 1000  # ranges
_TYPE = re.compile(r"[<>|=]?([?biufcmMSaVU])(\d*)(\[.*\])?", re.ASCII)
_WIDE = {"U": 4}  # bytes of one unit of the type


def labels(content: Content) -> Labels:
    """Ranges of rows. Raises UnreadableError, ValueError, SyntaxError, RecursionError, MemoryError."""
    major = content.read(6, 1)[0]
    width = 2 if major == 1 else 4
    if major not in (1, 2, 3):
        raise UnreadableError("it has another version")
    length = int.from_bytes(content.read(8, width), "little")
    if length > _LONGEST_HEADER:
        raise UnreadableError("its header is too long")
    data = 8 + width + length
    text = content.read(8 + width, length).decode("utf-8" if major == 3 else "latin-1").strip()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Python thinks of the text is nothing for whoever looks at a log
        header = ast.literal_eval(text)
    if not isinstance(header, dict):
        raise UnreadableError("its header is none")
    shape = header.get("shape")
    if not isinstance(shape, tuple) or not all(type(one) is int and one >= 0 for one in shape):
        raise UnreadableError("its shape is none")
    size, fortran = _item_size(header.get("descr")), header.get("fortran_order") is True
    if data + size * math.prod(shape) > content.size:
        raise UnreadableError("it is cut off")
    return _rows(content.size, data, size, shape, columns=fortran and len(shape) > 1)


def _rows(file_size: int, data: int, item: int, shape: tuple[int, ...], *, columns: bool) -> Labels:
    count = (shape[-1] if columns else shape[0]) if shape else 1
    row = item * math.prod(shape) // count if count else 0
    step = _round_step(max(-(-count // _MOST), -(-PAGE_SIZE // row))) if row else count or 1
    what = "column" if columns else "row"

    def name(number: int) -> str:
        if not number:
            return "(header)"
        first, last = (number - 1) * step, min(number * step, count) - 1
        return f"{what} {first}" if first == last else f"{what}s {first}-{last}"

    spans = [(0, data, 0)]
    for number, first in enumerate(range(0, count, step), 1):
        spans.append((data + first * row, data + min(first + step, count) * row, number))
    return Labels(file_size, spans, name)


def _round_step(least: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, … that is not below `least`."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= least:
                return factor * power
        power *= 10


def _item_size(descr: Any) -> int:
    """Bytes of one item of the type `descr`. Raises UnreadableError."""
    if isinstance(descr, str):
        match = _TYPE.fullmatch(descr)
        if match is None or len(match[2]) > 9:  # of Python objects, among others, which are pickled
            raise UnreadableError(f"the type {descr!r} has no size")
        return int(match[2] or 1) * _WIDE.get(match[1], 1)
    if isinstance(descr, tuple) and len(descr) == 2:  # a type, and the shape of a field of it
        inner, shape = descr
        shape = shape if isinstance(shape, tuple) else (shape,)
        if not all(type(one) is int and one >= 0 for one in shape):
            raise UnreadableError("its shape is none")
        return _item_size(inner) * math.prod(shape)
    if not isinstance(descr, list):
        raise UnreadableError("its type is none")
    size = 0
    for field in descr:
        if not isinstance(field, tuple) or len(field) not in (2, 3):
            raise UnreadableError("its type is none")
        size += _item_size(field[1] if len(field) == 2 else (field[1], field[2]))
    return size
