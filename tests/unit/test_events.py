"""An event as JSON, and as bytes between processes."""

import errno

import msgspec
import pytest

from mapfs.trace.events import DROP, FAULT, OPS, PUSH, READ, SHARED, WRITE, Event, Lost, as_json
from mapfs.units import PAGE_SIZE
from tests.unit.samples import FILE, THREAD, WALL_OFFSET, event

KEYS = {
    "time_ns", "wall_ns", "op", "class", "via", "file", "offset", "size", "page", "pages", "tid", "pid", "command",
    "container", "wait_ns", "error", "by", "label",  # DESIGN.md, "An event as JSON"
    "reason", "refaults", "direct", "demanded", "total_ns",
}  # fmt: skip


def test_the_keys_and_their_values() -> None:
    assert as_json(event(1, time_ns=2_000), WALL_OFFSET) == {
        "time_ns": 2_000,
        "wall_ns": 5_000_000_000_002_000,
        "op": "read",
        "class": "COLD",
        "via": "?",
        "direct": False,
        "file": FILE.path,
        "offset": 0,
        "size": 4096,
        "page": 0,
        "pages": 1,
        "refaults": 0,
        "demanded": None,
        "tid": 101,
        "pid": 100,
        "command": "python3",
        "container": None,
        "wait_ns": 300,
        "total_ns": None,
        "error": None,
        "reason": None,
        "by": None,
        "label": None,
    }


@pytest.mark.parametrize(
    "one",
    [
        event(1),
        event(2, thread=None, tid=0, direct=True, cls=None),
        event(3, errno=errno.EIO, reason="gone", cls="ERROR"),
        event(4, thread=msgspec.structs.replace(THREAD, container="c" * 64)),
    ],
)
def test_the_keys_are_always_the_same(one: Event) -> None:
    made = as_json(one, 0)
    assert set(made) == KEYS
    assert msgspec.json.decode(msgspec.json.encode(made)) == made


def test_what_is_not_known_is_null() -> None:
    made = as_json(event(1, thread=None, tid=101, cls=None), 0)
    assert (made["tid"], made["pid"], made["command"], made["container"], made["class"]) == (
        101,
        None,
        None,
        None,
        None,
    )
    assert as_json(event(1, thread=None, tid=0), 0)["tid"] is None


def test_errors_have_names() -> None:
    made = as_json(event(1, errno=errno.EIO, reason="the disk is gone"), 0)
    assert (made["error"], made["reason"]) == ("EIO", "the disk is gone")
    assert as_json(event(1, errno=4000), 0)["error"] == "4000"


def test_a_fault_and_a_read_look_the_same() -> None:
    assert as_json(event(1, direct=True), 0)["via"] == "?"
    assert as_json(event(1), 0)["via"] == "?"
    assert as_json(event(1, via="fault"), 0)["via"] == "fault"


def test_who_brought_the_pages_in() -> None:
    made = as_json(event(1, op=FAULT, cls=SHARED, wait_ns=None, by=THREAD, by_key=THREAD.key), 0)
    assert (made["op"], made["class"], made["wait_ns"]) == ("fault", "SHARED", None)
    assert made["by"] == {"tid": 101, "pid": 100, "command": "python3"}


def test_pages() -> None:
    one = event(1, offset=PAGE_SIZE - 1, size=PAGE_SIZE + 2)
    assert list(one.pages) == [0, 1, 2]
    made = as_json(one, 0)
    assert (made["page"], made["pages"]) == (0, 3)


def test_ops() -> None:
    assert {number: as_json(event(1, op=number), 0)["op"] for number in OPS} == OPS
    assert [OPS[op] for op in (READ, WRITE, PUSH, DROP)] == ["read", "write", "push", "drop"]


def test_lost() -> None:
    assert as_json(Lost(3), 5) == {"op": "lost", "count": 3, "skipped": False, "samples": False}
    assert as_json(Lost(4, skipped=True), 5) == {"op": "lost", "count": 4, "skipped": True, "samples": False}
    assert as_json(Lost(4, samples=True), 5) == {"op": "lost", "count": 4, "skipped": False, "samples": True}


def test_events_are_frozen() -> None:
    one = event(1)
    with pytest.raises(AttributeError):
        one.serial = 2  # type: ignore[misc]  # that is the point
