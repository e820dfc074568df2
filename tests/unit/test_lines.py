"""The log's lines."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapfs.trace.events import Lost, as_json
from mapfs.views.lines import Lines, visible
from mapfs.views.terminal import wants_colour
from tests.unit.samples import THREAD, event

WALL = 1_700_000_000_123_456_789  # 22:13:20 UTC


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def line(*, colour: bool = False, **changes: Any) -> str:
    one = as_json(event(1), 0)
    assert set(changes) <= set(one)
    return Lines(colour=colour).line({**one, "wall_ns": WALL, **changes})


def _class(name: str | None) -> dict[str, Any]:
    return {"class": name}  # no name for an argument


def test_layout() -> None:
    said = line(file="pages", page=3, offset=12288, tid=100, wait_ns=18_000)
    assert (
        said == "22:13:20.123456  COLD     python3/100           pages             page 3      0x00003000  -    18 us"
    )


def test_a_label_stands_before_the_wait_and_moves_no_cursor() -> None:
    assert line(label="users_idx +2").endswith("  users_idx +2  " + line().rpartition("  -  ")[2])
    assert "  a\\x1b[31m\\nb  " in line(label="a\x1b[31m\nb")


def test_a_thread_that_is_not_its_process_s_first_is_named() -> None:
    assert "  python3/100:101     " in line()
    assert "  python3/100         " in line(tid=100)


@pytest.mark.parametrize(("tid", "pid", "who"), [(None, None, "?"), (7, None, "?/7")])
def test_whoever_is_not_known_is_a_question_mark(tid: int | None, pid: int | None, who: str) -> None:
    assert line(tid=tid, pid=pid, command=None).split()[2] == who


@pytest.mark.parametrize(
    ("cls", "direct", "word"),
    [("REFAULT", False, "REFAULT"), (None, False, "?"), (None, True, "DIRECT"), ("ERROR", True, "ERROR")],
)
def test_classes(cls: str | None, direct: bool, word: str) -> None:
    assert line(direct=direct, **_class(cls)).split()[1] == word


def test_pages_and_labels() -> None:
    assert "  pages 4-7   " in line(page=4, pages=4)
    assert "  .text main  " in line(label=".text main")
    assert "0x400000000000" in line(offset=1 << 46)


BY = {"tid": 7, "pid": 7, "command": "ben"}


@pytest.mark.parametrize(
    ("changes", "cls", "end"),
    [
        ({"class": "SHARED", "op": "fault", "wait_ns": None, "by": BY}, "SHARED", "  -        -  by ben/7"),
        ({"class": "SHARED", "op": "hit", "wait_ns": None, "by": {**BY, "tid": 9}}, "SHARED", "        -  by ben/7:9"),
        (
            {"class": "JOINED", "op": "fault", "wait_ns": 9000, "total_ns": 9000, "by": BY},
            "JOINED",
            "   9.0 us  by ben/7",
        ),
        ({"class": "JOINED", "op": "fault", "wait_ns": None}, "JOINED", "        -  by ?"),
        ({"class": "AHEAD", "op": "fault", "wait_ns": None, "by": BY}, "AHEAD", "        -"),
        ({"class": None, "op": "hit", "wait_ns": None}, "?", "        -"),
        ({"class": None, "op": "evict", "wait_ns": None}, "EVICT", "        -"),
        ({"class": "COLD", "wait_ns": 412_000, "total_ns": 431_000}, "COLD", "  412 us (of 431 us)"),
        ({"class": "AHEAD", "op": "read", "wait_ns": 412_000}, "AHEAD", "  412 us"),
    ],
)
def test_what_evidence_beyond_the_requests_shows(changes: dict[str, Any], cls: str, end: str) -> None:
    said = line(**changes)
    assert said.split()[1] == cls
    assert said.endswith(end)
    assert said.count("by ") == end.count("by ")


def test_an_error_says_why() -> None:
    assert line(error="EIO", reason="the disk\nis gone", **_class("ERROR")).endswith("300 ns  EIO: the disk\\nis gone")
    assert line(error="EIO", reason=None).endswith("  EIO: ?")


def test_colour_only_where_it_is_wanted() -> None:
    assert "\x1b" not in line()
    painted = line(colour=True)
    assert painted.startswith("22:13:20.123456  \x1b[36mCOLD   \x1b[0m  ")
    assert painted.replace("\x1b[36m", "").replace("\x1b[0m", "") == line()
    assert "\x1b[0m?      \x1b[0m" in line(colour=True, **{"class": None})


def test_the_short_form_is_cut_to_its_width() -> None:
    lines = Lines(colour=False)
    one = {**as_json(event(1), 0), "file": "pages", "page": 3, "tid": 100, "wait_ns": 18_000}
    assert lines.short(one, 80) == "COLD     python3/100     pages    page 3        18 us"
    by = {"tid": 7, "pid": 7, "command": "first"}
    assert lines.short({**one, "class": "SHARED", "by": by, "wait_ns": None}, 80).endswith("      -  by first/7")
    failed = {**one, "class": "ERROR", "error": "EIO", "reason": "a reason that goes on and on"}
    assert lines.short(failed, 70) == "ERROR    python3/100     pages    page 3        18 us  EIO: a reaso..."
    painted = Lines(colour=True).short(failed, 70)
    assert painted.replace("\x1b[1;31m", "").replace("\x1b[0m", "") == lines.short(failed, 70)
    assert lines.short(as_json(Lost(3), 0), 80).startswith("... lost 3 events")


def test_losses_stand_out() -> None:
    lines = Lines(colour=False)
    assert lines.line(as_json(Lost(12345), 0)) == "... lost 12,345 events: overwritten before they could be recorded"
    skipped = lines.line(as_json(Lost(3, skipped=True), 0))
    assert skipped == "... skipped 3 lines: their reader is slower than the events"
    assert Lines(colour=True).line({"op": "lost", "count": 1}).startswith("\x1b[1;31m... lost 1 ")


def test_the_clock_goes_on() -> None:
    lines = Lines(colour=False)
    one = as_json(event(1), 0)
    times = [WALL, WALL + 1000, WALL + 10**9, WALL, 0]
    assert [lines.line({**one, "wall_ns": at}).split()[0] for at in times] == [
        "22:13:20.123456", "22:13:20.123457", "22:13:21.123456", "22:13:20.123456", "00:00:00.000000",
    ]  # fmt: skip


@pytest.mark.parametrize("field", ["file", "command"])
def test_names_cannot_write_on_the_terminal(field: str) -> None:
    changes: dict[str, Any] = {field: "a\x1b[2J\n\r\x00\x7f\x9b\u2028\u202e\u2066é"}
    said = line(**changes)
    assert "a\\x1b[2J\\n\\r\\x00\\x7f\\x9b\\u2028\\u202e\\u2066é" in said


@given(st.text())
def test_visible_text_is_one_line_that_moves_nothing(text: str) -> None:
    shown = visible(text)
    assert len(shown.splitlines()) <= 1
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in shown)
    assert visible(shown) == shown


def test_plain_text_is_left_alone() -> None:
    assert visible("a é 漢 [x] \\") == "a é 漢 [x] \\"


class Stream:
    """What `wants_colour` asks a stream."""

    def __init__(self, terminal: bool) -> None:
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    ("environment", "terminal", "colour"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_when_to_colour(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], terminal: bool, colour: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wants_colour(Stream(terminal)) == colour  # type: ignore[arg-type]  # it asks for nothing else


def test_the_sample_is_what_the_tests_take_it_for() -> None:
    assert (THREAD.command, THREAD.pid, THREAD.tid) == ("python3", 100, 101)
