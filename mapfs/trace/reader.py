"""Reading what was recorded: a trace file, or a running mount, through the same few calls.

A running mount is read from its `.mapfs/events` into a trace in memory, so that every view is a query on the
tables of docs/TRACE.md. What a trace from a stranger holds is data: the file is opened read-only, and is
refused unless it says that it is a trace.
"""

import contextlib
import errno
import itertools
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from mapfs.errors import TraceError, errno_name, reason_of
from mapfs.trace.events import OPS, Event, Lost
from mapfs.trace.facts import FileFact, MountFact, ThreadFact
from mapfs.trace.labels.book import served
from mapfs.trace.store import APPLICATION_ID, FORMAT, Store

EVENTS = os.path.join(".mapfs", "events")
STATS = os.path.join(".mapfs", "stats")
_PIECE = 1 << 17
_GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV)  # what a mount without its daemon answers


@dataclass(frozen=True, slots=True)
class Reading:
    """An opened trace. `note` is a sentence on what it cannot show, if there is something."""

    connection: sqlite3.Connection
    note: str | None = None


def is_mount(target: str) -> bool:
    """Whether `target` is the root of a mount. Raises TraceError where it does not exist or does not answer."""
    try:
        os.stat(target)
        os.stat(os.path.join(target, EVENTS))
    except NotADirectoryError:
        return False
    except FileNotFoundError:
        if os.path.isdir(target):
            raise TraceError(f"{target} is a directory, but no mapfs mount") from None
        raise TraceError(f"{target} does not exist; give a trace (mapfs mount --trace FILE) or a mount") from None
    except OSError as error:
        raise _silent(target, error) from error
    return True


def _silent(mount: str, error: Exception) -> TraceError:
    """The sentence for a mount that does not answer."""
    remedy = f"; clean up with mapfs umount {mount}" if getattr(error, "errno", None) in _GONE else ""
    return TraceError(f"{mount} does not answer: {reason_of(error)}{remedy}")


def open_trace(target: str) -> Reading:
    """The trace file or running mount `target`. Raises TraceError where it is neither."""
    return _of_mount(target) if is_mount(target) else Reading(_of_file(target))


def mount_stats(mount: str) -> dict[str, Any]:
    """What `.mapfs/stats` says. Raises TraceError where nobody answers."""
    try:
        with open(os.path.join(mount, STATS), "rb") as file:
            stats = msgspec.json.decode(file.read())
    except (OSError, msgspec.DecodeError) as error:
        raise _silent(mount, error) from error
    assert isinstance(stats, dict)
    return stats


def mount_events(mount: str, *, follow: bool) -> Iterator[dict[str, Any]]:
    """The events of a running mount, as docs/TRACE.md has them; with `follow`, until it is unmounted."""
    flags = os.O_RDONLY | os.O_CLOEXEC | (0 if follow else os.O_NONBLOCK)
    try:
        fd = os.open(os.path.join(mount, EVENTS), flags)
    except OSError as error:
        raise _silent(mount, error) from error
    rest = b""
    try:
        while True:
            try:
                piece = os.read(fd, _PIECE)
            except BlockingIOError:  # the plain link answers a reader that waits once a second
                continue
            except OSError as error:
                if error.errno in (*_GONE, errno.EIO) and follow:
                    return  # unmounted
                raise _silent(mount, error) from error
            if not piece:
                return
            *lines, rest = (rest + piece).split(b"\n")
            yield from map(msgspec.json.decode, lines)
    finally:
        with contextlib.suppress(OSError):  # closing asks the daemon too, which may be gone
            os.close(fd)


def trace_events(connection: sqlite3.Connection, after: int = 0) -> Iterator[dict[str, Any]]:
    """The events of a trace past the serial number `after`, with the keys of docs/TRACE.md and `serial`."""
    rows = connection.execute(_EVENTS, (after,))  # first: what is committed meanwhile is then in neither
    losses = connection.execute(
        "SELECT serial, count FROM losses WHERE serial > ? ORDER BY serial", (after,)
    ).fetchall()
    for row in rows:
        serial, number, direct, *values = row
        while losses and losses[0][0] <= serial:
            yield _lost(*losses.pop(0))
        event = dict(zip(_KEYS, values, strict=True))
        event["op"] = OPS.get(event["op"], "?")
        event["via"] = "?"
        event["direct"] = bool(direct)
        event["error"] = errno_name(number) if number else None
        event.update(by=None, label=None, serial=serial)
        yield event
    for loss in losses:
        yield _lost(*loss)


def _lost(serial: int, count: int) -> dict[str, Any]:
    return {"op": "lost", "count": count, "skipped": False, "serial": serial}


_KEYS = (
    "time_ns", "wall_ns", "op", "class", "file", "offset", "size", "page", "pages", "tid", "pid", "command",
    "container", "wait_ns", "refaults", "reason",
)  # fmt: skip
_EVENTS = """
    SELECT r.serial, r.errno, r.direct, r.time_ns, r.time_ns - m.monotonic_ns + m.wall_ns, r.op, r.class,
        coalesce(f.path, '?'), r.offset, r.size, r.offset / m.page_size,
        max(1, (r.offset + r.size + m.page_size - 1) / m.page_size - r.offset / m.page_size),
        nullif(r.tid, 0), t.pid, t.command, t.container, r.wait_ns, r.refaults, w.text
    FROM requests r CROSS JOIN mount m LEFT JOIN files f ON f.id = r.file LEFT JOIN threads t ON t.id = r.thread
    LEFT JOIN reasons w ON w.id = r.reason WHERE r.serial > ? ORDER BY r.serial"""


def has_ended(connection: sqlite3.Connection) -> bool:
    """Whether the mount of this trace is over."""
    return connection.execute("SELECT ended_ns FROM mount").fetchone() not in ((None,), None)


def _of_file(path: str) -> sqlite3.Connection:
    url = f"file:{quote(os.fsencode(os.path.abspath(path)))}?mode=ro"
    try:
        connection = sqlite3.connect(url, uri=True)
    except sqlite3.Error as error:
        raise TraceError(f"{path} is not a trace: {error}") from error
    try:
        _check(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: str) -> None:
    """Raises TraceError where the database is no trace of this format."""
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise TraceError(f"{path} is not a trace: {error}") from error
    if application != APPLICATION_ID:
        raise TraceError(f"{path} is a SQLite database, but not a trace of mapfs")
    if version != FORMAT:
        raise TraceError(
            f"{path} has the trace format {version}, this mapfs reads {FORMAT}; use the mapfs that wrote it"
        )


def _of_mount(mount: str) -> Reading:
    stats = mount_stats(mount)
    events = mount_events(mount, follow=False)
    first = next(events, None)
    if first is not None and first["op"] == "lost":
        trace = stats.get("trace")
        if trace and os.access(trace, os.R_OK):
            return Reading(_of_file(trace))
    store = Store(":memory:")
    loader = _Loader(store, mount, stats)
    missing = loader.load(first, events)
    note = f"{missing:,} older events have left the ring; mount with --trace FILE to keep them all" if missing else None
    return Reading(store.connection, note)


class _Loader:
    """Turns events in JSON back into rows of a trace in memory."""

    def __init__(self, store: Store, mount: str, stats: dict[str, Any]) -> None:
        self._store = store
        self._mount = mount
        self._files: dict[str, FileFact] = {}
        self._threads: dict[tuple[int, int | None, str | None], ThreadFact] = {}
        names = ("mountpoint", "version", "link", "page_size", "readahead")
        store.fact(
            MountFact(**{name: stats[name] for name in names}, pid=stats["daemon"]["pid"], monotonic_ns=0, wall_ns=0)
        )

    def load(self, first: dict[str, Any] | None, rest: Iterator[dict[str, Any]]) -> int:
        """Loads all; returns how many events were lost."""
        everything = itertools.chain([first] if first else [], rest)
        batch, serial = [], 0
        for event in everything:
            serial += event["count"] if event["op"] == "lost" else 1
            batch.append(self._event(event, serial))
        self._store.events(batch)
        return sum(event.count for event in batch if isinstance(event, Lost))

    def _event(self, event: dict[str, Any], serial: int) -> Event | Lost:
        if event["op"] == "lost":
            return Lost(event["count"])
        return Event(
            serial=serial,
            time_ns=event["wall_ns"],
            wait_ns=event["wait_ns"],
            op=next(number for number, name in OPS.items() if name == event["op"]),
            cls=event["class"],
            file=self._file(event["file"]),
            offset=event["offset"],
            size=event["size"],
            thread=(thread := self._thread(event)),
            thread_key=thread.key if thread else 0,
            tid=event["tid"] or 0,
            errno=getattr(errno, event["error"] or "", 0),
            reason=event["reason"],
            refaults=event["refaults"],
            direct=event["direct"],
            unique=0,
        )

    def _file(self, path: str) -> FileFact:
        fact = self._files.get(path)
        if fact is None:
            spec, size = served(self._mount, path)
            fact = self._files[path] = FileFact(len(self._files) + 1, 0, path, spec, size, 1)
            self._store.fact(fact)
        return fact

    def _thread(self, event: dict[str, Any]) -> ThreadFact | None:
        if event["pid"] is None:
            return None
        key = (event["tid"], event["pid"], event["command"])
        fact = self._threads.get(key)
        if fact is None:
            number = len(self._threads) + 1
            fact = ThreadFact(
                number,
                event["tid"],
                event["command"],
                event["pid"],
                0,
                event["command"],
                "",
                event["container"],
                0,
            )
            self._threads[key] = fact
            self._store.fact(fact)
        return fact
