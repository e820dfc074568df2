"""Plans: what a run needed, in its order, each page once; versions told apart; neighbours read at once."""

import itertools
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapfs.errors import TraceError
from mapfs.trace.events import AHEAD, DROP, FAULT, HIT, PUSH, WRITE, Event, Lost
from mapfs.trace.plan import Plan, PlannedFile, Run, difference, reads_of, version_text
from mapfs.trace.planning import plan_for, plan_of
from mapfs.trace.store import Store
from mapfs.views.score import Row, score_of
from tests.unit.samples import FILE, MOUNT, THREAD, event

PAGE = os.sysconf("SC_PAGE_SIZE")
OTHER = msgspec.structs.replace(FILE, id=2, inode=3, path="lib", size=5000)


def store(
    path: Path | str, events: Sequence[Event | Lost], evidence: str = "kernel", files: Any = (FILE, OTHER)
) -> Store:
    made = Store(str(path))
    for fact in (msgspec.structs.replace(MOUNT, page_size=PAGE, evidence=evidence), THREAD, *files):
        made.fact(fact)
    made.events(events)
    return made


def trace(path: Path, events: Sequence[Event], **settings: Any) -> str:
    store(path, events, **settings).close(1)
    return str(path)


def at(serial: int, page: int, **changes: Any) -> Event:
    return event(serial, **{"offset": page * PAGE, "size": PAGE, **changes})


def test_pages_come_in_the_order_of_need_each_once(tmp_path: Path) -> None:
    events = [at(1, 5), at(2, 6), at(3, 0, file=OTHER), at(4, 7), at(5, 5), at(6, 3, cls="ERROR", errno=5)]
    events += [at(7, 2, op=WRITE), at(8, 1, op=PUSH, cls=None), at(9, 4, direct=True), at(10, 8, op=DROP, cls=None)]
    plan = plan_of([trace(tmp_path / "t.db", events)])
    assert plan.runs == [Run(0, 5, 2), Run(1, 0, 1), Run(0, 7, 1)]
    assert [(file.path, file.size) for file in plan.files] == [("a/b", 32768), ("lib", 5000)]
    assert plan.pages == 4


def test_what_was_pushed_and_used_is_needed_again_and_what_was_read_ahead_in_vain_is_not(tmp_path: Path) -> None:
    events = [
        at(1, 0, size=4 * PAGE, demanded=1, via="fault"),
        at(2, 2, op=FAULT, cls=AHEAD, via="fault", wait_ns=None),
        at(3, 4, size=2 * PAGE, cls=AHEAD),
        at(4, 7, op=HIT, cls=AHEAD, via="read", wait_ns=None),
    ]
    assert plan_of([trace(tmp_path / "t.db", events)]).runs == [Run(0, 1, 2), Run(0, 7, 1)]
    blind = trace(tmp_path / "blind.db", events, evidence="faults")
    assert plan_of([blind]).runs == [Run(0, 0, 6), Run(0, 7, 1)], "what was not used cannot be told from what was"


def test_the_newest_version_of_a_file_counts(tmp_path: Path) -> None:
    newer = msgspec.structs.replace(FILE, id=3, version="b", generation=2)
    path = trace(tmp_path / "t.db", [at(1, 1), at(2, 2, file=newer)], files=(FILE, newer))
    plan = plan_of([path])
    assert (plan.runs, plan.files) == ([Run(0, 2, 1)], [PlannedFile("a/b", 32768, "b")])


def test_traces_are_merged_and_versions_must_agree(tmp_path: Path) -> None:
    one = trace(tmp_path / "1.db", [at(1, 1), at(2, 2)])
    two = trace(tmp_path / "2.db", [at(1, 2), at(2, 0), at(3, 0, file=OTHER)])
    assert plan_of([one, two]).runs == [Run(0, 1, 2), Run(0, 0, 1), Run(1, 0, 1)]
    assert plan_of([two, one]).runs == [Run(0, 2, 1), Run(0, 0, 1), Run(1, 0, 1), Run(0, 1, 1)]
    assert plan_of([two], only="lib").files == [PlannedFile("lib", 5000)]
    assert plan_of([two], only="a").runs == [Run(0, 2, 1), Run(0, 0, 1)], "of a directory"
    larger = trace(tmp_path / "3.db", [at(1, 1)], files=(msgspec.structs.replace(FILE, size=PAGE * 9),))
    with pytest.raises(TraceError, match=r"3\.db has another version of a/b than the traces before it"):
        plan_of([one, larger])
    merged = plan_for([one], {"lib": two})
    assert merged is not None and merged.runs == [Run(0, 1, 2), Run(1, 0, 1)]
    assert plan_for([], {}) is None


def test_an_exported_list_is_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text(f"# offset\tlength\tfile\n{PAGE * 3}\t{PAGE + 1}\ta\tb\n0\t10\tc\n")
    plan = plan_of([str(path)])
    assert (plan.files, plan.runs) == ([PlannedFile("a\tb"), PlannedFile("c")], [Run(0, 3, 2), Run(1, 0, 1)])


@pytest.mark.parametrize("text", ["nonsense\n", "1\t2\n", "x\t1\tf\n", "-1\t1\tf\n", "0\t0\tf\n"])
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list"
    path.write_text("# a comment\n" + text)
    with pytest.raises(TraceError, match=r"neither a trace nor a list of pages \(line 2\)"):
        plan_of([str(path)])
    with pytest.raises(TraceError, match="cannot read"):
        plan_of([str(tmp_path / "missing")])
    with pytest.raises(TraceError, match="is a directory"):
        plan_of([str(tmp_path)])
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (a)").connection.close()
    with pytest.raises(TraceError, match="not a trace"):
        plan_of([str(tmp_path / "other.db")])


def test_versions() -> None:
    assert version_text(None) is None
    assert version_text(object()) is None, "its repr is another in every process"
    assert version_text((1, 2)) == version_text((1, 2)) != version_text((1, 3))
    known = PlannedFile("f", 10, "a")
    assert difference(known, 10, "a") is None
    assert "11 bytes and had 10" in str(difference(known, 11, "a"))
    assert "another version" in str(difference(known, 10, "b"))
    assert difference(known, 10, None) is None and difference(PlannedFile("f"), 1, "b") is None


RUNS = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 40)), min_size=1, max_size=30)


@given(RUNS, st.integers(0, 20), st.integers(1, 64))
def test_reads_have_each_wanted_page_once_and_no_far_one(runs: list[tuple[int, int]], gap: int, most: int) -> None:
    wanted = {page for first, pages in runs for page in range(first, first + pages)}
    reads = reads_of(runs, gap, most)
    got = [page for read in reads for first, pages in read.runs for page in range(first, first + pages)]
    assert set(got) == wanted
    for read in reads:
        inside = [page for first, pages in read.runs for page in range(first, first + pages)]
        assert read.pages <= most and inside == sorted(set(inside))
        assert (min(inside), max(inside)) == (read.first, read.first + read.pages - 1), "it ends with what is wanted"
        assert all(later - earlier <= gap + 1 for earlier, later in itertools.pairwise(inside))


def test_neighbours_are_one_read_and_what_is_needed_first_comes_first() -> None:
    runs = [(50, 1), (3, 2), (51, 2), (0, 2), (10, 1)]
    assert [(read.first, read.pages, read.runs) for read in reads_of(runs, 0, 100)] == [
        (50, 3, [(50, 3)]), (3, 2, [(3, 2)]), (0, 2, [(0, 2)]), (10, 1, [(10, 1)])
    ]  # fmt: skip
    assert [(read.first, read.pages, read.runs) for read in reads_of(runs, 5, 100)] == [
        (50, 3, [(50, 3)]), (0, 11, [(0, 2), (3, 2), (10, 1)])
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10_000), st.integers(1, 9000)), max_size=20))
def test_batches_have_all_and_grow(runs: list[tuple[int, int, int]]) -> None:
    plan = Plan([PlannedFile(str(number)) for number in range(4)], [Run(*run) for run in runs])
    sizes, pieces = [], []
    for batch in plan.batches():
        sizes.append(sum(pages for each in batch.values() for _, pages in each))
        pieces += [(file, *run) for file, each in batch.items() for run in each]
    assert sum(sizes) == plan.pages and all(size <= 4096 for size in sizes)
    assert sizes[:-1] == [min(4096, 64 << number) for number in range(len(sizes))][:-1]
    for number in range(4):
        planned = [page for file, first, count in runs if file == number for page in range(first, first + count)]
        given_out = [page for file, first, count in pieces if file == number for page in range(first, first + count)]
        assert given_out == planned, "in order"


WARMED: list[Event | Lost] = [
    at(1, 0),  # before the first push: not missed
    at(2, 1, op=PUSH, cls=None, size=4 * PAGE),
    at(3, 1, op=FAULT, cls=AHEAD, via="fault", wait_ns=None, size=2 * PAGE),
    at(4, 4, op=DROP, cls=None),
    at(5, 4),  # pushed, dropped before it was used, and demanded
    at(6, 6),
    at(7, 7, cls=AHEAD),  # nobody waited
    at(8, 1, op=FAULT, cls=AHEAD, via="fault", wait_ns=None),  # another process: it was used before
]


def test_the_score() -> None:
    warmed = store(":memory:", WARMED)
    before = store(":memory:", [at(1, 1, wait_ns=500), at(2, 2, size=2 * PAGE, wait_ns=600), at(3, 6, wait_ns=9)])
    try:
        score = score_of(warmed.connection, [before.connection])
        assert score.rows == [Row("a/b", pushed=4, used=2, unused=2, missed=2)]
        assert (score.saved_ns, score.saved_pages) == (500 + 300, 2)
        assert score_of(warmed.connection).saved_ns is None
    finally:
        warmed.connection.close()
        before.connection.close()


@pytest.mark.parametrize(("evidence", "used", "unused"), [("requests", None, None), ("faults", 2, None)])
def test_what_the_evidence_cannot_tell_is_no_number(evidence: str, used: int | None, unused: int | None) -> None:
    events = [one for one in WARMED if isinstance(one, Event) and (one.op != FAULT or evidence != "requests")]
    warmed = store(":memory:", events, evidence)
    try:
        score = score_of(warmed.connection, [warmed.connection])
    finally:
        warmed.connection.close()
    assert score.rows == [Row("a/b", pushed=4, used=used, unused=unused, missed=2)]
    assert (score.saved_ns is None) == (evidence == "requests")
    assert score.as_json()["used"] == used


def test_of_lost_events_nothing_is_called_unused() -> None:
    warmed = store(":memory:", [*WARMED, Lost(3)])
    try:
        (row,) = score_of(warmed.connection).rows
    finally:
        warmed.connection.close()
    assert (row.pushed, row.used, row.unused) == (4, 2, None)
