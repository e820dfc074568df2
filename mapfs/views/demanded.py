"""Who demanded how many pages of what, while the mount goes on: what a limit on a test is held against.

The trace is read once it has all that happened before it was asked for. The sums are those of `mapfs summary`.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from mapfs.errors import TraceError
from mapfs.trace.events import READ
from mapfs.trace.reader import has_ended, mount_events, newest_serial, reading
from mapfs.views.budget import shares
from mapfs.views.lines import visible
from mapfs.views.summary.part import in_pages

_WITHIN = 30.0  # seconds that the recorder may take to write what it has
_PAUSE = 0.005  # seconds between two looks
_MOST = 10  # files, and processes, that a sentence names


@dataclass(frozen=True, slots=True)
class Demand:
    """What one process read of one file: pages for the first time, and again. None: a process that is not known."""

    file: str
    pid: int | None
    command: str | None
    pages: int
    refaults: int

    @property
    def who(self) -> str:
        """`python3/1234`."""
        return "?" if self.pid is None else f"{visible(self.command or '?')}/{self.pid}"


@dataclass(frozen=True, slots=True)
class Demanded:
    """All demands of a mount; `lost` events are in none of them."""

    demands: list[Demand]
    lost: int


def demanded(mount: str, trace: str) -> Demanded:
    """What was demanded from `mount`, which records `trace`, up to now, or to its end.

    Raises TraceError where the trace does not have it within half a minute.
    """
    with reading(trace) as recorded:
        db = recorded.connection
        _wait(db, mount, trace)
        (lost,) = db.execute("SELECT ifnull(sum(count), 0) FROM losses WHERE what = 'events'").fetchone()
        return Demanded([*_rows(db)], lost)


def explain(demands: list[Demand], *, again: bool) -> tuple[int, list[str]]:
    """How many pages, for the first time or `again`, and two texts: of which files, and by which processes."""
    files, processes = Counter[str](), Counter[str]()
    for one in demands:
        files[one.file] += one.refaults if again else one.pages
        processes[one.who] += one.refaults if again else one.pages
    texts = []
    for counted in (files, processes):
        ordered = sorted((-number, name) for name, number in counted.items() if number)
        texts.append(shares([(name, -number) for number, name in ordered], _MOST))
    return files.total(), texts


def _wait(db: sqlite3.Connection, mount: str, trace: str) -> None:
    """Until the trace has what the mount has now; of a mount that has ended, until the trace is complete."""
    try:
        events = mount_events(mount, follow=False)
        newest = sum(one["count"] if one["op"] == "lost" and not one["samples"] else 1 for one in events)
    except TraceError:  # nobody answers there any more
        newest = None
    end = time.monotonic() + _WITHIN
    while not (has_ended(db) if newest is None else newest_serial(db) >= newest):
        if time.monotonic() > end:
            raise TraceError(f"{trace} lacks events that {mount} has; look whether its disk is full")
        time.sleep(_PAUSE)


def _rows(db: sqlite3.Connection) -> Iterator[Demand]:
    (page_size,) = db.execute("SELECT page_size FROM mount").fetchone()
    rows = db.execute(
        f"SELECT coalesce(f.path, '?'), t.pid, t.command, sum({in_pages(page_size, 'r')} - r.refaults),"  # noqa: S608
        " sum(r.refaults) FROM requests r LEFT JOIN files f ON f.id = r.file LEFT JOIN threads t ON t.id = r.thread"
        " WHERE r.op = ? AND r.errno = 0 AND r.direct = 0 GROUP BY 1, t.pid, t.started",
        (READ,),
    )
    return (Demand(*row) for row in rows)
