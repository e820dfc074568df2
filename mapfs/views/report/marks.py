"""The marks of the picture: each event of a short trace, or the cells of a long one; and the longest waits."""

import sqlite3
from collections.abc import Callable
from typing import Any

from mapfs.errors import errno_name
from mapfs.trace.events import EVICT, REQUESTS
from mapfs.trace.labels.book import Book, TraceLabels
from mapfs.trace.labels.ranges import Labels
from mapfs.views.report.grid import Layout
from mapfs.views.report.kinds import EVICT_, kind_got, kind_of
from mapfs.views.report.model import Cells, Exact, Wait
from mapfs.views.report.part import Part, pages_of
from mapfs.views.report.tables import Names

EXACTLY = 20_000  # events that are drawn one by one

Labeller = Callable[[int], Labels | None]

_EVENTS = """
    SELECT serial, time_ns, wait_ns, total_ns, op, class, file, offset, size, thread, tid, errno, direct,
        NULL AS by_thread, (SELECT text FROM reasons WHERE id = reason) AS reason FROM requests {0}
    UNION ALL SELECT serial, time_ns, wait_ns, total_ns, op, class, file, offset, size, thread, tid, 0, 0,
        by_thread, NULL FROM faults {0}
    UNION ALL SELECT serial, time_ns, NULL, NULL, 7, NULL, file, offset, size, thread, tid, 0, 0,
        NULL, NULL FROM evictions {0}
    ORDER BY serial"""


def exact_marks(db: sqlite3.Connection, layout: Layout, names: Names, labels: Labeller | None) -> Exact:
    """Each event, in the order of the trace."""
    marks = Exact([], [], [], [], [], [], [], [], [], [], [], [])
    for row in db.execute(_EVENTS.format("")):
        for name, value in _event(row, layout, names, labels).items():
            getattr(marks, name).append(value)
    return marks


def longest_waits(db: sqlite3.Connection, part: Part, names: Names, labels: Labeller | None) -> list[Wait]:
    """The longest first."""
    serials = ",".join(str(serial) for _, serial in part.longest)
    rows = {row[0]: row for row in db.execute(_EVENTS.format(f"WHERE serial IN ({serials})"))}
    events = [_event(rows[serial], part.grid.layout, names, labels) for _, serial in part.longest]
    return [
        Wait(
            one["time"], one["kind"], one["file"], one["page"], one["pages"], one["label"], one["process"], one["tid"],
            one["wait"], one["total"], one["error"],
        )
        for one in events
    ]  # fmt: skip


def _event(row: tuple[Any, ...], layout: Layout, names: Names, labels: Labeller | None) -> dict[str, Any]:
    _, time_ns, wait_ns, total_ns, op, cls, file, offset, size, thread, tid, errno, direct, by, reason = row
    known = labels(file) if labels is not None else None
    kind = kind_of(op, cls, errno, direct) if op in REQUESTS else EVICT_ if op == EVICT else kind_got(cls)
    return {
        "time": time_ns - layout.start_ns,
        "wait": wait_ns,
        "total": total_ns,
        "file": names.file[file],
        "page": offset // layout.page_size,
        "pages": pages_of(offset, size, layout.page_size),
        "kind": kind,
        "process": names.process(thread),
        "tid": tid or None,
        "by": names.process(by) if by is not None else None,
        "label": known.over(offset, size) if known is not None else None,
        "error": f"{errno_name(errno)}: {reason or '?'}" if errno else None,
    }


def cell_marks(part: Part, names: Names) -> Cells:
    """The cells, file by file, each row by row."""
    shown = sorted(part.grid.shown(), key=lambda one: (one.lane, one.row, one.column, one.kind))
    layout = part.grid.layout
    file_of = {lane: names.file[file] for file, lane in layout.lanes.items() if file in names.file}
    process_of = {colour: names.thread[t] for t, colour in layout.colours.items() if t in names.thread}
    ids = {names.file[file]: file for file in sorted(layout.lanes) if file in names.file}
    return Cells(
        row_ns=layout.height_ns,
        width=[layout.width(ids[row]) if row in ids else 0 for row in range(len(names.files))],
        file=[file_of[one.lane] for one in shown],
        column=[one.column for one in shown],
        row=[one.row for one in shown],
        kind=[one.kind for one in shown],
        process=[process_of.get(one.colour) for one in shown],
        count=[one.count for one in shown],
        own=[one.own for one in shown],
    )


def labeller(db: sqlite3.Connection, layout: Layout, *, each: bool) -> Labeller:
    """The labels of files by their ids. Of a long trace (not `each`) a file has them if it was not changed since the
    trace began: to find out when it was first demanded would take another pass.
    """
    if each:
        return TraceLabels(db).of
    newest = TraceLabels(db).newest()
    book = Book()
    start, ended = db.execute(
        "SELECT ? - monotonic_ns + wall_ns, ended_ns - monotonic_ns + wall_ns FROM mount", (layout.start_ns,)
    ).fetchone()
    specs = {file: (spec, size) for file, spec, size in db.execute("SELECT id, spec, size FROM files")}
    return lambda file: book.labels(*specs[file], start, until_ns=ended) if file in newest else None
