"""The labels of many files: read when a file is first asked for, kept, and read again when its backing changed.

`Book` knows files by their specs. `EventLabels`, `TraceLabels` and `MountLabels` know which spec an event is of, and
since when the backing must be what it is now for its labels to be those of what was demanded.
"""

import contextlib
import os
import sqlite3
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from mapfs.trace.events import Event
from mapfs.trace.labels import labels_of_descriptor
from mapfs.trace.labels.backing import Backing, backing_of, open_backing
from mapfs.trace.labels.ranges import Labels

_MOST_FILES = 10_000
_MOST_RANGES = 4_000_000  # of all files: 100 MB
_LOOK_AGAIN = 1.0  # seconds between two looks at a backing
_PATIENCE = 10  # how many times as long as it took to read it, at least, before it is read again
_SPEC = "user.mapfs.spec"

_Signature = tuple[int, int, int, int, int]


@dataclass(slots=True)
class _Kept:
    backing: Backing | None
    labels: Labels | None
    signature: _Signature | None
    changed_ns: int
    look_at: float


_FILE = """
    SELECT file FROM requests WHERE serial = :serial UNION ALL SELECT file FROM faults WHERE serial = :serial
    UNION ALL SELECT file FROM evictions WHERE serial = :serial"""


class Book:
    """Labels by spec."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._ranges = 0

    def labels(self, spec: str, size: int, since_ns: int, *, until_ns: int | None = None) -> Labels | None:
        """Those of the file that `spec` serves, if it has `size` bytes and was not changed by others after `since_ns`,
        nor by anybody after `until_ns` (Unix time). Of a file that the mount may write, only the second can be told.
        Never raises.
        """
        kept = self._kept.get(spec)
        now = time.monotonic()
        if kept is None or now >= kept.look_at:
            kept = self._look(spec, kept, now)
        self._kept.move_to_end(spec)
        if kept.labels is None or kept.backing is None or kept.labels.size != size:
            return None
        if not kept.backing.writable and kept.changed_ns > since_ns:
            return None
        return kept.labels if until_ns is None or kept.changed_ns <= until_ns else None

    def _look(self, spec: str, kept: _Kept | None, now: float) -> _Kept:
        backing = kept.backing if kept is not None else backing_of(spec)
        if backing is None:
            return self._keep(spec, _Kept(None, None, None, 0, float("inf")))
        try:
            fd = open_backing(backing.path)
        except OSError:
            return self._keep(spec, _Kept(backing, None, None, 0, now + _LOOK_AGAIN))
        try:
            status = os.fstat(fd)
            signature = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if kept is not None and kept.signature == signature:
                kept.look_at = now + _LOOK_AGAIN
                return kept
            labels = labels_of_descriptor(fd)
        finally:
            os.close(fd)
        took = time.monotonic() - now
        changed = max(status.st_mtime_ns, status.st_ctime_ns)
        look_at = now + took + max(_LOOK_AGAIN, _PATIENCE * took)
        return self._keep(spec, _Kept(backing, labels, signature, changed, look_at))

    def _keep(self, spec: str, kept: _Kept) -> _Kept:
        self._forget(spec)
        self._kept[spec] = kept
        self._ranges += len(kept.labels or ())
        while len(self._kept) > 1 and (len(self._kept) > _MOST_FILES or self._ranges > _MOST_RANGES):
            self._forget(next(iter(self._kept)))
        return kept

    def _forget(self, spec: str) -> None:
        old = self._kept.pop(spec, None)
        self._ranges -= len(old.labels or ()) if old is not None else 0


class EventLabels:
    """The labels of events as they come, in the recorder: each tells its file."""

    def __init__(self, wall_offset: int) -> None:
        self._book = Book()
        self._wall_offset = wall_offset
        self._first: dict[int, int] = {}

    def label(self, event: Event) -> str | None:
        """What the bytes of `event` hold."""
        file = event.file
        first_ns = self._first.setdefault(file.id, event.time_ns + self._wall_offset)
        labels = self._book.labels(file.spec, file.size, first_ns)
        return labels.over(event.offset, event.size) if labels is not None else None


class TraceLabels:
    """The labels of the files of a trace. Of several versions of a file the newest has them, as it is on the disk: so
    it must not have changed since it was first demanded.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        ended = connection.execute("SELECT ended_ns - monotonic_ns + wall_ns FROM mount").fetchone()
        self._ended_ns: int | None = ended[0] if ended is not None else None
        self._book = Book()
        self._newest: dict[int, tuple[str, str, int]] = {}
        self._first: dict[int, int] = {}
        self._looked_to = 0  # the serial number up to which requests are in it
        self._look_at = 0.0

    def newest(self) -> dict[int, str]:
        """The newest version of each file: its id, and the file's path in the mount."""
        rows = self._db.execute("SELECT max(id), path, spec, size FROM files GROUP BY path")  # a bare column is its own
        self._newest = {file: (path, spec, size) for file, path, spec, size in rows}
        self._look_at = time.monotonic() + _LOOK_AGAIN
        return {file: path for file, (path, _, _) in self._newest.items()}

    def of(self, file: int) -> Labels | None:
        """The labels of the version `file`; None where it has none, or there is a newer one."""
        if time.monotonic() >= self._look_at:  # the trace may still be written
            self.newest()
        known = self._newest.get(file)
        if known is None:
            return None
        if file not in self._first:
            self._find_first()
        _, spec, size = known
        return self._book.labels(spec, size, self._first.get(file, 0), until_ns=self._ended_ns)

    def _find_first(self) -> None:
        """When each file was first demanded, in what came since the last look: a trace that is followed grows."""
        (newest,) = self._db.execute("SELECT coalesce(max(serial), 0) FROM requests").fetchone()
        for file, first_ns in self._db.execute(_FIRST, (self._looked_to, newest)):
            self._first.setdefault(file, first_ns)
        self._looked_to = newest

    def fill(self, event: dict[str, Any]) -> dict[str, Any]:
        """`event` of the trace, with its label."""
        if event["op"] != "lost":
            (file,) = self._db.execute(_FILE, {"serial": event["serial"]}).fetchone()
            labels = self.of(file)
            event["label"] = labels.over(event["offset"], event["size"]) if labels is not None else None
        return event


_FIRST = """
    SELECT r.file, min(r.time_ns) - m.monotonic_ns + m.wall_ns FROM requests r CROSS JOIN mount m
    WHERE r.serial > ? AND r.serial <= ? GROUP BY r.file"""


class MountLabels:
    """The labels of the files of a running mount, which is asked for their specs and sizes, not for their content. Its
    events do not tell versions apart: a file must not have changed since the event.
    """

    def __init__(self, mount: str) -> None:
        self._mount = mount
        self._book = Book()
        self._known: dict[str, tuple[str, int, float]] = {}

    def fill(self, event: dict[str, Any]) -> dict[str, Any]:
        """`event` of the mount, with its label."""
        if event["op"] != "lost":
            spec, size = self._file(event["file"])
            labels = self._book.labels(spec, size, event["wall_ns"])
            event["label"] = labels.over(event["offset"], event["size"]) if labels is not None else None
        return event

    def _file(self, name: str) -> tuple[str, int]:
        now = time.monotonic()
        spec, size, look_at = self._known.get(name, ("", 0, 0.0))
        if now >= look_at:
            spec, size = served(self._mount, name)
            if len(self._known) >= _MOST_FILES:
                self._known.clear()
            self._known[name] = spec, size, now + _LOOK_AGAIN
        return spec, size


def served(mount: str, name: str) -> tuple[str, int]:
    """Spec and size of the file `name` in a running mount. The spec is `?` where the file is gone or tells none, or has
    another mtime than what lies at the path of its spec now: that took its place, and is not what the mount serves.
    """
    spec, size = "?", 0
    with contextlib.suppress(OSError):
        status = os.stat(os.path.join(mount, name))
        size = status.st_size
        told = os.getxattr(os.path.join(mount, name), _SPEC).decode("utf-8", "backslashreplace")
        backing = backing_of(told)
        if backing is None or os.stat(backing.path).st_mtime_ns == status.st_mtime_ns:
            spec = told
    return spec, size
