"""Where the events come from: a thread that reads a running mount, or a trace, ahead of what is shown.

What it read waits in a queue with an end: when that is full the thread waits, and a mount's ring holds the newest
events meanwhile; what the ring cannot hold comes as `lost`, counted. Of a running mount nothing else is asked but,
once, the size of each file, and for labels, once a second while it is demanded, what it is made of.
"""

import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from mapfs.errors import TraceError, reason_of
from mapfs.trace.labels.book import MountLabels, TraceLabels
from mapfs.trace.reader import has_ended, is_mount, mount_events, mount_stats, reading, trace_events
from mapfs.views.live.model import Mount

MOST_WAITING = 20_000  # events
_MOST_SIZES = 20_000  # files
_LOOK_AGAIN = 0.05  # seconds between two looks at a trace that is still written, each of which takes 60 us
_MOUNTED_WITHIN = 5.0  # seconds until a trace that is being made says of which mount it is


class Feed:
    """Reads `target`, a mount or a trace, from `start()` on. Raises TraceError where it is neither. With `follow` a
    trace is not played: what it has is there at once, and what is still written as it comes, until the mount ends,
    which is said as `ended`.
    """

    def __init__(
        self, target: str, *, labels: bool = True, follow: bool = False, ended: str = "the mount has ended"
    ) -> None:
        self.target = target
        self.waiting: deque[dict[str, Any]] = deque()
        #: Why there is no more: a sentence; None while there may be.
        self.ended: str | None = None
        self.failed = False
        self._labels = labels
        self._end = ended
        self.is_trace = not is_mount(target)
        #: It has a clock of its own, and is played by it.
        self.recorded = self.is_trace and not follow
        #: Of a trace, from its first event to its last, ns.
        self.length_ns = 0
        if self.is_trace:
            self.mount, self.length_ns = _of_trace(target, within=_MOUNTED_WITHIN if follow else 0.0)
        else:
            self.mount = _of_mount(target)
        self._sizes: dict[str, int | None] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="feed", daemon=True
        )  # it may wait for the mount for ever

    def start(self) -> None:
        """Begins to read."""
        self._thread.start()

    def stop(self) -> None:
        """Reads no more. Of a mount where nothing happens, the thread waits on."""
        self._stop.set()

    def size_of(self, file: str) -> int | None:
        """Bytes, of a file that an event named."""
        return self._sizes.get(file)

    def _run(self) -> None:
        try:
            if self.is_trace:
                self._read_trace()
            else:
                self._read_mount()
        except Exception as error:
            self.failed = True
            self.ended = reason_of(error)

    def _read_mount(self) -> None:
        label = MountLabels(self.target).fill if self._labels else _as_it_is
        with closing(_iterator(mount_events(self.target, follow=True))) as events:
            for event in map(label, events):
                name = event.get("file")
                if name is not None and name not in self._sizes:
                    self._keep_size(name, _size_in(self.target, name))
                if not self._put(event):
                    return
        self.ended = self._end

    def _read_trace(self) -> None:
        with reading(self.target) as trace:
            connection = trace.connection
            label = TraceLabels(connection).fill if self._labels else _as_it_is
            last = 0
            while True:
                ended = has_ended(connection)
                for event in map(label, trace_events(connection, last)):
                    last = event["serial"]
                    name = event.get("file")
                    if name is not None and name not in self._sizes:
                        self._keep_size(name, _size_recorded(connection, name))
                    if not self._put(event):
                        return
                if ended:
                    self.ended = "the trace ends here" if self.recorded else self._end
                    return
                if self._stop.wait(_LOOK_AGAIN):
                    return

    def _keep_size(self, name: str, size: int | None) -> None:
        if len(self._sizes) >= _MOST_SIZES:
            self._sizes.clear()
        self._sizes[name] = size

    def _put(self, event: dict[str, Any]) -> bool:
        """False where nobody wants any more."""
        while len(self.waiting) >= MOST_WAITING:
            if self._stop.wait(0.005):
                return False
        self.waiting.append(event)
        return not self._stop.is_set()


def _as_it_is(event: dict[str, Any]) -> dict[str, Any]:
    return event


def _iterator(events: Iterator[dict[str, Any]]) -> Any:
    """Which can be closed, being a generator."""
    return events


def _size_in(mount: str, name: str) -> int | None:
    try:
        return os.stat(os.path.join(mount, name)).st_size
    except (OSError, ValueError):  # gone, or a name that is no text
        return None


def _size_recorded(connection: sqlite3.Connection, name: str) -> int | None:
    row = connection.execute("SELECT max(id), size FROM files WHERE path = ?", (name,)).fetchone()
    return row[1] if row else None


_MOUNT = "SELECT mountpoint, page_size, evidence, readahead FROM mount"
_SPAN = """
    SELECT coalesce((SELECT time_ns FROM requests ORDER BY serial LIMIT 1), 0),
        coalesce((SELECT time_ns FROM requests ORDER BY serial DESC LIMIT 1), 0)"""


def _of_mount(target: str) -> Mount:
    stats = mount_stats(target)
    return Mount(target, stats["page_size"], stats["evidence"], stats["readahead"])


def _of_trace(target: str, *, within: float) -> tuple[Mount, int]:
    """The mount, and the span of its events, ns; `within`: seconds for the recorder to say what it records."""
    end = time.monotonic() + within
    with reading(target) as trace:
        connection = trace.connection
        while (row := connection.execute(_MOUNT).fetchone()) is None and time.monotonic() < end:
            time.sleep(_LOOK_AGAIN)
        first, last = connection.execute(_SPAN).fetchone()
    if row is None:
        raise TraceError(f"{target} holds no mount: nothing was recorded")
    return Mount(*row), max(0, last - first)
