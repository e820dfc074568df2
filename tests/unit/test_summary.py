"""What demands add up to: by hand on a small trace, and against a plain recomputation."""

import io
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mapfs.trace.classify import Classifier
from mapfs.trace.events import READ, WRITE, Event, Lost
from mapfs.trace.facts import FileFact, MountFact, ThreadFact
from mapfs.trace.ring import DIRECT, Record
from mapfs.trace.store import Store
from mapfs.views.summary import Counts, Summary, nearest_rank, render, summarise
from tests.unit.samples import FILE, MOUNT, THREAD, event, summarised

PAGE = 4096
BOX = msgspec.structs.replace(THREAD, key=2, tid=300, pid=300, command="boxed", container="c" * 64)
SECOND = msgspec.structs.replace(THREAD, key=3, tid=100)
TEXT = FileFact(2, 3, "text", "text:x", 5000, 1)
NOTHING = Counts(*[0] * 13)


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(":memory:")
    for fact in (MOUNT, FILE, TEXT, THREAD, BOX, SECOND):
        store.fact(fact)
    yield store
    store.connection.close()


def test_by_hand(store: Store) -> None:
    store.events(
        [
            event(1, time_ns=1000, wait_ns=10),  # a/b, page 0
            event(2, time_ns=1100, wait_ns=30, offset=PAGE, thread=SECOND, tid=100),  # a/b, page 1
            event(3, time_ns=1200, wait_ns=20, refaults=1, cls="REFAULT"),  # a/b, page 0 again
            Lost(5),
            event(9, time_ns=1300, wait_ns=40, file=TEXT, size=5000, thread=BOX, tid=300),  # text, pages 0 and 1
            event(10, time_ns=900, wait_ns=500, file=TEXT, thread=BOX, tid=300, errno=5, cls="ERROR", reason="x"),
            event(11, time_ns=1500, wait_ns=7, size=1 << 20, direct=True, cls=None, thread=None, tid=0),
            event(12, time_ns=1600, wait_ns=3, op=WRITE, cls="WRITE", size=100),
        ]
    )
    summary = summarise(store.connection)
    assert (summary.mountpoint, summary.page_size, summary.readahead) == ("/mnt/x", PAGE, 0)
    assert (summary.span_ns, summary.lost) == (1603 - 1000, 5)
    assert summary.total == Counts(
        demands=4,
        ahead=0,
        pages=4,
        refaults=1,
        bytes=3 * PAGE + 5000 + (1 << 20),
        errors=1,
        direct=1,
        wait_ns=607,
        written=100,
        pushed=0,
        dropped=0,
        wait_p50_ns=20,
        wait_p99_ns=40,
    )
    ab, text = summary.files
    assert (ab.file, ab.size, ab.of_pages, ab.waste) == ("a/b", 32768, 8, 0)
    assert ab.counts == Counts(3, 0, 2, 1, 3 * PAGE + (1 << 20), 0, 1, 67, 100, 0, 0, 20, 30)
    assert (text.file, text.size, text.of_pages, text.waste) == ("text", 5000, 2, 3192)
    assert text.counts == Counts(1, 0, 2, 0, 5000, 1, 0, 540, 0, 0, 0, 40, 40)
    assert [(row.pid, row.command, row.container, row.threads) for row in summary.processes] == [
        (100, "python3", None, 2),
        (300, "boxed", "c" * 64, 1),
        (None, None, None, 0),
    ]
    assert summary.processes[0].counts == Counts(3, 0, 2, 1, 3 * PAGE, 0, 0, 60, 100, 0, 0, 20, 30)
    assert summary.processes[2].counts == Counts(0, 0, 0, 0, 1 << 20, 0, 1, 7, 0, 0, 0, 0, 0)
    assert summary.as_json()["files"][1]["counts"]["pages"] == 2


def test_nothing_happened(store: Store) -> None:
    summary = summarise(store.connection)
    assert (summary.total, summary.files, summary.processes) == (NOTHING, [], [])
    assert (summary.span_ns, summary.lost) == (0, 0)


def test_waste_counts_only_where_the_last_page_was_demanded(store: Store) -> None:
    store.events([event(1, file=TEXT, size=PAGE)])
    assert summarise(store.connection).files[0].waste == 0


@pytest.mark.parametrize(
    ("old", "new", "pages", "waste"),
    [(8192, 5000, 2, 3192), (5000, 8192, 2, 0), (8192, 4096, 1, 0), (100, 100, 1, 3996)],
)
def test_of_several_versions_the_newest_is_described(old: int, new: int, pages: int, waste: int) -> None:
    store = Store(":memory:")
    store.fact(MOUNT)
    versions = [FileFact(number, 2, "a", "file:/a", size, number) for number, size in ((1, old), (2, new))]
    serial = 0
    for version in versions:
        store.fact(version)
        store.events([event(serial := serial + 1, file=version, size=version.size)])
    store.fact(FileFact(3, 2, "a", "file:/a", 1, 3))  # a version that nobody has read
    (row,) = summarise(store.connection).files
    assert (row.size, row.of_pages, row.waste) == (new, pages, waste)
    assert row.counts.pages == -(-old // PAGE) + pages
    store.connection.close()


def test_a_trace_of_a_machine_with_larger_pages(store: Store) -> None:
    other = Store(":memory:")
    other.fact(msgspec.structs.replace(MOUNT, page_size=65536))
    other.fact(TEXT)
    other.events([event(1, file=TEXT, size=5000)])
    (row,) = summarise(other.connection).files
    assert (row.of_pages, row.waste, row.counts.pages) == (1, 65536 - 5000, 1)
    other.connection.close()


@given(st.lists(st.integers(0, 1000), min_size=1), st.integers(1, 100))
def test_nearest_rank(values: list[int], percent: int) -> None:
    ordered = sorted(values)
    enough = [value for value in ordered if sum(one <= value for one in ordered) * 100 >= percent * len(ordered)]
    assert nearest_rank(ordered, percent) == enough[0]


# each request: file, page, bytes, process, wait, kind
REQUESTS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 6),
        st.integers(1, 3 * PAGE),
        st.integers(0, 3),
        st.integers(0, 50),
        st.sampled_from(["read", "read", "read", "direct", "error", "write"]),
    ),
    max_size=30,
)
FILES = [FileFact(number + 1, number, f"file{number}", "?", 10 * PAGE, 1) for number in range(4)]
PROCESSES = [ThreadFact(n, 10 * n, "p", 10 * n, n, "p", "", None, 0) if n else None for n in range(4)]


def recomputed(events: list[Event]) -> Counts:
    """The sums, without SQL."""
    demands = [one for one in events if one.op == READ and not one.errno and not one.direct]
    waits = sorted(one.wait_ns or 0 for one in demands)
    refaults = sum(one.refaults for one in demands)
    return Counts(
        demands=len(demands),
        ahead=0,
        pages=sum(len(one.pages) for one in demands) - refaults,
        refaults=refaults,
        bytes=sum(one.size for one in events if one.op == READ and not one.errno),
        errors=sum(bool(one.errno) for one in events),
        direct=sum(one.direct for one in events),
        wait_ns=sum(one.wait_ns or 0 for one in events if one.op == READ),
        written=sum(one.size for one in events if one.op == WRITE and not one.errno),
        pushed=0,
        dropped=0,
        wait_p50_ns=waits[(len(waits) * 50 + 99) // 100 - 1] if waits else 0,
        wait_p99_ns=waits[(len(waits) * 99 + 99) // 100 - 1] if waits else 0,
    )


@given(REQUESTS)
def test_against_a_plain_recomputation(requests: list[tuple[int, int, int, int, int, str]]) -> None:
    classifier = Classifier()
    events = []
    for serial, (file, page, size, process, wait, kind) in enumerate(requests, 1):
        record = Record(
            serial, wait, page * PAGE, 0, size, file, process, 0, WRITE if kind == "write" else READ,
            DIRECT if kind == "direct" else 0, 5 if kind == "error" else 0, 0, serial,
        )  # fmt: skip
        cls, refaults = classifier.classify(record)
        events.append(
            event(
                serial, time_ns=serial, wait_ns=wait, op=record.op, cls=cls, file=FILES[file], offset=record.offset,
                size=size, thread=PROCESSES[process], tid=10 * process, errno=record.errno, refaults=refaults,
                direct=kind == "direct",
            )
        )  # fmt: skip
    store = Store(":memory:")
    for fact in (msgspec.structs.replace(MOUNT, page_size=PAGE), *FILES, *PROCESSES):
        if fact is not None:
            store.fact(fact)
    store.events(events)
    summary = summarised(store.connection)
    store.connection.close()
    assert summary.total == recomputed(events)
    assert {row.file: row.counts for row in summary.files} == {
        file.path: recomputed(own) for file in FILES if (own := [one for one in events if one.file == file])
    }
    assert {row.pid: row.counts for row in summary.processes} == {
        who.pid if who else None: recomputed([one for one in events if one.thread == who])
        for who in PROCESSES
        if any(one.thread == who and (who or one.op == READ) for one in events)  # nobody knows who wrote back
    }
    assert [row.counts.pages for row in summary.files] == sorted((r.counts.pages for r in summary.files), reverse=True)


def rendered(summary: Summary, most: int = 20) -> str:
    out = io.StringIO()
    render(summary, Console(file=out, width=160), most=most)
    return out.getvalue()


def test_what_is_printed(store: Store) -> None:
    store.events([event(1), Lost(1000), event(1002, file=TEXT, size=5000)])
    text = rendered(summarise(store.connection))
    assert "/mnt/x: 2 demands for 3 pages (8.9 KiB) in 300 ns, 0 re-faults, wait p50 300 ns, p99 300 ns" in text
    assert "lost 1,000 events: they are in none of these numbers" in text
    assert "reads ahead" not in text
    rows = [line.split() for line in text.splitlines()]
    assert ["text", "2", "2", "0", "4.9", "KiB", "300", "ns", "300", "ns", "0", "3.1", "KiB", "?"] in rows
    assert ["python3/100", "1", "3", "0", "8.9", "KiB", "300", "ns", "300", "ns", "0", "?", "?", "?"] in rows


def test_the_rest_is_counted(store: Store) -> None:
    store.events([event(1), event(2, file=TEXT)])
    assert "... and 1 more files; --json has them all" in rendered(summarise(store.connection), most=1)


@pytest.mark.parametrize("name", ["[red]x", "a[/b]", "a[1].bin", "[/]", "\\[x]", "x\\", "a\x1b[2Jb\n"])
def test_names_are_shown_as_they_are(name: str) -> None:
    store = Store(":memory:")
    mount: MountFact = msgspec.structs.replace(MOUNT, mountpoint=name, readahead=4096)
    file = msgspec.structs.replace(FILE, path=name)
    thread = msgspec.structs.replace(THREAD, command=name)
    for fact in (mount, file, thread):
        store.fact(fact)
    store.events([event(1, file=file, thread=thread)])
    text = rendered(summarise(store.connection))
    store.connection.close()
    shown = name.replace("\x1b", "\\x1b").replace("\n", "\\n")
    assert f"{shown}: 1 demands" in text
    assert f"\n{shown} " in text
    assert f"\n{shown}/100 " in text
    assert "the kernel reads ahead" in text
