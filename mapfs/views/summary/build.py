"""From a trace to its summary: the scan, and then what each of the other modules makes of it."""

import sqlite3
from collections import Counter

from mapfs.views.spread import spread
from mapfs.views.summary import evidence, rows, timeline
from mapfs.views.summary.longest import longest_of
from mapfs.views.summary.model import Summary
from mapfs.views.summary.part import Layout
from mapfs.views.summary.scan import scan


def summarise(db: sqlite3.Connection) -> Summary:
    """Asks the trace. Raises TraceError where another process that reads part of it fails."""
    mountpoint, page_size, readahead, tier = db.execute(
        "SELECT mountpoint, page_size, readahead, evidence FROM mount"
    ).fetchone()
    lost = dict(db.execute("SELECT what, sum(count) FROM losses GROUP BY what"))
    sight = evidence.Sight(db, tier, lost.get("samples", 0))
    seen, kernel = tier != evidence.REQUESTS, tier == evidence.KERNEL
    start, end = timeline.span_of(db)
    threads, files = db.execute(
        "SELECT ifnull((SELECT max(id) FROM threads), 0), ifnull((SELECT max(id) FROM files), 0)"
    ).fetchone()
    layout = Layout(page_size, _common(db, page_size), threads, files, seen, timeline.edges_of(db, start, end))
    parts = spread(scan, db, layout, layout.edges[0], layout.edges[-1])
    found = rows.found_in(parts)
    processes, _ = rows.threads_of(db)
    readaheads, pushes = evidence.unasked_of(db, page_size, parts, sight)
    times = timeline.timeline_of(db, layout, parts, start, timeline.width_of(end - start), kernel=kernel)
    return Summary(
        mountpoint=mountpoint,
        page_size=page_size,
        readahead=readahead,
        span_ns=end - start,
        lost=lost.get("events", 0),
        lost_samples=sight.lost_samples,
        evidence=tier,
        unknown=sight.unknown(),
        total=rows.counts_of((kind, group) for _, _, kind, group in found),
        files=rows.files_of(db, parts, found, page_size, kernel=kernel),
        processes=rows.processes_of(db, parts, found, sight),
        timeline=times if found else None,
        sharing=evidence.sharing_of(parts, processes) if seen else None,
        joined=evidence.joined_of(parts) if seen else None,
        readaheads=readaheads,
        pushes=pushes,
        held_back=evidence.held_back_of(db) if kernel else None,
        evicted=sum(sum(part.evicted.values()) for part in parts) if kernel else None,
        longest=longest_of(db, layout, parts),
    )


def _common(db: sqlite3.Connection, page_size: int) -> int:
    """The size of most of a thousand requests, or a page."""
    sizes = db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)"
        " SELECT (SELECT size FROM requests WHERE serial >= (SELECT max(serial) FROM requests) * i / 1000"
        " ORDER BY serial LIMIT 1) FROM n"
    )
    ((size, _),) = Counter(size for (size,) in sizes).most_common(1)
    return size if size and not size % page_size else page_size
