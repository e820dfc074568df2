"""Facts and events to try things with; what a test does not say is arbitrary."""

import sqlite3
import tempfile
from contextlib import closing
from typing import Any

import msgspec

from mapfs.trace.columns import Columns
from mapfs.trace.events import COLD, READ, Event
from mapfs.trace.facts import FileFact, MountFact, ThreadFact
from mapfs.views.summary import Summary, summarise
from mapfs.views.summary.arrays import scan_columns
from mapfs.views.summary.part import Layout

MOUNT = MountFact("/mnt/x", "0.1", "own", 4096, 0, 77, monotonic_ns=1_000, wall_ns=5_000_000_000_001_000)
WALL_OFFSET = MOUNT.wall_ns - MOUNT.monotonic_ns
FILE = FileFact(1, 2, "a/b", "pages:8p", 32768, 1)
THREAD = ThreadFact(1, 101, "worker", 100, 5, "python3", "python3 -c pass", None, 1000)

_EVENT = Event(
    serial=1,
    time_ns=2_000,
    wait_ns=300,
    op=READ,
    cls=COLD,
    file=FILE,
    offset=0,
    size=4096,
    thread=THREAD,
    thread_key=THREAD.key,
    tid=101,
    errno=0,
    reason=None,
    refaults=0,
    direct=False,
    unique=8,
)


def event(serial: int, **changes: Any) -> Event:
    """An event like any other but for `changes`."""
    if "thread" in changes:
        changes["thread_key"] = changes["thread"].key if changes["thread"] else 0
    return msgspec.structs.replace(_EVENT, serial=serial, **changes)


def summarised(trace: sqlite3.Connection) -> Summary:
    """The summary of a trace in memory, which is the same however it is read: by rows, or in columns from a file."""
    summary = summarise(trace)
    with tempfile.TemporaryDirectory(prefix="mapfs-test-") as place, closing(sqlite3.connect(f"{place}/t")) as ended:
        trace.backup(ended)
        ended.execute("UPDATE mount SET ended_ns = 1")
        ended.commit()
        with closing(Columns(ended)) as columns:
            first, end = 0, 1 << 60
            layout = Layout(summary.page_size, summary.page_size, 1 << 20, 1 << 20, True, [first, end])
            scan_columns(columns, layout, first, end)  # it does not give up
        assert summarise(ended) == summary, "in columns and by rows"
    return summary
