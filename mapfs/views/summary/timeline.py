"""The time in equal buckets, and what was in the page cache at the end of each.

A request belongs to the bucket in which it was answered, what is no request to that of the request before it. Events
are recorded in that order, so a bucket is a range of serial numbers, whose edges a binary search finds.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

from mapfs.trace.events import EVICT, PUSH, READ, WRITE
from mapfs.views.summary.model import Bucket, Timeline
from mapfs.views.summary.part import Layout, Part, Piece, pages_of

_MOST = 60  # buckets
_FOLLOWED = 1_000_000  # events


def span_of(db: sqlite3.Connection) -> tuple[int, int]:
    """From the arrival of the first request that was recorded to the answer of the last one, CLOCK_MONOTONIC."""
    first = db.execute("SELECT time_ns FROM requests ORDER BY serial LIMIT 1").fetchone()
    last = db.execute("SELECT time_ns + wait_ns FROM requests ORDER BY serial DESC LIMIT 1").fetchone()
    return (first[0], max(first[0], last[0])) if first else (0, 0)


def width_of(span_ns: int) -> int:
    """The least of 1, 2 or 5 times a power of ten of which `_MOST` make up more than the span."""
    width = 1
    while True:
        for factor in (1, 2, 5):
            if span_ns < _MOST * factor * width:
                return factor * width
        width *= 10


def edges_of(db: sqlite3.Connection, start_ns: int, end_ns: int) -> list[int]:
    """The first serial number of each bucket, and past all of them; those without a request are empty."""
    (end,) = db.execute(
        "SELECT max(ifnull((SELECT max(serial) FROM requests), 0), ifnull((SELECT max(serial) FROM faults), 0),"
        " ifnull((SELECT max(serial) FROM evictions), 0)) + 1"
    ).fetchone()
    width = width_of(end_ns - start_ns)
    edges = [0]
    for number in range(1, (end_ns - start_ns) // width + 1):
        edges.append(_first_from(db, edges[-1], end, start_ns + number * width))
    return [*edges, end]


def _first_from(db: sqlite3.Connection, low: int, high: int, time_ns: int) -> int:
    """Of the first request in the range that was answered at `time_ns` or later, the serial number; else `high`."""
    end = high
    while low < high:
        middle = (low + high) // 2
        row = db.execute(
            "SELECT serial, time_ns + wait_ns FROM requests WHERE serial >= ? AND serial < ? ORDER BY serial LIMIT 1",
            (middle, high),
        ).fetchone()
        if row is None or row[1] >= time_ns:
            high = middle
        else:
            low = row[0] + 1
    (found,) = db.execute("SELECT min(serial) FROM requests WHERE serial >= ? AND serial < ?", (low, end)).fetchone()
    return end if found is None else int(found)


def timeline_of(
    db: sqlite3.Connection, layout: Layout, parts: Sequence[Part], start_ns: int, width: int, *, kernel: bool
) -> Timeline:
    """From what the parts found; `kernel`: evictions are seen, so that it is known what was resident."""
    count = len(layout.edges) - 1
    pieces: list[list[Piece]] = [[] for _ in range(count)]
    for part in parts:
        for piece in part.pieces:
            pieces[piece.bucket].append(piece)
    resident = _resident(db, layout, parts) if kernel else [None] * count
    asked, buckets = 0, []
    for own, cached in zip(pieces, resident, strict=True):
        read, again, pushed = (sum(getattr(one, name) for one in own) for name in ("brought", "refaults", "pushed"))
        asked += read - again + pushed
        buckets.append(
            Bucket(
                demands=sum(one.demands for one in own),
                pages=len(set().union(*(one.read for one in own))) if len(own) > 1 else sum(one.pages for one in own),
                new=read - again,
                refaults=again,
                evicted=sum(one.evicted for one in own) if kernel else None,
                asked=asked,
                resident=cached,
            )
        )
    return Timeline(start_ns, width, buckets)


def _resident(db: sqlite3.Connection, layout: Layout, parts: Sequence[Part]) -> Sequence[int | None]:
    """Pages in the page cache at the end of each bucket; None where it would take too long to find out.

    Of a file that was only read, each page read was absent before and each that left was present, so sums are enough.
    Where mapfs pushed or dropped, or a program wrote, pages may have been there or not: those files are followed page
    by page, which is done in a trace of at most a million events.
    """
    followed = {file for part in parts for _, file, kind in part.groups if kind >> 3 != READ}
    if followed and layout.edges[-1] - layout.edges[0] > _FOLLOWED:
        return [None] * (len(layout.edges) - 1)
    changes = [0] * (len(layout.edges) - 1)
    for part in parts:
        for piece in part.pieces:
            changes[piece.bucket] += piece.brought - piece.evicted
    pages: set[tuple[int, int]] = set()
    for bucket, bounds in enumerate(pairwise(layout.edges)):
        before = len(pages)
        for _, op, file, offset, size in db.execute(_in_order(followed), bounds * 2) if followed else ():
            span = pages_of(offset, size, layout.page_size)
            if op in (READ, PUSH, WRITE):
                pages.update([(file, page) for page in span])
            else:
                pages.difference_update([(file, page) for page in span])
            changes[bucket] -= len(span) if op == READ else -len(span) if op == EVICT else 0  # not by sums
        changes[bucket] += len(pages) - before
    return list(accumulate(changes))


def _in_order(files: Iterable[int]) -> str:
    """serial, op, file, offset and size of what brought pages of `files` in or took them out; serial numbers twice."""
    within = f"serial >= ? AND serial < ? AND file IN ({','.join(map(str, files))})"
    return (
        f"SELECT serial, op, file, offset, size FROM requests WHERE errno = 0 AND direct = 0 AND {within}"  # noqa: S608
        f" UNION ALL SELECT serial, {EVICT}, file, offset, size FROM evictions WHERE {within} ORDER BY serial"
    )
