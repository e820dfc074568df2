"""The grammar that wrappers which break things share: `VALUE[@PAGES][:LIMIT]`.

PAGES names pages of the file: `3`, `5-9`, `7-` (to the end), joined by `+` or by a comma, which is doubled in a spec.
LIMIT is how often: a probability has a point or a percent sign (`0.25`, `25%`, `1.0`), anything else is a number of
times (`3`, `3x`). So `:1` is once, and `:1.0` is always.
"""

import math
import random
import re
from bisect import bisect_left
from dataclasses import dataclass
from decimal import Decimal

from mapfs.errors import SpecError
from mapfs.units import PAGE_SIZE, page_span

_RANGE = re.compile(r"(\d{1,15})(?:(-)(\d{1,15})?)?", re.ASCII)
_TIMES = re.compile(r"(\d{1,9})x?", re.ASCII)
_PROBABILITY = re.compile(r"(\d{1,3}\.\d{1,9}|\d{1,3}(?:\.\d{1,7})?%)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pages:
    """A set of pages of PAGE_SIZE bytes. `ranges` are first and last, None to the end; sorted, apart, never empty."""

    ranges: tuple[tuple[int, int | None], ...]

    @classmethod
    def parse(cls, text: str) -> "Pages":
        """The pages in `3+5-9+7-`. Raises SpecError."""
        found = []
        for part in re.split(r"[+,]", text):
            match = _RANGE.fullmatch(part.strip())
            if match is None:
                raise SpecError(f"{text!r} names no pages; write 3, 5-9 or 7- (to the end), joined by +")
            first = int(match[1])
            last = int(match[3]) if match[3] else None if match[2] else first
            if last is not None and last < first:
                raise SpecError(f"{text!r} has a range that ends before it begins; write {last}-{first}")
            found.append((first, last))
        return cls(_merged(found))

    def first(self, offset: int, size: int) -> int | None:
        """The first of these pages that `size` bytes at `offset` touch; None where they touch none."""
        span = page_span(offset, size)
        at = bisect_left(self.ranges, float(span.start), key=_last)
        if at == len(self.ranges) or self.ranges[at][0] >= span.stop:
            return None
        return max(span.start, self.ranges[at][0])

    def intersects(self, offset: int, size: int) -> bool:
        """Whether `size` bytes at `offset` touch any of these pages."""
        return self.first(offset, size) is not None

    def within(self, offset: int, size: int) -> list[int]:
        """Those of these pages of which `size` bytes at `offset` have bytes."""
        pages = range(offset // PAGE_SIZE, -(-(offset + size) // PAGE_SIZE))
        if self == ALL:
            return list(pages)
        return [page for page in pages if self.intersects(page * PAGE_SIZE, 1)]

    def __str__(self) -> str:
        return "+".join(
            f"{first}-" if last is None else str(first) if first == last else f"{first}-{last}"
            for first, last in self.ranges
        )


def _last(of: tuple[int, int | None]) -> float:
    return math.inf if of[1] is None else of[1]


def _merged(ranges: list[tuple[int, int | None]]) -> tuple[tuple[int, int | None], ...]:
    """The same pages, ranges that touch made one."""
    merged: list[tuple[int, int | None]] = []
    for first, last in sorted(ranges, key=lambda one: one[0]):
        if merged and first <= _last(merged[-1]) + 1:
            end = max(_last(merged[-1]), math.inf if last is None else last)
            merged[-1] = (merged[-1][0], None if end == math.inf else int(end))
        else:
            merged.append((first, last))
    return tuple(merged)


ALL = Pages(((0, None),))


@dataclass(frozen=True, slots=True)
class Limit:
    """How often a rule holds: with a probability, so many times, or always where both are None."""

    probability: Decimal | None = None
    times: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """The limit in `0.25`, `25%`, `3` or `3x`. Raises SpecError."""
        if match := _PROBABILITY.fullmatch(text.strip()):
            value = Decimal(match[1][:-1]) / 100 if match[1].endswith("%") else Decimal(match[1])
            if value <= 1:
                return cls(probability=value)
        elif (match := _TIMES.fullmatch(text.strip())) and int(match[1]):
            return cls(times=int(match[1]))
        raise SpecError(f"{text!r} is neither a probability nor a number of times; write 0.25, 25% or 3x")

    def chance(self) -> bool:
        """Whether the dice say yes; how often it was is counted by whoever asks."""
        if self.probability is None:
            return True
        return random.random() < self.probability  # noqa: S311 -- dice, no secret

    def __str__(self) -> str:
        if self.times is not None:
            return f"{self.times}x"
        if self.probability is None:
            return ""
        text = f"{self.probability.normalize():f}"
        return text if "." in text else f"{text}.0"


def split(text: str) -> tuple[str, Pages, Limit]:
    """VALUE, PAGES and LIMIT of `VALUE[@PAGES][:LIMIT]`. Raises SpecError."""
    head, colon, limit = text.partition(":")
    value, at, pages = head.partition("@")
    return value.strip(), Pages.parse(pages) if at else ALL, Limit.parse(limit) if colon else Limit()


def joined(value: str, pages: Pages, limit: Limit) -> str:
    """The text that `split` takes apart."""
    where = "" if pages == ALL else f"@{pages}"
    often = str(limit)
    return f"{value}{where}:{often}" if often else f"{value}{where}"
