"""Exports of hand-made traces: what the format says about them, checked strictly, and what other programs read."""

import io
import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapfs.trace.events import DROP, EVICT, FAULT, HIT, PUSH, READ, WRITE, Event, Lost, as_json
from mapfs.trace.facts import ThreadFact
from mapfs.views.export import FORMATS, parquet, perfetto
from mapfs.views.export.bringers import Bringers
from tests.unit.samples import FILE, THREAD, event

PAGE = 4096
OTHER = msgspec.structs.replace(FILE, id=2, path="other")
ANN = THREAD
BEN = ThreadFact(2, 200, "ben", 200, 6, "ben", "ben", None, 0)


def got(serial: int, cls: str | None, page: int, by: ThreadFact | None, **changes: Any) -> Event:
    """A row of `faults`, of Ben."""
    values = {"op": FAULT, "wait_ns": None, "thread": BEN, "tid": BEN.tid, "offset": page * PAGE, **changes}
    return event(serial, cls=cls, by=by, by_key=by.key if by else 0, **values)


def timeline(events: Sequence[Event | Lost], evidence: str = "kernel") -> list[dict[str, Any]]:
    """The events of the trace-event format, after all checks of `check`."""
    out = io.StringIO()
    perfetto.write([as_json(one, 0) for one in events], out, evidence)
    told: list[dict[str, Any]] = json.loads(out.getvalue())["traceEvents"]
    check(told)
    return told


REQUIRED = {
    "X": {"name", "cat", "ts", "dur"},
    "M": {"name", "args"},
    "C": {"name", "ts", "args"},
    "i": {"name", "ts", "s"},
    "s": {"name", "cat", "id", "ts"},
    "f": {"name", "cat", "id", "ts", "bp"},
}


def check(told: Sequence[dict[str, Any]]) -> None:
    """The trace-event format: phases, their keys, slices that do not overlap on a track, and flows that are bound."""
    slices: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    named: dict[str, set[tuple[int, int]]] = {"process_name": set(), "thread_name": set()}
    flows: dict[tuple[str, str, int], dict[str, dict[str, Any]]] = defaultdict(dict)
    for one in told:
        assert one.keys() >= {"ph", "pid", "tid"} | REQUIRED[one["ph"]], one
        assert all(isinstance(one[key], int) and one[key] >= 0 for key in ("pid", "tid"))
        assert all(one.get(key, 0) >= 0 for key in ("ts", "dur"))
        track = (one["pid"], one["tid"])
        match one["ph"]:
            case "X":
                start = ns(one["ts"])
                slices[track].append((start, start + ns(one["dur"])))
            case "M":
                assert isinstance(one["args"]["name"], str)
                assert track not in named[one["name"]]
                named[one["name"]].add(track)
            case "C":
                assert all(isinstance(value, int) and value >= 0 for value in one["args"].values())
            case "i":
                assert one["s"] in "gpt"
            case phase:
                assert phase == "s" or one["bp"] == "e"
                key = (one["name"], one["cat"], one["id"])
                assert phase not in flows[key], "a flow begins and ends once"
                flows[key][phase] = one
    for own in slices.values():
        ordered = sorted(own)
        assert all(end > start for start, end in ordered)
        assert all(end <= start for (_, end), (start, _) in pairwise(ordered))
    assert set(slices) <= named["thread_name"] == named["process_name"]
    for flow in flows.values():
        assert set(flow) == {"s", "f"}
        assert ns(flow["s"]["ts"]) <= ns(flow["f"]["ts"])
        for end in flow.values():
            at = ns(end["ts"])
            assert any(start <= at < stop for start, stop in slices[end["pid"], end["tid"]]), "bound to a slice"


def ns(us: float) -> int:
    return round(us * 1000)


def of(told: Sequence[dict[str, Any]], *phases: str) -> list[dict[str, Any]]:
    return [one for one in told if one["ph"] in phases]


def test_a_flow_leads_from_who_brought_a_page_to_who_joined_or_shared_it() -> None:
    told = timeline(
        [
            event(1, time_ns=10_000, wait_ns=5_000, size=2 * PAGE, tid=101),
            got(2, "JOINED", 1, ANN, time_ns=12_000, wait_ns=3_100),
            got(3, "SHARED", 0, ANN, time_ns=20_000, op=HIT),
            got(4, "AHEAD", 1, BEN, time_ns=21_000),
            got(5, "SHARED", 7, ANN, time_ns=22_000),  # whose request is not in the trace
            got(6, "SHARED", 0, None, time_ns=23_000),
        ]
    )
    assert [(one["ph"], one["pid"], one["tid"], ns(one["ts"])) for one in of(told, "s", "f")] == [
        ("s", 100, 101, 10_000),
        ("f", 200, 200, 12_000),
        ("s", 100, 101, 10_000),
        ("f", 200, 200, 20_000),
    ]
    assert [(one["name"], ns(one["dur"])) for one in of(told, "X")] == [
        ("COLD a/b pages 0-1", 5_000),
        ("JOINED a/b page 1", 3_100),
        ("SHARED a/b page 0", 1),
        ("AHEAD a/b page 1", 1),
        ("SHARED a/b page 7", 1),
        ("SHARED a/b page 0", 1),
    ]


def test_a_page_that_was_brought_by_another_than_the_evidence_says_has_no_flow() -> None:
    cleo = ThreadFact(3, 300, "cleo", 300, 7, "cleo", "cleo", None, 0)
    assert not of(timeline([event(1), got(2, "SHARED", 0, cleo, time_ns=9_000)]), "s", "f")


def test_what_a_thread_did_at_the_same_time_is_on_another_track() -> None:
    told = timeline(
        [event(1, time_ns=100, wait_ns=50), event(2, time_ns=120, wait_ns=60), event(3, time_ns=150, wait_ns=70)]
    )
    assert [one["tid"] for one in of(told, "X")] == [101, 101 + (1 << 32), 101]
    assert [one["args"]["name"] for one in told if one["name"] == "thread_name"] == [
        "python3/101", "python3/101, at the same time 1",
    ]  # fmt: skip


COUNTED = [
    event(1, size=4 * PAGE),
    event(2, op=PUSH, cls=None, thread=None, tid=0, offset=3 * PAGE, size=2 * PAGE, time_ns=3_000),
    event(3, op=EVICT, cls=None, wait_ns=None, size=3 * PAGE, time_ns=4_000),
    event(4, op=EVICT, cls=None, wait_ns=None, offset=999 * PAGE, time_ns=4_500),  # was never brought in
    event(5, op=DROP, cls=None, thread=None, tid=0, size=600 * PAGE, time_ns=5_000),
    event(6, cls="REFAULT", refaults=1, time_ns=6_000),
    event(7, cls="ERROR", errno=5, reason="x", offset=9 * PAGE, time_ns=7_000),
    event(8, op=WRITE, cls="WRITE", offset=9 * PAGE, time_ns=8_000),
]


@pytest.mark.parametrize(
    ("evidence", "counts", "what"),
    [("kernel", [4, 5, 2, 2, 0, 1], "in the page cache"), ("requests", [4, 5, 5], "asked for")],
)
def test_a_counter_is_called_what_it_counts(evidence: str, counts: list[int], what: str) -> None:
    told = of(timeline(COUNTED, evidence), "C")
    assert [one["args"]["pages"] for one in told] == counts
    assert {one["name"] for one in told} == {f"pages of a/b {what}"}


ANYTHING = st.lists(
    st.tuples(
        st.sampled_from([READ, READ, WRITE, PUSH, DROP, FAULT, FAULT, HIT, EVICT]),
        st.sampled_from(["SHARED", "JOINED", "AHEAD", None]),
        st.integers(0, 5),
        st.integers(1, 3),
        st.integers(0, 40),
        st.integers(0, 30),
        st.sampled_from([ANN, BEN, None]),
        st.sampled_from([ANN, BEN, None]),
    ),
    max_size=40,
)


@given(ANYTHING, st.sampled_from([1_000_000, 1_700_000_000_000_000_000]))
def test_whatever_happens_the_timeline_is_well_formed(drawn: list[tuple[Any, ...]], base: int) -> None:
    events: list[Event | Lost] = []
    for serial, (op, cls, page, pages, at, wait, thread, by) in enumerate(drawn, 1):
        who = {"thread": thread, "tid": thread.tid if thread else 0, "time_ns": base + at}
        where = {"offset": page * PAGE, "size": pages * PAGE}
        if op in (FAULT, HIT):
            events.append(got(serial, cls, page, by, op=op, wait_ns=wait if cls == "JOINED" else None, **who))
        else:
            events.append(event(serial, op=op, cls=None, wait_ns=None if op == EVICT else wait, **who, **where))
    told = timeline(events)
    assert len(of(told, "X", "i")) == len(events)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("ab"), st.integers(0, 1500), st.integers(1, 700))))
def test_bringers_are_a_plain_mapping(steps: list[tuple[bool, str, int, int]]) -> None:
    bringers, plain = Bringers(), dict[tuple[str, int], tuple[int, int]]()
    for number, (bring, file, first, count) in enumerate(steps):
        pages = range(first, first + count)
        if bring:
            bringers.bring(file, pages, number * 10, number)
            plain.update({(file, page): (number * 10, number) for page in pages})
        else:
            bringers.leave(file, pages)
            for page in pages:
                plain.pop((file, page), None)
    for file in "ab":
        assert bringers.count(file) == sum(one == file for one, _ in plain)
        assert all(bringers.who(file, page) == plain.get((file, page)) for page in range(0, 2300, 7))


def test_parquet_has_types_and_is_read_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_ROWS", 2)  # in a row group
    events: list[Event | Lost] = [
        event(1, time_ns=1_700_000_000_123_456_789, via="fault", demanded=0, total_ns=400),
        got(2, "SHARED", 0, ANN),
        event(3, cls="ERROR", errno=5, reason="x", thread=None, tid=0),
        Lost(7),
        event(11, direct=True, cls=None, offset=1 << 50),
    ]
    told = [as_json(one, 0) for one in events]
    path = tmp_path / "t.parquet"
    with open(path, "wb") as file:
        parquet.write(told, file)
    with duckdb.connect() as db:
        table = db.read_parquet(str(path))
        types = dict(zip(table.columns, map(str, table.types), strict=True))
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()]
        nanoseconds = table.project("epoch_ns(wall_ns)").fetchall()
        groups = db.execute("SELECT max(row_group_id) + 1 FROM parquet_metadata(?)", [str(path)]).fetchall()
        query = table.filter("class = 'SHARED'").aggregate("by_command, count(*)").fetchall()
    assert groups == [(3,)]
    assert query == [("python3", 1)]
    assert {name for name, kind in types.items() if kind == "VARCHAR"} == {
        "op", "class", "via", "file", "command", "container", "error", "reason", "by_command", "label",
    }  # fmt: skip
    assert {types[name] for name in ("time_ns", "offset", "pages", "wait_ns", "by_pid", "lost")} == {"BIGINT"}
    assert (types["direct"], types["label"]) == ("BOOLEAN", "VARCHAR")
    assert nanoseconds[0] == (1_700_000_000_123_456_789,)
    for row, one in zip(rows, told, strict=True):
        if one["op"] == "lost":
            assert {key for key, value in row.items() if value is not None} == {"op", "lost"}
            assert row["lost"] == 7
            continue
        by = one.pop("by") or {"tid": None, "pid": None, "command": None}
        expected = {**one, **{f"by_{key}": value for key, value in by.items()}, "lost": None}
        expected["via"] = None if one["via"] == "?" else one["via"]
        del row["wall_ns"], expected["wall_ns"]
        assert row == expected


def test_an_empty_trace_is_an_empty_table(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with open(path, "wb") as file:
        parquet.write([], file)
    with duckdb.connect() as db:
        assert db.read_parquet(str(path)).fetchall() == []


def test_each_format_has_its_module() -> None:
    assert [name for name, one in FORMATS.items() if one.binary] == ["parquet"]
