"""A trace: what goes in comes out, and only a trace is ever replaced."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inotify_simple import INotify, flags  # type: ignore[import-untyped] # it ships no types

from mapfs.errors import TraceError
from mapfs.trace.events import (
    AHEAD,
    COLD,
    EVICT,
    FAULT,
    HIT,
    JOINED,
    READ,
    REFAULT,
    SHARED,
    WRITE,
    Event,
    Lost,
    as_json,
)
from mapfs.trace.facts import EventsWanted, ReasonFact
from mapfs.trace.reader import has_ended, is_mount, open_trace, trace_events
from mapfs.trace.store import APPLICATION_ID, Store
from tests.support import WITHIN
from tests.unit.samples import FILE, MOUNT, THREAD, WALL_OFFSET, event

OTHER = msgspec.structs.replace(FILE, id=2, path="c\ud7ffd", size=5000, generation=2)
BOX = msgspec.structs.replace(THREAD, key=2, tid=300, pid=300, command="in a box", container="c" * 64)
EVENTS: list[Event] = [
    event(1),
    event(2, offset=4096 * 3 + 1, size=4096, file=OTHER, refaults=1),
    event(3, cls=REFAULT, refaults=1, wait_ns=0),
    event(4, cls="ERROR", errno=5, reason="the disk is gone"),
    event(5, cls="ERROR", errno=5, reason="the disk is gone"),
    event(6, cls="ERROR", errno=4000, reason="no name"),
    event(7, cls=None, direct=True, size=1 << 20),
    event(8, thread=None, tid=0),
    event(9, thread=None, tid=17),
    event(10, thread=BOX, tid=300),
    event(11, op=WRITE, cls="WRITE", size=10),
    event(12, offset=(1 << 62), time_ns=1 << 62, cls=None),
    event(13, op=FAULT, cls=SHARED, wait_ns=None, via="fault", by=BOX, by_key=BOX.key),
    event(14, op=HIT, cls=AHEAD, wait_ns=None, via="read"),
    event(15, op=FAULT, cls=JOINED, wait_ns=500, total_ns=500, via="fault", by=BOX, by_key=BOX.key),
    event(16, op=EVICT, cls=None, wait_ns=None, size=1 << 20),
    event(17, via="fault", demanded=0, total_ns=900),
]


def filled(path: str = ":memory:") -> Store:
    store = Store(path)
    for fact in (MOUNT, FILE, OTHER, THREAD, BOX):
        store.fact(fact)
    return store


@pytest.fixture
def memory() -> Iterator[Store]:
    store = filled()
    yield store
    store.connection.close()


def said(events: list[Event | Lost]) -> list[dict[str, Any]]:
    return [as_json(one, WALL_OFFSET) for one in events]


def stored(connection: sqlite3.Connection, after: int = 0) -> list[dict[str, Any]]:
    """The events of a trace without `serial`, whose order is checked instead."""
    found = list(trace_events(connection, after))
    serials = [one.pop("serial") for one in found]
    assert serials == sorted(set(serials))
    return found


def test_events_come_out_as_they_went_in(memory: Store) -> None:
    memory.events(EVENTS)
    assert stored(memory.connection) == said([*EVENTS])


def test_in_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    store = filled(str(path))
    store.events(EVENTS[:3])
    live = open_trace(str(path)).connection
    assert stored(live) == said([*EVENTS[:3]])
    assert not has_ended(live)
    store.events(EVENTS[3:])
    assert stored(live, after=3) == said([*EVENTS[3:]])
    live.close()
    store.close(99)
    assert [one.name for one in tmp_path.iterdir()] == ["trace"], "one plain file, no -wal"
    done = open_trace(str(path)).connection
    assert stored(done) == said([*EVENTS])
    assert has_ended(done)
    assert done.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        done.execute("DELETE FROM requests")
    done.close()


def test_a_trace_that_somebody_reads_can_be_ended(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    store = filled(str(path))
    store.events(EVENTS)
    live = open_trace(str(path)).connection
    reading = trace_events(live)
    next(reading)
    store.connection.execute("PRAGMA busy_timeout = 0")
    store.close(99)
    assert len(list(reading)) == len(EVENTS) - 1
    assert has_ended(live)
    live.close()


def test_the_view_for_people_agrees(memory: Store) -> None:
    memory.events(EVENTS)
    rows = memory.connection.execute(
        "SELECT time_ns, wall_ns, op, class, file, page, offset, size, pid, nullif(tid, 0), command, container, reason "
        "FROM events ORDER BY serial"
    ).fetchall()
    keys = [
        "time_ns",
        "wall_ns",
        "op",
        "class",
        "file",
        "page",
        "offset",
        "size",
        "pid",
        "tid",
        "command",
        "container",
        "reason",
    ]
    assert [dict(zip(keys, row, strict=True)) for row in rows] == [
        {key: one[key] for key in keys} for one in said([*EVENTS])
    ]


def test_losses_stand_where_events_are_missing(memory: Store) -> None:
    events: list[Event | Lost] = [Lost(3), event(4), event(5), Lost(2), event(8)]
    memory.events(events)
    assert stored(memory.connection) == said(events)
    assert [one["serial"] for one in trace_events(memory.connection)] == [1, 4, 5, 6, 8]
    assert list(trace_events(memory.connection, after=6)) == list(trace_events(memory.connection))[-1:]


def test_lost_samples_are_no_lost_events(memory: Store) -> None:
    events: list[Event | Lost] = [event(1), Lost(70, samples=True), event(3)]
    memory.events(events)
    assert stored(memory.connection) == said(events)
    assert [one["serial"] for one in trace_events(memory.connection)] == [1, 2, 3]


def test_losses_of_several_batches(memory: Store) -> None:
    batches: list[list[Event | Lost]] = [[event(1)], [Lost(4), event(6)], [Lost(1), event(8)]]
    for batch in batches:
        memory.events(batch)
    assert stored(memory.connection) == said([event(1), Lost(4), event(6), Lost(1), event(8)])


def test_a_loss_at_the_end_is_not_forgotten(memory: Store) -> None:
    memory.events([event(1)])
    memory.events([Lost(7, skipped=True)])
    assert stored(memory.connection) == said([event(1), Lost(7)])
    assert stored(memory.connection, after=2) == []


@pytest.mark.parametrize("batches", [[[Lost(3), Lost(4)]], [[Lost(3)], [Lost(4)]], [[Lost(3)], [Lost(4), event(9)]]])
@pytest.mark.parametrize("before", [[], [event(1)]])
def test_two_losses_without_an_event_between_them_add_up(
    memory: Store, before: list[Event | Lost], batches: list[list[Event | Lost]]
) -> None:
    memory.events(before)
    for batch in batches:
        memory.events(batch)
    lost = [one["count"] for one in stored(memory.connection) if one["op"] == "lost"]
    assert sum(lost) == 7


@given(st.lists(st.lists(st.integers(0, 5)), max_size=8))
def test_every_loss_is_counted_wherever_it_falls(batches: list[list[int]]) -> None:
    """Numbers above 0 are losses; 0 is an event."""
    store = filled()
    serial = lost = events = 0
    for counts in batches:
        batch: list[Event | Lost] = []
        for count in counts:
            serial += count or 1
            lost += count
            events += not count
            batch.append(Lost(count) if count else event(serial))
        store.events(batch)
    found = list(trace_events(store.connection))
    assert sum(one["count"] for one in found if one["op"] == "lost") == lost
    assert sum(one["op"] == "read" for one in found) == events
    assert [one["serial"] for one in found] == sorted({one["serial"] for one in found})
    store.connection.close()


def test_facts_that_are_not_kept(memory: Store) -> None:
    memory.fact(ReasonFact(1, "x"))
    memory.fact(EventsWanted(follow=True))
    assert memory.connection.execute("SELECT count(*) FROM reasons").fetchone() == (0,)


def test_an_event_whose_facts_are_missing_is_shown_all_the_same() -> None:
    store = Store(":memory:")
    store.fact(MOUNT)
    store.events([event(1)])
    (one,) = stored(store.connection)
    assert (one["file"], one["pid"], one["tid"], one["command"]) == ("?", None, 101, None)
    store.connection.close()


def test_reasons_are_kept_once(memory: Store) -> None:
    memory.events(EVENTS)
    assert memory.connection.execute("SELECT text FROM reasons ORDER BY id").fetchall() == [
        ("the disk is gone",),
        ("no name",),
    ]


def test_the_pages_of_a_trace_are_those_of_its_machine() -> None:
    store = Store(":memory:")
    store.fact(msgspec.structs.replace(MOUNT, page_size=65536))
    store.events([event(1, offset=65536 * 2, size=65537)])
    (one,) = stored(store.connection)
    assert (one["page"], one["pages"]) == (2, 2)
    store.connection.close()


def test_a_file_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    filled(str(path)).close(1)
    before = path.read_bytes()
    with pytest.raises(TraceError, match="exists; choose another name, or replace it with --force"):
        Store(str(path))
    assert path.read_bytes() == before
    Store(str(path), replace=True).close(None)
    connection = open_trace(str(path)).connection
    assert connection.execute("SELECT count(*) FROM mount").fetchone() == (0,)
    connection.close()


def test_force_replaces_what_a_killed_recorder_left(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    code = "import os, sys; from mapfs.trace.store import Store; s = Store(sys.argv[1]); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=WITHIN)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "trace-wal").stat().st_size > 0, "it never came to write the tables into the file itself"
    Store(str(path), replace=True).close(None)
    assert [one.name for one in tmp_path.iterdir()] == ["trace"]


def test_a_recorder_that_is_killed_in_its_last_step_leaves_no_journal(tmp_path: Path) -> None:
    """It could only be rolled back by who may write: a trace is opened for reading."""
    store = filled(str(tmp_path / "trace"))
    with INotify() as watch:
        watch.add_watch(tmp_path, flags.CREATE)
        store.close(1)
        assert [event.name for event in watch.read(timeout=0)] == []
    assert [path.name for path in tmp_path.iterdir()] == ["trace"]


def other_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE precious (x)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("make", [other_database, lambda path: path.write_text("precious")])
def test_force_replaces_nothing_but_a_trace(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "trace"
    make(path)
    before = path.read_bytes()
    with pytest.raises(TraceError, match="is not a trace, so --force does not replace it; choose another name"):
        Store(str(path), replace=True)
    assert path.read_bytes() == before


def test_force_replaces_no_directory(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="is not a regular file"):
        Store(str(tmp_path), replace=True)
    with pytest.raises(TraceError, match="cannot write the trace .*: No such file or directory"):
        Store(str(tmp_path / "missing" / "trace"))


def test_a_trace_of_nothing_is_discarded(tmp_path: Path) -> None:
    store = filled(str(tmp_path / "trace"))
    store.discard()
    assert list(tmp_path.iterdir()) == []


def test_only_a_trace_is_read(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"does not exist; give a trace .mapfs mount --trace FILE. or a mount"):
        open_trace(str(tmp_path / "missing"))
    with pytest.raises(TraceError, match="is a directory, but no mapfs mount"):
        open_trace(str(tmp_path))
    text = tmp_path / "text"
    text.write_text("not a database, but longer than its header would be" * 10)
    with pytest.raises(TraceError, match="is not a trace: file is not a database"):
        open_trace(str(text))
    other_database(tmp_path / "other")
    with pytest.raises(TraceError, match="is a SQLite database, but not a trace of mapfs"):
        open_trace(str(tmp_path / "other"))
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(TraceError, match="not a trace"):
        open_trace(str(empty))


def test_a_trace_of_another_format(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    filled(str(path)).close(1)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(TraceError, match="has the trace format 7, this mapfs reads 3; use the mapfs that wrote it"):
        open_trace(str(path))


def test_what_is_a_mount(tmp_path: Path) -> None:
    (tmp_path / ".mapfs").mkdir()
    (tmp_path / ".mapfs" / "events").touch()
    assert is_mount(str(tmp_path))
    assert not is_mount(str(tmp_path / ".mapfs" / "events"))


@pytest.mark.parametrize("name", [b"a?b#c%41", b"\xff", "é ü".encode()])
def test_names_of_traces(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / name.decode(errors="surrogateescape")
    store = filled(str(path))
    store.events([event(1)])
    store.close(1)
    connection = open_trace(str(path)).connection
    assert stored(connection) == said([event(1)])
    connection.close()


def test_a_plain_read_is_cold() -> None:
    assert (event(1).cls, event(1).op) == (COLD, READ), "the samples are what these tests take them for"
