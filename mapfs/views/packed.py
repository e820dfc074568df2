"""Columns of numpy as keys of sums: several packed into one, its different values, and what each of them adds up to."""

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mapfs.trace.columns import NULL, UnreadableError

with contextlib.suppress(ImportError):  # then nothing can be read in columns
    import numpy

if TYPE_CHECKING:
    from mapfs.trace.columns import Numbers


def known(column: "Numbers") -> "Numbers":
    """With 0 for what is NULL."""
    return numpy.where(column == NULL, 0, column)


def span_of(offset: "Numbers", size: "Numbers", shift: int) -> "tuple[Numbers, Numbers]":
    """The first page of each, and how many there are, of 1 << `shift` bytes; one for nothing."""
    first = offset >> shift
    return first, numpy.maximum(1, ((offset + size + (1 << shift) - 1) >> shift) - first)


def packed(columns: "Sequence[Numbers]", widths: Sequence[int]) -> "Numbers":
    """Columns in one, each of so many bits. Raises UnreadableError where one does not fit."""
    if sum(widths) > 62:
        raise UnreadableError
    made = numpy.zeros(len(columns[0]), numpy.int64)
    for column, width in zip(columns, widths, strict=True):
        if len(column) and (int(column.max()) >> width or int(column.min()) < 0):
            raise UnreadableError  # a file or a thread of which the trace knows nothing
        made = made << width | column
    return made


def unpacked(numbers: "Numbers", widths: Sequence[int]) -> list[tuple[int, ...]]:
    """What was packed into each number."""
    columns = []
    for width in reversed(widths):
        columns.append((numbers & (1 << width) - 1).tolist())
        numbers = numbers >> width
    return list(zip(*reversed(columns), strict=True))


def sums_of(
    numbers: "Numbers", widths: Sequence[int], values: "Sequence[Numbers]"
) -> tuple[list[tuple[int, ...]], list[list[int]]]:
    """The different keys, and the sums of the values of each."""
    different, places = numpy.unique(numbers, return_inverse=True)
    sums = numpy.zeros((len(values), len(different)), numpy.int64)
    for own, column in zip(sums, values, strict=True):
        numpy.add.at(own, places, column)
    return unpacked(different, widths), sums.T.tolist()
