"""What `mapfs live` knows of events: by hand, against the queries of the summary, and in bounded memory."""

import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapfs.trace.events import DROP, EVICT, FAULT, HIT, PUSH, READ, WRITE, Event, Lost, as_json
from mapfs.trace.facts import FileFact
from mapfs.trace.store import Store
from mapfs.views.live import labels
from mapfs.views.live import model as live
from mapfs.views.live.model import Model, Mount
from mapfs.views.live.pagemap import MOST_CELLS, PageMap
from mapfs.views.live.rate import BUCKET_NS, Rate
from mapfs.views.live.residency import Residency
from mapfs.views.live.words import log_line, matcher
from mapfs.views.summary import summarise
from tests.support import ROOT
from tests.unit.samples import FILE, MOUNT, THREAD, WALL_OFFSET, event

PAGE = 4096
OTHER = msgspec.structs.replace(THREAD, key=2, tid=300, pid=300, command="boxed", container="c" * 64)
SECOND = msgspec.structs.replace(THREAD, key=3, tid=100)
TEXT = FileFact(2, 3, "text", "text:x", 5000, 1)
SIZES = {"a/b": 32768, "text": 5000}


def modelled(events: list[Event | Lost], evidence: str = "kernel") -> Model:
    """A model that was told of them."""
    made = Model(Mount("/mnt/x", PAGE, evidence, 0), SIZES.get)
    for one in events:
        made.apply(as_json(one, WALL_OFFSET))
    return made


def got(serial: int, page: int, cls: str | None, **changes: Any) -> Event:
    """Pages that OTHER got from the page cache."""
    changes = {"op": FAULT, "wait_ns": None, "thread": OTHER, "tid": 300, "by": THREAD, **changes}
    return event(serial, offset=page * PAGE, cls=cls, **changes)


def test_by_hand() -> None:
    made = modelled(
        [
            event(1, time_ns=1_000_000_000, wait_ns=10),  # a/b, page 0
            event(2, time_ns=1_100_000_000, wait_ns=30, offset=PAGE, size=3 * PAGE, refaults=1),
            got(3, 0, "SHARED", time_ns=1_200_000_000),
            got(4, 1, "JOINED", time_ns=1_300_000_000, wait_ns=20, op=FAULT),
            got(5, 2, "AHEAD", time_ns=1_400_000_000, by=None, op=HIT),
            event(6, time_ns=1_500_000_000, wait_ns=5, cls="AHEAD", offset=5 * PAGE, thread=None, tid=0),
            event(7, time_ns=1_600_000_000, wait_ns=7, errno=5, cls="ERROR", reason="x", offset=7 * PAGE),
            event(8, time_ns=1_700_000_000, op=EVICT, cls=None, wait_ns=None, offset=PAGE, size=2 * PAGE),
            event(9, time_ns=1_800_000_000, op=DROP, cls=None, wait_ns=1, size=PAGE),
            event(10, time_ns=1_900_000_000, op=PUSH, cls=None, wait_ns=1, offset=6 * PAGE, thread=None, tid=0),
        ]
    )
    total = made.total
    assert (total.demands, total.pages, total.refaults, total.bytes) == (2, 4, 1, 5 * PAGE)
    assert (total.shared, total.joined, total.ahead, total.evicted, total.dropped, total.pushed) == (1, 1, 1, 2, 1, 1)
    assert (total.errors, total.wait_ns, total.waited_ns) == (1, 47, 10 + 30 + 7 + 20)
    assert (made.events, made.lost) == (10, 0)
    file = made.files["a/b"]
    assert file.counts == total
    assert made.resident(file) == (3, True)  # 3, 5 and 6
    assert [file.resident.within(page, 1) for page in range(8)] == [0, 0, 0, 1, 0, 1, 1, 0]
    python, boxed, nobody = made.processes.values()
    assert (python.name, boxed.name, nobody.name) == ("python3/100", "boxed/300", "?")
    assert (boxed.counts.demands, boxed.counts.shared, boxed.counts.joined, boxed.counts.waited_ns) == (0, 1, 1, 20)
    assert file.readers == {python.number, boxed.number}
    kinds = [live.KINDS[file.map.seen(page, 1).kind] for page in range(8)]
    assert kinds == ["SHARED", "JOINED", "AHEAD", "COLD", "", "AHEAD", "PUSH", "ERROR"]
    assert [file.map.seen(page, 1).demands for page in range(8)] == [1, 1, 1, 1, 0, 1, 0, 0]
    assert file.map.seen(0, 8).demands == 5
    assert file.map.seen(0, 4).at_ms == 400
    assert made.rate.a_second(2_000_000_000) == 5


@pytest.mark.parametrize("evidence", ["requests", "faults"])
def test_residency_is_not_known_where_evictions_are_not_seen(evidence: str) -> None:
    made = modelled([event(1)], evidence)
    assert made.resident(made.files["a/b"]) is None


def test_after_a_loss_what_is_resident_is_a_lower_bound() -> None:
    made = modelled([event(1), event(2, offset=PAGE), Lost(7), event(10, offset=2 * PAGE), Lost(3, samples=True)])
    assert (made.lost, made.lost_samples) == (7, 3)
    assert made.resident(made.files["a/b"]) == (0, False)
    made.apply(as_json(event(11, offset=3 * PAGE), WALL_OFFSET))
    assert made.resident(made.files["a/b"]) == (1, False)


def test_a_page_that_is_written_in_part_is_not_known_to_be_in_the_cache() -> None:
    made = modelled([event(1, op=WRITE, cls="WRITE", offset=100, size=3 * PAGE)])
    assert [made.files["a/b"].resident.within(page, 1) for page in range(4)] == [0, 1, 1, 0]


@st.composite
def histories(draw: st.DrawFn) -> list[Event | Lost]:
    """Events of any kind, in the order of their serial numbers."""
    made: list[Event | Lost] = []
    serial = 0
    for _ in range(draw(st.integers(1, 30))):
        serial += 1
        if draw(st.integers(0, 19)) == 0:
            made.append(Lost(count := draw(st.integers(1, 9))))
            serial += count - 1
            continue
        op = draw(st.sampled_from([READ, READ, READ, WRITE, PUSH, DROP, FAULT, HIT, EVICT]))
        pages, thread = draw(st.integers(1, 4)), draw(st.sampled_from([THREAD, OTHER, SECOND, None]))
        failed = op in (READ, WRITE) and draw(st.integers(0, 5)) == 0
        asked = op in (READ, WRITE, PUSH, DROP)
        direct = op == READ and draw(st.booleans())
        cls = draw(st.sampled_from(["COLD", "REFAULT", "AHEAD"])) if op == READ and not direct else None
        if op in (FAULT, HIT):
            cls = draw(st.sampled_from(["SHARED", "JOINED", "AHEAD", None]))
        made.append(
            event(
                serial, time_ns=serial * 1_000_000, op=op, cls="ERROR" if failed else cls, errno=5 if failed else 0,
                reason="why" if failed else None, file=draw(st.sampled_from([FILE, TEXT])), size=pages * PAGE,
                offset=draw(st.integers(0, 4)) * PAGE, thread=thread, tid=thread.tid if thread else 0,
                wait_ns=draw(st.integers(0, 1000)) if asked or cls == "JOINED" else None,
                refaults=draw(st.integers(0, pages)) if op == READ and not failed else 0,
                direct=direct,
            )
        )  # fmt: skip
    return made


@given(histories())
def test_every_number_is_that_of_the_same_query_on_the_trace(history: list[Event | Lost]) -> None:
    store = Store(":memory:")
    try:
        for fact in (MOUNT, FILE, TEXT, THREAD, OTHER, SECOND):
            store.fact(fact)
        store.events(history)
        summary, made = summarise(store.connection), modelled(history)
        names = [name for name in summary.total.__slots__ if not name.startswith("wait_p")]
        rows = [(made.total, summary.total)]
        rows += [(made.files[row.file].counts, row.counts) for row in summary.files]
        rows += [(made.processes[row.pid, row.command].counts, row.counts) for row in summary.processes]
        for mine, asked in rows:
            got = {name: getattr(mine, "asked_ahead" if name == "ahead" else name) for name in names}
            assert got == {name: getattr(asked, name) for name in names}
        assert made.lost == summary.lost
        db = store.connection
        for name in ("SHARED", "JOINED", "AHEAD"):
            query = "SELECT coalesce(sum(size) / 4096, 0) FROM faults WHERE class = ?"
            assert getattr(made.total, name.lower()) == db.execute(query, (name,)).fetchone()[0]
        assert made.total.evicted == db.execute("SELECT coalesce(sum(size) / 4096, 0) FROM evictions").fetchone()[0]
        demands = db.execute(
            "SELECT f.path, r.offset / 4096, r.size / 4096 FROM requests r JOIN files f ON f.id = r.file "
            "WHERE r.op = 1 AND r.errno = 0 AND r.direct = 0"
        ).fetchall()
        for path, file in made.files.items():
            for page in range(9):
                wanted = sum(first <= page < first + count for name, first, count in demands if name == path)
                assert file.map.seen(page, 1).demands == wanted
    finally:
        store.connection.close()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9000), st.integers(0, 5000)), max_size=30))
def test_pages_are_a_set(changes: list[tuple[bool, int, int]]) -> None:
    bits, wanted = Residency(), set[int]()
    for adds, first, count in changes:
        if adds:
            bits.add(first, count)
            wanted |= set(range(first, first + count))
        else:
            bits.discard(first, count)
            wanted -= set(range(first, first + count))
        assert bits.count == len(wanted)
        assert bits.within(first // 2, count) == len(wanted & set(range(first // 2, first // 2 + count)))


@given(
    st.lists(
        st.tuples(st.sampled_from(["read", "found", "left"]), st.integers(0, 20_000), st.integers(1, 300)), max_size=12
    ),
    st.integers(0, 12),
)
@settings(deadline=None)
def test_groups_of_pages_are_counted_exactly_where_they_are_read_and_else_at_least(
    changes: list[tuple[str, int, int]], coarse_from: int
) -> None:
    """`read`: what was absent; `found`: what may have been there, so that no more than this is known."""
    known, there = Residency(), set[int]()
    exact = True
    for number, (what, first, count) in enumerate(changes):
        if number in (coarse_from, coarse_from + 5):
            known.coarsen()
        pages = set(range(first, first + count))
        if what == "read":
            for page in sorted(pages - there):
                known.add(page, absent=True)
            there |= pages
        elif what == "found":
            exact = exact and pages <= there
            there |= pages
            known.add(first, count)
        else:
            for page in sorted(pages & there):
                known.discard(page, 1)
            there -= pages
        each = known.pages_a_group
        assert known.count <= len(there)
        assert known.count == len(there) or not exact or each > 1
        for group in range(0, 24_000, max(each, 4096)):
            inside = sum(group <= page < group + max(each, 4096) for page in there)
            assert known.within(group, max(each, 4096)) <= inside
            assert not exact or known.within(group, max(each, 4096)) == inside
    known.discard(0, 1 << 40)
    assert known.count == 0


def test_events_all_over_a_huge_file_take_no_more_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spread over 5 TiB: each touches other words and chunks. The limits are smaller, so that they are met soon."""
    monkeypatch.setattr(live, "MOST_RESIDENCY", 1 << 20)
    monkeypatch.setattr(live, "MOST_MAPPED", 1 << 20)
    pages, count = 5 << 28, 300_000
    made = Model(Mount("/mnt/x", PAGE, "kernel", 0), {"a/b": pages * PAGE}.get)
    told = as_json(event(1), WALL_OFFSET)
    largest = 0
    for number in range(count):
        page = number * 1_234_567_891 % pages  # a different one each time
        made.apply({**told, "serial": number + 1, "offset": page * PAGE, "page": page, "time_ns": number * 200_000})
        if not number % 1_000:
            largest = max(largest, made.files["a/b"].map.size + made.files["a/b"].resident.size)
    file = made.files["a/b"]
    assert largest < (2 << 20) + 4_096 * 700 + (4 << 20), "what is allowed, and what may come until it is looked at"
    assert file.map.size <= 1 << 20 and file.resident.size <= 1 << 20
    assert made.resident(file) == (count, False) and file.counts.demands == count
    assert file.resident.within(0, pages) == file.map.seen(0, pages).demands == count
    assert file.resident.pages_a_group > 1 and file.map.pages_a_cell > 1


def test_many_files_are_coarsened_where_one_takes_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_MAPPED", 200_000)
    made = Model(Mount("/mnt/x", PAGE, "kernel", 0), lambda _: 1 << 40)
    told = as_json(event(1), WALL_OFFSET)
    for number in range(3 * 4_096):
        name, page = (f"f{number % 64}", number % 7) if number % 2 else ("large", number * 1000)
        made.apply({**told, "file": name, "page": page, "offset": page * PAGE})
    assert sum(file.map.size for file in made.files.values()) <= 200_000
    assert made.files["large"].map.pages_a_cell > 1 and made.files["f1"].map.pages_a_cell == 1


def test_a_map_of_more_pages_than_it_has_cells_is_coarser_and_counts_all() -> None:
    made, pages = PageMap(), 2 * MOST_CELLS + 4
    for first in range(0, pages, 4):
        made.touch(first, 4, demands=1, kind=1, who=first % 7, at_ms=first)
    assert made.pages_a_cell == 4
    assert made.seen(0, pages).demands == pages
    assert made.seen(400, 4).demands == 4
    assert made.seen(0, pages).at_ms == pages - 4
    assert made.seen(pages, 1000).kind == 0


def test_two_cells_that_become_one_keep_what_happened_last() -> None:
    made = PageMap()
    made.touch(6, 1, demands=1, kind=1, who=5, at_ms=30)
    made.touch(7, 1, demands=1, kind=2, who=6, at_ms=20)
    made.touch(9, 1, demands=0, kind=3, who=7, at_ms=0)
    made.coarsen()
    assert made.seen(6, 2) == made.seen(7, 1)
    assert (made.seen(6, 1).demands, made.seen(6, 1).kind, made.seen(6, 1).who) == (2, 1, 5)
    assert (made.seen(8, 1).demands, made.seen(8, 1).kind, made.seen(8, 1).who) == (0, 3, 7)


def test_a_rate_is_of_the_last_full_second() -> None:
    rate = Rate()
    for quarter, count in ((1, 5), (2, 7), (5, 1)):
        rate.add(quarter * BUCKET_NS, count)
    rate.add(2 * BUCKET_NS + 1, 1)  # one that comes late
    assert rate.history(6 * BUCKET_NS, 6) == [0, 5, 8, 0, 0, 1]
    assert rate.a_second(6 * BUCKET_NS) == 9
    assert rate.a_second(10 * BUCKET_NS) == 0
    rate.add(1000 * BUCKET_NS, 2)
    rate.add(BUCKET_NS, 100)
    assert rate.a_second(1001 * BUCKET_NS) == 2


def test_what_is_frozen_stays_and_the_model_goes_on() -> None:
    made = modelled([event(1)])
    made.want(lambda one: one["op"] == "lost")
    frozen = made.frozen()
    made.apply(as_json(event(2, offset=PAGE), WALL_OFFSET))
    made.apply(as_json(Lost(3), WALL_OFFSET))
    assert (frozen.events, made.events) == (1, 2)
    assert (frozen.files["a/b"].resident.count, frozen.files["a/b"].map.seen(1, 1).demands) == (1, 0)
    assert (len(frozen.recent), len(made.recent), len(frozen.shown), len(made.shown)) == (1, 3, 0, 1)


def test_a_followed_process_has_a_map_of_its_own() -> None:
    made = modelled([event(1), got(2, 0, "SHARED"), got(3, 1, "AHEAD", by=None), event(4, offset=2 * PAGE)])
    made.follow(made.processes[300, "boxed"])
    made.apply(as_json(got(5, 3, "SHARED"), WALL_OFFSET))
    made.apply(as_json(event(6, offset=4 * PAGE), WALL_OFFSET))
    assert made.followed
    pages = made.followed.maps["a/b"]
    assert [live.KINDS[pages.seen(page, 1).kind] for page in range(5)] == ["SHARED", "AHEAD", "", "SHARED", ""]
    made.follow(None)
    assert made.followed is None


def test_rows_that_were_quiet_for_longest_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_FILES", 8)
    monkeypatch.setattr(live, "MOST_PROCESSES", 8)
    made = modelled([])
    threads = [msgspec.structs.replace(THREAD, key=n, tid=n, pid=n) for n in range(1, 31)]
    for serial, thread in enumerate(threads, 1):
        file = msgspec.structs.replace(FILE, id=serial, path=f"f{serial}")
        one = event(serial, time_ns=serial * 1000, thread=thread, tid=thread.tid, file=file)
        made.apply(as_json(one, WALL_OFFSET))
    assert len(made.files) <= 8 and len(made.processes) <= 8 and len(made.numbers) == len(made.processes)
    assert "f30" in made.files and "f1" not in made.files
    for rows, earlier in ((made.files, made.earlier_files), (made.processes, made.earlier_processes)):
        assert len(rows) + earlier.rows == 30
        counted = sum(row.counts.demands for row in rows.values())
        assert counted + earlier.counts.demands == 30


FLOOD = """
import resource, sys
from mapfs.views.live.model import Model, Mount

model = Model(Mount("/x", 4096, "kernel", 0), lambda name: 1 << 40)
base = dict(via="fault", direct=False, size=4096, pages=1, refaults=0, container=None, wait_ns=1000, total_ns=None,
    error=None, reason=None, by=None, label=None)
seed = 1
def feed(count, start):
    global seed
    for number in range(start, start + count):
        seed = seed * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        page = seed >> 36 if number % 8 == 0 else seed >> 44
        pid = 1000 + number // 50 if number % 5 == 0 else number % 97
        op, cls = (("read", "COLD"), ("fault", "SHARED"), ("evict", None))[number % 3]
        model.apply({**base, "time_ns": number * 200_000, "wall_ns": number * 200_000, "op": op, "class": cls,
            "file": f"dir/file{number % 5 if number % 100 else number}", "offset": page * 4096, "page": page,
            "demanded": page, "tid": pid, "pid": pid, "command": "python3"})
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20
started = rss()
feed(1_000_000, 0)
early = rss()
feed(2_000_000, 1_000_000)
print(model.events, started, early, rss())
"""


@pytest.mark.timeout(300)
def test_three_million_events_take_no_more_memory_than_one_million() -> None:
    """As ten minutes at 5,000 a second: over five files of 1 TiB, 30,000 others, and 60,000 processes."""
    done = subprocess.run(
        [sys.executable, "-c", FLOOD], capture_output=True, text=True, timeout=280, check=True, cwd=ROOT
    )
    events, started, early, late = map(int, done.stdout.split())
    assert events == 3_000_000
    assert late - started < 400, f"{late - started} MiB"
    assert late - early < 130, f"from {early} to {late} MiB"


def test_labels_of_pages_are_kept_and_the_oldest_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "_MOST", 3)
    made = modelled([])
    for page, label in ((0, "a"), (1, "b"), (2, None), (0, "c"), (4, "b"), (5, "b")):
        made.apply({**as_json(event(1, offset=page * PAGE), WALL_OFFSET), "label": label})
    assert made.labels.of("a/b", range(8)) == ["c", "b"]
    assert made.labels.of("a/b", [1]) == [] and made.labels.of("text", range(8)) == []
    frozen = made.frozen()
    made.apply({**as_json(event(2, size=2 * PAGE), WALL_OFFSET), "label": "new"})
    assert frozen.labels.of("a/b", [0, 1]) == ["c"] and made.labels.of("a/b", [0, 1]) == ["new"]


@pytest.mark.parametrize("width", [80, 160])
def test_a_line_has_a_label_and_the_filter_finds_it(width: int) -> None:
    told = {**as_json(event(1), WALL_OFFSET), "label": "people \x1b[31m"}
    assert "people \\x1b[31m" in log_line(told, width).plain
    wanted, unwanted = matcher("PEOPLE"), matcher("-people")
    assert wanted is not None and wanted(told) and unwanted is not None and not unwanted(told)
    assert log_line({**told, "label": None}, width).plain == log_line(told, width).plain[: -len("  people \\x1b[31m")]
