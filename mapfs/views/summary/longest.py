"""The longest waits: found without sorting all, since the scan knows the longest of each piece of the trace."""

import sqlite3
from collections.abc import Sequence
from heapq import nlargest
from itertools import chain

from mapfs.errors import errno_name
from mapfs.trace.events import READ
from mapfs.views.summary.model import Wait
from mapfs.views.summary.part import Layout, Part, in_pages

_MOST = 10

_ROW = """
    SELECT e.time_ns, e.class, coalesce(f.path, '?'), e.offset / {size}, {pages}, t.pid, t.command, e.wait_ns,
        {total}, {errno}, e.serial
    FROM {table} e LEFT JOIN files f ON f.id = e.file LEFT JOIN threads t ON t.id = e.thread WHERE {which}"""


def longest_of(db: sqlite3.Connection, layout: Layout, parts: Sequence[Part]) -> list[Wait]:
    """The longest first; of equal ones the earlier. Reads that somebody waited for, and waits for others' requests."""
    runs = [g.waits[-_MOST:] for part in parts for (_, _, kind), g in part.groups.items() if _waited(kind)]
    largest = nlargest(_MOST, chain.from_iterable(runs))
    ahead = "AND e.class IS NOT 'AHEAD'" if layout.seen else ""
    read = f"e.serial >= ? AND e.serial < ? AND e.op = {READ} AND e.wait_ns >= ? {ahead}"
    order = f"ORDER BY e.wait_ns DESC, e.serial LIMIT {_MOST}"
    rows = [
        row
        for part in parts
        for piece in part.pieces
        if largest and piece.longest >= largest[-1]
        for row in db.execute(
            _query("requests", layout, "e.total_ns", "e.errno", f"{read} {order}"),
            (piece.first, piece.end, largest[-1]),
        )
    ]
    if layout.seen:
        joined = f"e.class = 'JOINED' AND e.wait_ns IS NOT NULL {order}"
        rows += db.execute(_query("faults", layout, "e.total_ns", "0", joined))
    rows.sort(key=lambda row: (-row[7], row[10]))
    named = [(*values, errno_name(number) if number else None) for *values, number, _ in rows[:_MOST]]
    return [Wait(*values) for values in named]


def _waited(kind: int) -> bool:
    return kind >> 3 == READ and not kind & 1


def _query(table: str, layout: Layout, total: str, errno: str, which: str) -> str:
    pages = in_pages(layout.page_size, "e")
    return _ROW.format(table=table, size=layout.page_size, pages=pages, total=total, errno=errno, which=which)
