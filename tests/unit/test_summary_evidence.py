"""What a summary says of evidence beyond the requests, of time, and of long waits: by hand, with exact numbers."""

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mapfs.errors import TraceError
from mapfs.trace.events import DROP, EVICT, FAULT, HIT, PUSH, WRITE, Event, Lost
from mapfs.trace.facts import Fact, HeldBackFact, ThreadFact, WatchedFact
from mapfs.trace.reader import open_trace
from mapfs.trace.store import Store
from mapfs.views import spread
from mapfs.views.summary import Summary, render, summarise
from mapfs.views.summary.chart import bars, chart
from mapfs.views.summary.evidence import Process
from mapfs.views.summary.model import Bucket, Got, HeldBack, Joined, Share, Unasked, Who
from mapfs.views.summary.ranks import nearest_rank, rank_of_runs
from mapfs.views.summary.timeline import width_of
from tests.unit.samples import FILE, MOUNT, THREAD, event, summarised

PAGE = 4096
OTHER = msgspec.structs.replace(FILE, id=2, path="other", size=1 << 20)
ANN = THREAD
BEN = ThreadFact(2, 200, "ben", 200, 6, "ben", "ben", None, 0)
CLEO = ThreadFact(3, 300, "cleo", 300, 7, "cleo", "cleo", None, 0)


def got(
    serial: int, cls: str | None, thread: ThreadFact, page: int, by: ThreadFact | None = None, **changes: object
) -> Event:
    """A row of `faults`."""
    values = {"op": FAULT, "wait_ns": None, "tid": thread.tid, "offset": page * PAGE, **changes}
    return event(serial, cls=cls, thread=thread, by=by, by_key=by.key if by else 0, **values)


def summary_of(events: Sequence[Event | Lost], evidence: str = "kernel", watched: Sequence[ThreadFact] = ()) -> Summary:
    store = Store(":memory:")
    for fact in (msgspec.structs.replace(MOUNT, evidence=evidence), FILE, OTHER, ANN, BEN, CLEO):
        store.fact(fact)
    for thread in watched:
        store.fact(WatchedFact(thread.pid, thread.started, 1))
    store.events(events)
    try:
        return summarised(store.connection)
    finally:
        store.connection.close()


SHARED = [
    event(1, time_ns=1000, wait_ns=100, total_ns=150),  # Ann brings page 0 in
    got(2, "SHARED", BEN, 0, ANN),
    got(3, "SHARED", CLEO, 0, ANN, op=HIT, size=2 * PAGE),
    got(4, "JOINED", BEN, 1, ANN, wait_ns=5000),
    got(5, "JOINED", BEN, 2, CLEO),  # nobody knows how long
    got(6, "AHEAD", ANN, 3, ANN),
    got(7, None, CLEO, 4),
]


def test_who_owes_pages_to_whom() -> None:
    summary = summary_of(SHARED)
    ann, ben, cleo = (Who(one.pid, one.command) for one in (ANN, BEN, CLEO))
    assert summary.sharing == [
        Share(ben, ann, shared=1, joined=1, joined_wait_ns=5000),
        Share(cleo, ann, shared=2, joined=0, joined_wait_ns=0),
        Share(ben, cleo, shared=0, joined=1, joined_wait_ns=0),
    ]
    assert summary.joined == Joined(count=2, wait_ns=5000, waits_unknown=1)
    assert {row.pid: row.got for row in summary.processes} == {
        100: Got(ahead=1, shared=0, joined=0, unknown=0, joined_wait_ns=0),
        200: Got(ahead=0, shared=1, joined=2, unknown=0, joined_wait_ns=5000),
        300: Got(ahead=0, shared=2, joined=0, unknown=1, joined_wait_ns=0),
    }
    assert summary.unknown is None


def test_what_was_held_back_is_added_up_where_evidence_sees_it() -> None:
    store = Store(":memory:")
    facts: list[Fact] = [
        HeldBackFact(FILE.id, 1, 95, 64),
        HeldBackFact(OTHER.id, 1, 40, 39),
        HeldBackFact(FILE.id, 1, 1000, 900),
    ]
    try:
        for fact in (msgspec.structs.replace(MOUNT, evidence="kernel"), FILE, OTHER, ANN, *facts):
            store.fact(fact)
        store.events([event(1)])
        rows = store.connection.execute("SELECT * FROM held_back ORDER BY file").fetchall()
        summary = summarised(store.connection)
    finally:
        store.connection.close()
    assert sorted(rows) == sorted([(FILE.id, 2, 1095, 964), (OTHER.id, 1, 40, 39)])
    assert summary.held_back == HeldBack(3, 1135, 1003)
    assert "prefetch held back: 3 times, after 1,003 of 1,135 pages pushed were passed by untouched" in rendered(
        summary
    )
    assert summary_of([event(1)]).held_back == HeldBack(0, 0, 0)
    assert "held back" not in rendered(summary_of([event(1)]))
    assert summary_of([event(1)], "faults").held_back is None


def test_what_was_not_watched_is_not_known() -> None:
    rows = {row.pid: row.got for row in summary_of(SHARED, "faults", [BEN]).processes}
    assert rows == {100: None, 200: Got(0, 1, 2, 0, 5000), 300: None}
    again = msgspec.structs.replace(ANN, started=99)  # another process, which had the same pid
    assert {row.pid: row.got for row in summary_of(SHARED, "faults", [again]).processes}[100] is None


def test_from_requests_alone_nothing_is_known() -> None:
    summary = summary_of(SHARED[:1], "requests")
    assert (summary.sharing, summary.joined, summary.evicted, summary.processes[0].got) == (None, None, None, None)
    assert (summary.files[0].evicted, summary.evidence) == (None, "requests")
    assert summary.readaheads == Unasked(0, None, None, 0)  # each was a page that somebody touched
    assert summary.timeline is not None
    assert summary.timeline.buckets[0].resident is None
    several = summary_of([event(1, size=4 * PAGE)], "requests")
    assert several.readaheads == Unasked(None, None, None, 4)


@pytest.mark.parametrize(
    ("evidence", "events", "sentence"),
    [
        ("requests", SHARED[:1], "seen were the requests alone"),
        ("faults", SHARED, "seen were the page faults of 1 watched processes"),
        ("kernel", [*SHARED, Lost(7, samples=True)], "the kernel lost 7 samples"),
    ],
)
def test_the_head_says_what_was_not_seen(evidence: str, events: list[Event | Lost], sentence: str) -> None:
    summary = summary_of(events, evidence, [ANN])
    assert summary.unknown is not None
    assert summary.unknown.startswith(sentence)
    assert summary.unknown in rendered(summary).splitlines()[1]


READ_AHEAD = [
    event(1, size=4 * PAGE, demanded=1),  # pages 0, 2 and 3 unasked
    event(2, offset=8 * PAGE, cls="AHEAD", size=2 * PAGE),  # 8 and 9
    event(3, offset=16 * PAGE, size=2 * PAGE),  # of 16 and 17 nobody knows
    event(4, file=OTHER, op=PUSH, cls=None, size=3 * PAGE, thread=None, tid=0),  # 0 to 2
    got(5, "AHEAD", ANN, 2, ANN),
    got(6, "SHARED", BEN, 8, ANN),
    got(7, "SHARED", CLEO, 8, ANN),  # the same page once more
    got(8, "AHEAD", CLEO, 1, file=OTHER),
    event(9, op=EVICT, cls=None, wait_ns=None, offset=3 * PAGE),
    event(10, offset=3 * PAGE, cls="REFAULT", refaults=1, demanded=3),
    got(11, "SHARED", BEN, 3, ANN),  # asked for this time
    event(12, file=OTHER, op=DROP, cls=None, size=PAGE, thread=None, tid=0),
    got(13, "SHARED", BEN, 0, ANN, file=OTHER),  # not the page that was pushed
]  # fmt: skip


def test_what_was_read_ahead_or_pushed_and_what_became_of_it() -> None:
    summary = summary_of(READ_AHEAD)
    assert summary.readaheads == Unasked(brought=5, used=2, wasted=3, unclear=2)
    assert summary.pushes == Unasked(brought=3, used=1, wasted=2, unclear=0)
    assert (summary.total.demands, summary.total.ahead, summary.evicted) == (3, 1, 1)
    assert (summary.total.pages, summary.total.refaults) == (8, 1)
    assert [(row.file, row.evicted) for row in summary.files] == [("a/b", 1), ("other", 0)]
    text = rendered(summary)
    assert "read ahead: 5 pages unasked, 2 used, 3 wasted, of 2 pages it is not known" in text
    assert "pushed: 3 pages unasked, 1 used, 2 wasted" in text
    assert "evicted: 1 pages, asked for again: 1" in text


@pytest.mark.parametrize(("evidence", "loss"), [("faults", []), ("kernel", [Lost(1, samples=True)])])
def test_nothing_is_called_wasted_where_a_touch_may_have_been_missed(evidence: str, loss: list[Event | Lost]) -> None:
    summary = summary_of([*READ_AHEAD, *loss], evidence, [ANN, BEN])
    assert (summary.readaheads.used, summary.readaheads.wasted) == (2, None)
    assert "2 used, ? wasted" in rendered(summary)


def test_the_time_is_cut_into_buckets() -> None:
    events = [
        event(1, time_ns=0, wait_ns=10),  # bucket 0: page 0
        event(2, time_ns=5, wait_ns=9, offset=PAGE, size=2 * PAGE),  # 0: pages 1 and 2
        event(3, time_ns=20, wait_ns=9, cls="REFAULT", refaults=1),  # 1: page 0 again
        event(4, time_ns=22, wait_ns=9, op=WRITE, cls="WRITE", size=100),  # 1: no demand
        event(5, time_ns=20, wait_ns=9, offset=PAGE, cls="REFAULT", refaults=1),  # 1: page 1 again
        event(6, time_ns=30, wait_ns=9, cls="REFAULT", refaults=1),  # 1: page 0 once more
        got(7, "SHARED", BEN, 0, ANN, time_ns=30),
        event(8, op=EVICT, cls=None, wait_ns=None, time_ns=31, size=2 * PAGE),
        event(9, time_ns=1000, wait_ns=180, offset=7 * PAGE),  # the last
    ]
    timeline = summary_of(events).timeline
    assert timeline is not None
    assert (timeline.start_ns, timeline.bucket_ns, len(timeline.buckets)) == (0, 20, 60)
    assert timeline.buckets[0] == Bucket(demands=2, pages=3, new=3, refaults=0, evicted=0, asked=3, resident=3)
    # pages 0 and 1 were there when they were asked for again, so they had left unseen; they leave at the end of it
    assert timeline.buckets[1] == Bucket(demands=3, pages=2, new=0, refaults=3, evicted=2, asked=3, resident=1)
    assert timeline.buckets[2] == Bucket(0, 0, 0, 0, 0, asked=3, resident=1)
    assert timeline.buckets[59] == Bucket(1, 1, 1, 0, evicted=0, asked=4, resident=2)


def test_what_is_resident_where_files_are_only_read() -> None:
    events = [
        event(1, size=4 * PAGE),
        event(2, op=EVICT, cls=None, wait_ns=None, size=3 * PAGE),
        event(3, cls="REFAULT", refaults=1),
        event(4, file=OTHER, size=2 * PAGE),
        event(5, file=OTHER, op=PUSH, cls=None, size=3 * PAGE, refaults=2, thread=None, tid=0),  # two are there
        event(6, file=OTHER, op=DROP, cls=None, size=8 * PAGE, thread=None, tid=0),
        event(7, file=OTHER, offset=5 * PAGE),
    ]
    timeline = summary_of(events).timeline
    assert timeline is not None
    assert timeline.buckets[-1].resident == 2 + 1
    assert timeline.buckets[-1].asked == 4 + 2 + 1 + 1


def test_the_longest_waits() -> None:
    events: list[Event | Lost] = [event(n, time_ns=n, wait_ns=n % 7 * 100, offset=n * PAGE) for n in range(1, 40)]
    events += [
        event(50, time_ns=50, wait_ns=9000, total_ns=9500, offset=PAGE, size=3 * PAGE),
        event(51, time_ns=51, wait_ns=8000, errno=5, cls="ERROR", reason="x"),
        event(52, time_ns=52, wait_ns=7000, cls="AHEAD"),  # nobody waited
        event(53, time_ns=53, wait_ns=7000, op=WRITE, cls="WRITE"),
        got(54, "JOINED", BEN, 6, ANN, wait_ns=8500, total_ns=8700, time_ns=54),
    ]
    longest = summary_of(events).longest
    assert [
        (one.wait_ns, one.cls, one.page, one.pages, one.total_ns, one.error, one.command) for one in longest[:3]
    ] == [
        (9000, "COLD", 1, 3, 9500, None, "python3"),
        (8500, "JOINED", 6, 1, 8700, None, "ben"),
        (8000, "ERROR", 0, 1, None, "EIO", "python3"),
    ]
    assert [(one.wait_ns, one.time_ns) for one in longest[3:]] == [(600, n) for n in (6, 13, 20, 27, 34)] + [
        (500, 5), (500, 12)
    ]  # fmt: skip


@given(st.lists(st.lists(st.integers(0, 1 << 40)).map(sorted)), st.integers(1, 100))
def test_ranks_of_runs_are_those_of_all_their_values(runs: list[list[int]], percent: int) -> None:
    values = sorted(value for run in runs for value in run)
    assert rank_of_runs(runs, percent) == (nearest_rank(values, percent) if values else 0)


@given(st.integers(0, 1 << 50))
def test_a_bucket_is_as_narrow_as_can_be(span: int) -> None:
    width = width_of(span)
    assert span // width < 60
    assert str(width).rstrip("0") in ("1", "2", "5")
    assert width == 1 or span // (width // 2) >= 40


def test_a_chart() -> None:
    assert bars([0, 1, 8, 16], 2) == ["   █", " ▁██"]
    assert chart([0, 1, 8, 16], 2, "0", "4 s") == ["16 ┤   █", "   ┤ ▁██", " 0 └────", "    04 s"]
    assert bars([0, 0], 1) == ["  "]


@pytest.fixture
def long_trace(tmp_path: Path) -> Path:
    """Of 600 events of all kinds, in a file."""
    path = tmp_path / "t.db"
    store = Store(str(path))
    for fact in (msgspec.structs.replace(MOUNT, evidence="kernel"), FILE, OTHER, ANN, BEN, CLEO):
        store.fact(fact)
    who = (ANN, BEN, CLEO)
    made: list[Event | Lost] = []
    for n in range(1, 601):
        thread, file, at = who[n % 3], (FILE, OTHER)[n % 5 == 0], n * 7919 % 97 * PAGE
        common = {"time_ns": n * 10, "file": file, "offset": at, "thread": thread, "tid": thread.tid}
        match n % 11:
            case 0:
                made.append(event(n, op=EVICT, cls=None, **{**common, "wait_ns": None}))
            case 1 | 2:
                made.append(got(n, "SHARED", thread, n % 97, who[(n + 1) % 3], file=file, time_ns=n * 10))
            case 3:
                made.append(event(n, wait_ns=n % 13, errno=5, cls="ERROR", **common))
            case 4:
                made.append(event(n, wait_ns=n % 13, size=5 * PAGE + 1, refaults=n % 3, **common))
            case 5:
                made.append(event(n, wait_ns=n % 13, op=PUSH, **{**common, "cls": None}))
            case _:
                again = n % 4 == 0
                cls = "REFAULT" if again else "COLD"
                made.append(event(n, wait_ns=n * 31 % 1009, refaults=int(again), **{**common, "cls": cls}))
    store.events(made)
    store.close(7000)
    return path


def test_parts_of_several_processes_add_up_to_the_whole(long_trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = open_trace(str(long_trace))
    try:
        alone = summarise(reading.connection)
        monkeypatch.setattr(spread, "_ALONE", 100)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)))
        started: list[subprocess.Popen[bytes]] = []
        start = spread._start

        def noted() -> "subprocess.Popen[bytes]":
            started.append(start())
            return started[-1]

        monkeypatch.setattr(spread, "_start", noted)
        assert summarise(reading.connection) == alone
        assert [process.returncode for process in started] == [0, 0, 0, 0]
    finally:
        reading.connection.close()


def test_a_process_that_fails_is_an_error_and_leaves_none_behind(
    long_trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = open_trace(str(long_trace))
    try:
        monkeypatch.setattr(spread, "_ALONE", 100)
        monkeypatch.setattr(sys, "executable", "/bin/false")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(2)))
        with pytest.raises(TraceError, match="read part of the trace"):
            summarise(reading.connection)
    finally:
        reading.connection.close()


def test_a_process_has_a_name() -> None:
    assert Process(1, 2, "x").who == Who(1, "x")


def test_reads_that_are_the_same_however_they_are_packed() -> None:
    """The sum is the same where the threads are too many to be packed into a number."""
    events = [
        event(n, wait_ns=n, offset=n % 5 * PAGE, refaults=int(n > 5), cls="REFAULT" if n > 5 else "COLD")
        for n in range(1, 20)
    ]
    packed = summary_of(events)
    huge = msgspec.structs.replace(ANN, key=1 << 61)
    store = Store(":memory:")
    for fact in (msgspec.structs.replace(MOUNT, evidence="kernel"), FILE, huge):
        store.fact(fact)
    store.events([msgspec.structs.replace(one, thread=huge, thread_key=huge.key) for one in events])
    assert summarise(store.connection) == packed
    store.connection.close()


def rendered(summary: Summary) -> str:
    out = io.StringIO()
    render(summary, Console(file=out, width=160))
    return out.getvalue()


def test_the_matrix_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [line.split() for line in rendered(summary_of(SHARED)).splitlines()]
    assert ["pages", "got", "from", "python3/100", "cleo/300", "all"] in rows
    assert ["ben/200", "2", "1", "3"] in rows
    assert ["cleo/300", "2", "0", "2"] in rows
    many = [ThreadFact(10 + n, 1000 + n, "ben", 1000 + n, 6, "ben", "ben", None, 0) for n in range(12)]
    store = Store(":memory:")
    facts: list[Fact] = [msgspec.structs.replace(MOUNT, evidence="kernel"), FILE, ANN, *many]
    for fact in facts:
        store.fact(fact)
    store.events([got(n + 1, "SHARED", ANN, n, by) for n, by in enumerate(many)])
    (row,) = [
        line.split()
        for line in rendered(summarise(store.connection)).splitlines()
        if line.startswith("python3/100  ") and line.endswith("12")
    ][-1:]
    store.connection.close()
    assert row == ["python3/100", *["1"] * 8, "4", "12"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["read", "read", "read", "evict", "push", "drop", "write", "error", "hit"]),
        st.integers(0, 1),
        st.integers(0, 9),
        st.integers(1, 60),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 3))
def test_the_time_against_a_plain_recomputation(steps: list[tuple[str, int, int, int]], width: int) -> None:
    """What happens to a page cache, told as events; `width` pages are read at once."""
    cache, seen = set[tuple[int, int]](), set[tuple[int, int]]()
    events: list[Event | Lost] = []
    states: list[tuple[int, str, list[tuple[int, int]], int, int, int]] = []  # time, op, pages, new, asked, resident
    time_ns = 1000
    for op, number, first, gap in steps:
        file = (FILE, OTHER)[number]
        pages = [(number, first * width + page) for page in range(width)]
        there = [page in cache for page in pages]
        if (op == "read" and any(there)) or (op == "evict" and not all(there)):
            continue  # the kernel would not
        time_ns += gap
        serial, new = len(events) + 1, len(set(pages) - seen) if op in ("read", "push") else 0
        where = {"file": file, "offset": first * width * PAGE, "size": width * PAGE, "time_ns": time_ns}
        again = {"refaults": width - new, "wait_ns": 0}
        match op:
            case "read":
                events.append(event(serial, cls="COLD" if new else "REFAULT", **where, **again))
            case "push":
                events.append(event(serial, op=PUSH, cls=None, thread=None, tid=0, **where, **again))
            case "drop":
                events.append(event(serial, op=DROP, cls=None, thread=None, tid=0, wait_ns=0, **where))
            case "write":
                events.append(event(serial, op=WRITE, cls="WRITE", wait_ns=0, **where))
            case "error":
                events.append(event(serial, cls="ERROR", errno=5, wait_ns=0, **where))
            case "evict":
                events.append(event(serial, op=EVICT, cls=None, wait_ns=None, **where))
            case _:
                events.append(event(serial, op=HIT, cls=None, wait_ns=None, **where))
        if op in ("read", "push", "write"):
            cache.update(pages)
        if op in ("read", "push"):
            seen.update(pages)
        if op in ("evict", "drop"):
            cache.difference_update(pages)
        states.append((time_ns, op, pages, new, len(seen), len(cache)))
    timeline = summary_of(events).timeline
    requests = [state for state in states if state[1] not in ("evict", "hit")]
    if timeline is None:
        assert not requests
        return
    start = requests[0][0]
    asked = resident = 0
    at = 0
    for number, bucket in enumerate(timeline.buckets):
        own = []
        while at < len(states):
            # what is no request belongs to the bucket of the request before it
            later = states[at][1] not in ("evict", "hit") and states[at][0] - start >= (number + 1) * timeline.bucket_ns
            if later:
                break
            own.append(states[at])
            at += 1
        read = [state for state in own if state[1] == "read"]
        asked, resident = own[-1][4:] if own else (asked, resident)
        assert bucket == Bucket(
            demands=len(read),
            pages=len({page for state in read for page in state[2]}),
            new=sum(state[3] for state in read),
            refaults=sum(width - state[3] for state in read),
            evicted=sum(width for state in own if state[1] == "evict"),
            asked=asked,
            resident=resident,
        )
    assert at == len(states)
