"""Reading what was recorded: a trace file, or a running mount, through the same few calls.

A running mount is read from its `.mapfs/events` into a trace in memory, so that every view is a query on the
tables of docs/TRACE.md. What a trace from a stranger holds is data: the file is opened read-only, and is
refused unless it says that it is a trace.
"""

import contextlib
import errno
import heapq
import itertools
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any
from urllib.parse import quote

import msgspec

from mapfs.errors import TraceError, errno_name, reason_of
from mapfs.trace.events import OPS
from mapfs.trace.loader import Loader
from mapfs.trace.shape import not_as_written
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


@contextlib.contextmanager
def reading(target: str) -> Iterator[Reading]:
    """`open_trace` for a block, and closed after it. Raises TraceError where what the file holds cannot be read."""
    opened = open_trace(target)
    try:
        yield opened
    except sqlite3.ProgrammingError:  # of the caller
        raise
    except sqlite3.DatabaseError as error:
        if is_mount(target):  # then the trace was made here, in memory
            raise
        raise TraceError(
            f"{target} cannot be read: {reason_of(error)}; it is damaged or not of mapfs, so record it anew"
        ) from error
    finally:
        opened.connection.close()


def stats_text(mount: str, *, now: bool) -> bytes:
    """`.mapfs/stats` as it is; `now`: without what the recorder is still behind with. Raises OSError."""
    fd = os.open(os.path.join(mount, STATS), os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK if now else 0))
    with open(fd, "rb") as file:
        return file.read()


def mount_stats(mount: str, *, now: bool = False) -> dict[str, Any]:
    """What `stats_text` says. Raises TraceError where nobody answers."""
    try:
        stats = msgspec.json.decode(stats_text(mount, now=now))
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
    newest = newest_serial(connection)  # what is committed meanwhile is then in none of them
    bounds = (after, newest)
    yield from heapq.merge(
        _losses(connection, *bounds),
        *(_rows(connection.execute(query, bounds)) for query in (_REQUESTS, _FAULTS, _EVICTIONS)),
        key=itemgetter("serial"),
    )


def _rows(rows: Iterable[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    for serial, number, direct, by_tid, by_pid, by_command, *values in rows:
        event = dict(zip(_KEYS, values, strict=True))
        event["op"] = OPS.get(event["op"], "?")
        event["via"] = event["via"] or "?"
        event["direct"] = bool(direct)
        event["error"] = errno_name(number) if number else None
        by = {"tid": by_tid, "pid": by_pid, "command": by_command} if by_tid is not None else None
        event.update(by=by, label=None, serial=serial)
        yield event


def _losses(connection: sqlite3.Connection, after: int, newest: int) -> Iterator[dict[str, Any]]:
    rows = connection.execute(
        "SELECT serial, count, what FROM losses WHERE serial > ? AND serial <= ? ORDER BY serial", (after, newest)
    )
    for serial, count, what in rows:
        yield {"op": "lost", "count": count, "skipped": False, "samples": what == "samples", "serial": serial}


_KEYS = (
    "time_ns", "wall_ns", "op", "class", "via", "file", "offset", "size", "page", "pages", "tid", "pid", "command",
    "container", "wait_ns", "total_ns", "refaults", "demanded", "reason",
)  # fmt: skip
_NEWEST = """
    SELECT max(coalesce((SELECT max(serial) FROM requests), 0), coalesce((SELECT max(serial) FROM faults), 0),
        coalesce((SELECT max(serial) FROM evictions), 0),
        coalesce((SELECT max(serial + iif(what = 'events', count, 1) - 1) FROM losses), 0))"""
_COLUMNS = """
    e.time_ns, e.time_ns - m.monotonic_ns + m.wall_ns, {op}, {cls}, {via}, coalesce(f.path, '?'), e.offset, e.size,
    e.offset / m.page_size, max(1, (e.offset + e.size + m.page_size - 1) / m.page_size - e.offset / m.page_size),
    nullif(e.tid, 0), t.pid, t.command, t.container"""
_JOINS = "CROSS JOIN mount m LEFT JOIN files f ON f.id = e.file LEFT JOIN threads t ON t.id = e.thread"
_PAST = "WHERE e.serial > ? AND e.serial <= ? ORDER BY e.serial"
_REQUESTS = f"""
    SELECT e.serial, e.errno, e.direct, NULL, NULL, NULL, {_COLUMNS.format(op="e.op", cls="e.class", via="e.via")},
        e.wait_ns, e.total_ns, e.refaults, e.demanded, w.text
    FROM requests e {_JOINS} LEFT JOIN reasons w ON w.id = e.reason {_PAST}"""  # noqa: S608 -- constants
_FAULTS = f"""
    SELECT e.serial, 0, 0, b.tid, b.pid, b.command,
        {_COLUMNS.format(op="e.op", cls="e.class", via="iif(e.op = 5, 'fault', 'read')")},
        e.wait_ns, e.total_ns, 0, NULL, NULL
    FROM faults e {_JOINS} LEFT JOIN threads b ON b.id = e.by_thread {_PAST}"""  # noqa: S608 -- constants
_EVICTIONS = f"""
    SELECT e.serial, 0, 0, NULL, NULL, NULL, {_COLUMNS.format(op="7", cls="NULL", via="NULL")},
        NULL, NULL, 0, NULL, NULL
    FROM evictions e {_JOINS} {_PAST}"""  # noqa: S608 -- constants


def newest_serial(connection: sqlite3.Connection) -> int:
    """The serial number of the newest event that the trace has, or tells the loss of; 0 where there is none."""
    newest: int = connection.execute(_NEWEST).fetchone()[0]
    return newest


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
    try:
        wrong = not_as_written(connection)
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter where its message quotes what is no UTF-8
        raise TraceError(f"{path} cannot be read: {reason_of(error)}; it is damaged, so record it anew") from error
    if wrong is not None:
        raise TraceError(f"{path} cannot be read: its {wrong} is not as mapfs made it, so record it anew")


def _of_mount(mount: str) -> Reading:
    stats = mount_stats(mount)
    events = mount_events(mount, follow=False)
    first = next(events, None)
    if first is not None and first["op"] == "lost":
        trace = stats.get("trace")
        if trace and os.access(trace, os.R_OK):
            return Reading(_of_file(trace))
    store = Store(":memory:")
    missing = Loader(store, mount, stats).load(itertools.chain([first] if first else [], events))
    note = f"{missing:,} older events have left the ring; mount with --trace FILE to keep them all" if missing else None
    return Reading(store.connection, note)
