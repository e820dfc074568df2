"""The trace: a SQLite database, written by the recorder alone. docs/TRACE.md documents its tables.

WAL while the mount lives, so that it can be read at any time; one plain file once it has ended.
"""

import os
import sqlite3
import time
from collections.abc import Sequence

from mapfs.errors import TraceError
from mapfs.trace.events import EVICT, OPS, REQUESTS, Event, Lost
from mapfs.trace.facts import Fact, FileFact, HeldBackFact, MountFact, ThreadFact, WatchedFact

APPLICATION_ID = 0x6D617066  # "mapf"
FORMAT = 3
_READERS_WITHIN = 3.0  # seconds for those who read a trace, at its end

SCHEMA = """
CREATE TABLE mount (
    mountpoint TEXT NOT NULL,      -- where it was mounted
    version TEXT NOT NULL,         -- of mapfs
    link TEXT NOT NULL,            -- own or plain
    page_size INTEGER NOT NULL,    -- bytes
    readahead INTEGER NOT NULL,    -- bytes the kernel may read ahead; 0: one request a page
    pid INTEGER NOT NULL,          -- of the daemon
    monotonic_ns INTEGER NOT NULL, -- CLOCK_MONOTONIC at the start, and
    wall_ns INTEGER NOT NULL,      -- Unix time at the same moment
    evidence TEXT NOT NULL,        -- requests, faults (of watched processes) or kernel
    ended_ns INTEGER               -- CLOCK_MONOTONIC at the end; NULL while it lasts
);
CREATE TABLE files (
    id INTEGER PRIMARY KEY,        -- a new one for each version of the content
    inode INTEGER NOT NULL,        -- within the mount, the newest
    path TEXT NOT NULL,            -- within the mount
    spec TEXT NOT NULL,            -- what it is made of
    size INTEGER NOT NULL,         -- bytes
    generation INTEGER NOT NULL,   -- counts the versions of the content
    version TEXT                   -- of the content, to be compared; NULL: it never changes, or has none
);
CREATE TABLE inodes (              -- all that a file had: what the kernel forgot gets another when it is looked up
    inode INTEGER NOT NULL,
    file INTEGER NOT NULL,         -- files.id
    PRIMARY KEY (inode, file)
) WITHOUT ROWID;
CREATE TABLE threads (
    id INTEGER PRIMARY KEY,        -- never reused, unlike tid
    tid INTEGER NOT NULL,
    name TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started INTEGER NOT NULL,      -- of the process, clock ticks since boot: with pid, names it for good
    command TEXT NOT NULL,         -- /proc/PID/comm
    cmdline TEXT NOT NULL,
    container TEXT,
    uid INTEGER NOT NULL
);
CREATE TABLE requests (
    serial INTEGER PRIMARY KEY,    -- place among all events
    time_ns INTEGER NOT NULL,      -- CLOCK_MONOTONIC when it arrived
    wait_ns INTEGER NOT NULL,      -- until its answer
    op INTEGER NOT NULL,           -- ops.id
    class TEXT,                    -- COLD, REFAULT, AHEAD, ERROR, WRITE; NULL: the evidence cannot tell
    file INTEGER NOT NULL,         -- files.id
    offset INTEGER NOT NULL,       -- bytes
    size INTEGER NOT NULL,         -- bytes
    thread INTEGER,                -- threads.id; NULL: not known
    tid INTEGER NOT NULL,          -- as the kernel gave it; 0: none
    errno INTEGER NOT NULL,        -- 0: none
    reason INTEGER,                -- reasons.id
    refaults INTEGER NOT NULL,     -- pages of it that had been requested before
    direct INTEGER NOT NULL,       -- 1: through a descriptor with O_DIRECT
    request INTEGER NOT NULL,      -- the kernel's number of the request
    via TEXT,                      -- fault, read; NULL: the evidence cannot tell
    demanded INTEGER,              -- the first page that its thread waited for; NULL: none, or not known
    total_ns INTEGER               -- from the page fault to the page; NULL: not known
);
CREATE TABLE faults (              -- pages that a process got from the page cache, for the first time, unasked
    serial INTEGER PRIMARY KEY,    -- place among all events
    time_ns INTEGER NOT NULL,      -- CLOCK_MONOTONIC
    wait_ns INTEGER,               -- of JOINED: from the fault to the answer; else NULL
    total_ns INTEGER,              -- of JOINED: from the fault to the page; NULL: not known
    op INTEGER NOT NULL,           -- ops.id: fault or hit
    class TEXT,                    -- AHEAD, SHARED, JOINED; NULL: who brought them in is not known
    file INTEGER NOT NULL,         -- files.id
    offset INTEGER NOT NULL,       -- bytes
    size INTEGER NOT NULL,         -- bytes
    thread INTEGER,                -- threads.id; NULL: not known
    tid INTEGER NOT NULL,
    by_thread INTEGER              -- threads.id: who brought them in; NULL: nobody known
);
CREATE TABLE evictions (           -- pages that left the page cache, but for those that mapfs dropped
    serial INTEGER PRIMARY KEY,    -- place among all events
    time_ns INTEGER NOT NULL,      -- CLOCK_MONOTONIC
    file INTEGER NOT NULL,         -- files.id
    offset INTEGER NOT NULL,       -- bytes
    size INTEGER NOT NULL,         -- bytes
    thread INTEGER,                -- threads.id: in whose course; NULL: not known
    tid INTEGER NOT NULL
);
CREATE TABLE watched (             -- of the tier faults: the processes whose faults are seen
    pid INTEGER NOT NULL,
    started INTEGER NOT NULL,      -- as in threads
    time_ns INTEGER NOT NULL,      -- CLOCK_MONOTONIC from when on
    PRIMARY KEY (pid, started)
);
CREATE TABLE held_back (           -- files of which mapfs pushed less ahead than it would have, added up
    file INTEGER PRIMARY KEY,      -- files.id
    times INTEGER NOT NULL,        -- how often it stopped pushing for a thread
    pushed INTEGER NOT NULL,       -- pages that it had pushed before that thread, each of those times
    untouched INTEGER NOT NULL     -- those of them that nobody had touched when the thread was past them
);
CREATE TABLE ops (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE reasons (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE losses (
    serial INTEGER PRIMARY KEY,    -- the first that is missing; of samples, a number of their own
    count INTEGER NOT NULL,        -- how many are
    what TEXT NOT NULL             -- events, or samples: of evidence, for which the kernel had no room
);
CREATE VIEW events AS
    SELECT e.serial, e.time_ns, e.time_ns - m.monotonic_ns + m.wall_ns AS wall_ns, e.wait_ns, o.name AS op,
        e.class, f.path AS file, e.offset / m.page_size AS page, e.offset, e.size, t.pid, e.tid, t.command,
        t.container, e.errno, w.text AS reason, e.via, e.total_ns, b.pid AS by_pid, b.command AS by_command
    FROM (
        SELECT serial, time_ns, wait_ns, op, class, file, offset, size, thread, tid, errno, reason, via, total_ns,
            NULL AS by_thread FROM requests
        UNION ALL
        SELECT serial, time_ns, wait_ns, op, class, file, offset, size, thread, tid, 0, NULL,
            iif(op = 5, 'fault', 'read'), total_ns, by_thread FROM faults
        UNION ALL
        SELECT serial, time_ns, NULL, 7, NULL, file, offset, size, thread, tid, 0, NULL, NULL, NULL, NULL FROM evictions
    ) e CROSS JOIN mount m JOIN ops o ON o.id = e.op LEFT JOIN files f ON f.id = e.file
    LEFT JOIN threads t ON t.id = e.thread LEFT JOIN reasons w ON w.id = e.reason
    LEFT JOIN threads b ON b.id = e.by_thread;
"""

_INSERT_REQUEST = f"INSERT INTO requests VALUES ({', '.join('?' * 18)})"  # noqa: S608 -- question marks alone
_INSERT_FAULT = f"INSERT INTO faults VALUES ({', '.join('?' * 12)})"  # noqa: S608 -- question marks alone

_ADD_HELD_BACK = (
    "INSERT INTO held_back VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET times = times + excluded.times,"
    " pushed = pushed + excluded.pushed, untouched = untouched + excluded.untouched"
)


class Store:
    """Writes a trace. All calls come from one thread. Raises TraceError where the file cannot be made."""

    def __init__(self, path: str, *, replace: bool = False) -> None:
        self.path = path
        if path != ":memory:":
            _make_way(path, replace=replace)
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA synchronous = OFF")  # a crash of mapfs loses nothing; one of the machine may
            # into the file itself: the rest may stay in the WAL
            self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute(f"PRAGMA user_version = {FORMAT}")
            self._db.executescript(SCHEMA)
            self._db.executemany("INSERT INTO ops VALUES (?, ?)", OPS.items())
        except sqlite3.Error as error:
            if path != ":memory:":
                _remove(path)
            raise TraceError(f"cannot write the trace {path}: {error}") from error
        self._reasons: dict[str, int] = {}
        self._last = 0  # the serial number up to which every event was stored or is known to be lost

    def fact(self, fact: Fact) -> None:
        """Keeps a fact, before the first event that refers to it."""
        match fact:
            case MountFact():
                row = (*_fields(fact), None)
                self._db.execute("INSERT INTO mount VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            case WatchedFact():
                self._db.execute("INSERT OR IGNORE INTO watched VALUES (?, ?, ?)", _fields(fact))
            case HeldBackFact():
                self._db.execute(_ADD_HELD_BACK, _fields(fact))
            case FileFact():
                row = (fact.id, fact.inode, fact.path, fact.spec, fact.size, fact.generation, fact.version)
                self._db.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", row)
                self._db.execute("INSERT OR IGNORE INTO inodes VALUES (?, ?)", (fact.inode, fact.id))
            case ThreadFact():
                row = _fields(fact)[:-1]  # when it was found out is of no interest any more
                self._db.execute("INSERT OR REPLACE INTO threads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            case _:
                pass

    def events(self, events: Sequence[Event | Lost]) -> None:
        """Keeps events, in their order, in one transaction."""
        requests, faults, evictions, losses = [], [], [], []
        for event in events:
            if isinstance(event, Lost):
                losses.append((self._last + 1, event.count, "samples" if event.samples else "events"))
                self._last += 1 if event.samples else event.count
                continue
            self._last = event.serial
            if event.op in REQUESTS:
                requests.append(
                    (
                        event.serial, event.time_ns, event.wait_ns, event.op, event.cls, event.file.id, event.offset,
                        event.size, event.thread_key or None, event.tid, event.errno, self._reason(event.reason),
                        event.refaults, event.direct, event.unique, event.via, event.demanded, event.total_ns,
                    )
                )  # fmt: skip
            elif event.op == EVICT:
                where = (event.file.id, event.offset, event.size)
                evictions.append((event.serial, event.time_ns, *where, event.thread_key or None, event.tid))
            else:
                faults.append(
                    (
                        event.serial, event.time_ns, event.wait_ns, event.total_ns, event.op, event.cls, event.file.id,
                        event.offset, event.size, event.thread_key or None, event.tid, event.by_key or None,
                    )
                )  # fmt: skip
        self._db.execute("BEGIN")
        self._db.executemany(_INSERT_REQUEST, requests)
        self._db.executemany(_INSERT_FAULT, faults)
        self._db.executemany("INSERT INTO evictions VALUES (?, ?, ?, ?, ?, ?, ?)", evictions)
        self._db.executemany("INSERT INTO losses VALUES (?, ?, ?)", losses)
        self._db.execute("COMMIT")

    def _reason(self, text: str | None) -> int | None:
        if text is None:
            return None
        number = self._reasons.get(text)
        if number is None:
            number = self._reasons[text] = len(self._reasons) + 1
            self._db.execute("INSERT INTO reasons VALUES (?, ?)", (number, text))
        return number

    def close(self, ended_ns: int | None) -> None:
        """Ends the trace; `ended_ns` is CLOCK_MONOTONIC at the end of the mount. It is one plain file then."""
        self._db.execute("UPDATE mount SET ended_ns = ?", (ended_ns,))
        if self.path == ":memory:":
            return
        end = time.monotonic() + _READERS_WITHIN
        while not self._one_file() and time.monotonic() < end:
            time.sleep(0.01)  # SQLite does not wait here: whoever follows the trace reads its end, and goes
        self._db.close()

    def _one_file(self) -> bool:
        """Makes it one; False while somebody reads it, which may stay in WAL, whole all the same."""
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            # MEMORY: leaves the WAL as DELETE does, and no journal for whoever opens it if this is killed now
            self._db.execute("PRAGMA journal_mode = MEMORY")
        except sqlite3.OperationalError:
            return False
        return True

    @property
    def connection(self) -> sqlite3.Connection:
        """For views of a trace that was made in memory."""
        return self._db

    def discard(self) -> None:
        """Nothing was ever mounted: leaves no file behind."""
        self._db.close()
        _remove(self.path)


def _fields(fact: MountFact | FileFact | ThreadFact | WatchedFact | HeldBackFact) -> tuple[object, ...]:
    return tuple(getattr(fact, name) for name in fact.__struct_fields__)


def _make_way(path: str, *, replace: bool) -> None:
    try:
        with open(path, "xb"):
            return
    except FileExistsError:
        pass
    except OSError as error:
        raise TraceError(f"cannot write the trace {path}: {error.strerror}") from error
    if not replace:
        raise TraceError(f"the trace {path} exists; choose another name, or replace it with --force")
    if not os.path.isfile(path):
        raise TraceError(f"the trace {path} is not a regular file")
    with open(path, "rb") as file:
        head = file.read(100)
    if head and not (head.startswith(b"SQLite format 3\0") and head[68:72] == APPLICATION_ID.to_bytes(4, "big")):
        raise TraceError(f"{path} is not a trace, so --force does not replace it; choose another name")
    _remove(path)
    with open(path, "xb"):
        pass


def _remove(path: str) -> None:
    """The database and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        if os.path.exists(path + suffix):
            os.unlink(path + suffix)
