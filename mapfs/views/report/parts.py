"""The pass over the trace: how it is cut and laid out, and what its parts are together."""

import sqlite3
from collections import Counter
from collections.abc import Sequence

from mapfs.trace.events import READ
from mapfs.views.report.grid import COLOURS, LANES, Layout, row_of, widths_of
from mapfs.views.report.part import Part, longest_of
from mapfs.views.report.scan import scan
from mapfs.views.spread import spread

# one SELECT of both would look at all rows
_ENDS = "SELECT ifnull((SELECT min(serial) FROM {0}), 0), ifnull((SELECT max(serial) FROM {0}), 0)"
# all events of a short trace, or some thousands that are spread over a long one
_SPREAD = """
    WITH RECURSIVE bounds AS (SELECT max(serial) AS newest, max(1, max(serial) / 20000) AS step FROM {table}),
        places(serial) AS (SELECT 1 UNION ALL SELECT serial + step FROM places, bounds WHERE serial + step <= newest)
    SELECT {column}, count(*) FROM places CROSS JOIN {table} USING (serial) GROUP BY 1"""


def span_of(db: sqlite3.Connection) -> tuple[int, int]:
    """From the first event to the last answer, CLOCK_MONOTONIC; 0 and 0 of a trace without events."""
    first, last = db.execute(
        "SELECT min(first), max(last) FROM (SELECT min(time_ns) AS first, max(time_ns + wait_ns) AS last FROM requests"
        " UNION ALL SELECT min(time_ns), max(time_ns) FROM faults"
        " UNION ALL SELECT min(time_ns), max(time_ns) FROM evictions)"
    ).fetchone()
    return first or 0, last or 0


def scan_all(db: sqlite3.Connection, span: tuple[int, int]) -> Part:
    """The whole trace. Raises TraceError where another process that reads part of it fails."""
    ends = [db.execute(_ENDS.format(table)).fetchone() for table in ("requests", "faults", "evictions")]
    first, newest = min(one[0] for one in ends), max(one[1] for one in ends)
    return _together(spread(scan, db, _layout(db, span), first, newest + 1))


def _together(parts: Sequence[Part]) -> Part:
    whole, *others = parts
    for part in others:
        whole.grid.add(part.grid)
        for group, sums in part.groups.items():
            whole.groups[group].add(sums)
        whole.sharing.update(part.sharing)
        whole.pages.update(part.pages)
        whole.again.update(part.again)
        whole.longest = longest_of(whole.longest + part.longest)
    return whole


def _layout(db: sqlite3.Connection, span: tuple[int, int]) -> Layout:
    page_size = db.execute("SELECT page_size FROM mount").fetchone()[0]
    sizes = db.execute("SELECT id, size FROM files").fetchall()
    threads = db.execute("SELECT ifnull(max(id), 0) FROM threads").fetchone()[0]
    plain = _common(db, page_size)
    return Layout(
        page_size=page_size,
        plain_size=plain,
        start_ns=span[0],
        row_ns=row_of(span[1] - span[0]),
        file_bits=max((file for file, _ in sizes), default=0).bit_length(),
        thread_bits=threads.bit_length(),
        widths=widths_of(sizes, page_size, plain),
        lanes=_busiest(db, "file", "SELECT id, path FROM files", LANES),
        colours=_busiest(db, "thread", "SELECT id, pid || ' ' || started || ' ' || command FROM threads", COLOURS),
    )


def _busiest(db: sqlite3.Connection, column: str, names: str, most: int) -> dict[int, int]:
    """The places of the files or threads, by id, whose names most events have, by a look at some of them; ids
    of one name have one place.
    """
    name_of = dict(db.execute(names))
    counts: Counter[str] = Counter()
    for table in ("requests", "faults"):
        for one, count in db.execute(_SPREAD.format(table=table, column=column)):
            if one in name_of:
                counts[name_of[one]] += count
    places = {name: place for place, (name, _) in enumerate(counts.most_common(most))}
    return {one: places[name] for one, name in name_of.items() if name in places}


def _common(db: sqlite3.Connection, page_size: int) -> int:
    """The size of most of a thousand requests all over the trace, if it is whole pages; else a page."""
    sizes = db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)"
        " SELECT (SELECT size FROM requests WHERE op = ? AND"
        " serial >= (SELECT max(serial) FROM requests) * i / 1000 ORDER BY serial LIMIT 1) FROM n",
        (READ,),
    )
    ((size, _),) = Counter([size for (size,) in sizes]).most_common(1)
    return size if size and not size % page_size else page_size
