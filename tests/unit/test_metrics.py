"""What is counted, held by a plain count of the same events; and the text that is made of it."""

import errno
import os
from bisect import bisect_left
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from mapfs.trace.events import (
    AHEAD,
    COLD,
    DROP,
    ERROR,
    EVICT,
    FAULT,
    HIT,
    PUSH,
    READ,
    REFAULT,
    SHARED,
    WRITE,
    WRITTEN,
    Event,
)  # fmt: skip
from mapfs.trace.evidence.item import of_request
from mapfs.trace.exposition import families, render
from mapfs.trace.metrics import BOUNDS, Metrics, SinkState, Snapshot
from mapfs.trace.ring import Record
from mapfs.units import PAGE_SIZE
from tests.unit.samples import MOUNT, event

EVENTS = st.lists(
    st.builds(
        event,
        st.just(1),
        op=st.sampled_from((READ, WRITE, PUSH, DROP, 77)),
        cls=st.sampled_from((COLD, REFAULT, ERROR, WRITTEN, None, "NEW")),
        errno=st.sampled_from((0, 0, 0, errno.EIO, errno.ENOSPC, 4000)),
        offset=st.integers(0, 1 << 40) | st.integers(0, 1 << 20).map(lambda page: page * PAGE_SIZE),
        size=st.integers(0, 1 << 20) | st.sampled_from((PAGE_SIZE, 4 * PAGE_SIZE)),
        wait_ns=st.integers(0, 10**12) | st.sampled_from([bound + one for bound in BOUNDS for one in (-1, 0, 1)]),
        refaults=st.integers(0, 3),
    ),
    max_size=60,
)


def observed(*batches: list[Event]) -> Metrics:
    metrics = Metrics()
    for batch in batches:
        metrics.observe(batch)
    return metrics


def snapshot(metrics: Metrics, **changes: Any) -> Snapshot:
    values: dict[str, Any] = {
        "counted": metrics.counted(),
        "lost": 3,
        "lost_samples": 7,
        "backlog": 5,
        "slots": 1 << 16,
        "files": 2,
        "threads": 4,
        "sinks": (SinkState("log", failed=False, waiting=1, skipped=9), SinkState('trace /a"\\\n', True, 0, 0)),
        "mount": MOUNT,
        "daemon": {"pager_threads": 1, "waiting_demands": 2, "open_handles": 3, "watched_files": 4, "control_reads": 0},
        "pids": {"recorder": os.getpid(), "daemon": os.getppid()},
    }
    return Snapshot(**{**values, **changes})


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Each sample of a text by its name and labels; none is there twice."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def value(text: str, name: str, **labels: str) -> float | None:
    """`cls` is the label `class`."""
    named = {"class" if label == "cls" else label: text for label, text in labels.items()}
    return samples(text).get((name, frozenset(named.items())))


@given(EVENTS, st.integers(0, 60))
def test_the_counts_are_those_of_a_plain_count(events: list[Event], cut: int) -> None:
    counted = observed(events[:cut], events[cut:]).counted()
    good = [one for one in events if not one.errno]

    def plain(of: list[Event], amount: Any) -> Counter[tuple[int, str | None]]:
        counts: Counter[tuple[int, str | None]] = Counter()
        for one in of:
            counts[one.op, one.cls] += amount(one)
        return +counts

    assert +Counter(counted.events) == plain(events, lambda _: 1)
    assert +Counter(counted.pages) == plain(good, lambda one: len(one.pages))
    assert +Counter(counted.bytes) == plain(good, lambda one: one.size)
    assert counted.errors == Counter((one.op, one.errno) for one in events if one.errno)
    for op in {one.op for one in events}:
        waits = [one.wait_ns or 0 for one in events if one.op == op]
        buckets = Counter(bisect_left(BOUNDS, wait) for wait in waits)
        assert counted.waits[op].buckets == tuple(buckets[number] for number in range(len(BOUNDS) + 1))
        assert counted.waits[op].total_ns == sum(waits)
        assert counted.refaulted.get(op, 0) == sum(one.refaults for one in events if one.op == op)
    assert counted.classes == {
        **dict.fromkeys((COLD, REFAULT, AHEAD, ERROR, WRITTEN, None), 0),
        **Counter(one.cls for one in events),
    }


def test_a_copy_stays_as_it_was() -> None:
    metrics = observed([event(1)])
    before = metrics.counted()
    metrics.observe([event(2)])
    assert (before.events[READ, COLD], metrics.counted().events[READ, COLD]) == (1, 2)
    assert sum(before.waits[READ].buckets) == 1


def test_what_is_on_its_way_is_counted_as_events_are() -> None:
    record = Record(0, 300, PAGE_SIZE, 0, 2 * PAGE_SIZE, 1, 0, 0, READ, 0, 0, 0, 1)
    metrics = Metrics()
    metrics.observe([of_request(record, REFAULT, 2)])
    same = event(1, wait_ns=300, offset=PAGE_SIZE, size=2 * PAGE_SIZE, cls=REFAULT, refaults=2)
    assert metrics.counted() == observed([same]).counted()


def test_the_buckets_go_from_a_microsecond_to_a_minute() -> None:
    assert (BOUNDS[0], BOUNDS[-1]) == (1_000, 60 * 10**9)
    assert list(BOUNDS) == sorted(set(BOUNDS))
    assert all(bound <= 3 * before for before, bound in pairwise(BOUNDS))


def test_a_wait_is_in_the_bucket_that_ends_with_it() -> None:
    text = render(snapshot(observed([event(1, wait_ns=1_000), event(2, wait_ns=1_001)])), "")[0].decode()
    assert value(text, "mapfs_request_wait_seconds_bucket", op="read", le="1e-06") == 1
    assert value(text, "mapfs_request_wait_seconds_bucket", op="read", le="2.5e-06") == 2
    assert value(text, "mapfs_request_wait_seconds_bucket", op="read", le="+Inf") == 2
    assert value(text, "mapfs_request_wait_seconds_sum", op="read") == pytest.approx(2.001e-6)


def test_what_needed_no_request_is_no_request() -> None:
    got = [event(1, op=FAULT, cls=AHEAD, wait_ns=None), event(2, op=HIT, cls=SHARED, wait_ns=None, size=3 * PAGE_SIZE)]
    gone = event(3, op=EVICT, cls=None, wait_ns=None, size=8 * PAGE_SIZE)
    metrics = observed([*got, gone])
    assert sum(metrics.counted().classes.values()) == 0
    assert +Counter(metrics.counted().faults) == {AHEAD: 1, SHARED: 1}
    text = render(snapshot(metrics), "")[0].decode()
    assert value(text, "mapfs_requests_total", op="fault", cls="AHEAD") is None
    assert value(text, "mapfs_faults_total", op="fault", cls="AHEAD") == 1
    assert value(text, "mapfs_fault_pages_total", op="hit", cls="SHARED") == 3
    assert value(text, "mapfs_evicted_pages_total") == 8
    assert value(text, "mapfs_lost_samples_total") == 7
    assert value(text, "mapfs_request_wait_seconds_count", op="fault") is None


def test_what_may_come_is_there_from_the_start() -> None:
    text = render(snapshot(Metrics()), "")[0].decode()
    for op, cls in (("read", "COLD"), ("read", "?"), ("read", "ERROR"), ("write", "WRITE"), ("push", "?")):
        assert value(text, "mapfs_requests_total", op=op, cls=cls) == 0
    assert value(text, "mapfs_request_wait_seconds_count", op="drop") == 0


def test_both_formats_say_the_same_in_words_that_parse() -> None:
    shown = snapshot(observed([event(1), event(2, errno=errno.EIO, cls=ERROR), event(3, op=77, cls=None, errno=4000)]))
    plain, plain_type = render(shown, "")
    newer, newer_type = render(shown, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert plain_type.startswith("text/plain; version=0.0.4")
    assert newer_type.startswith("application/openmetrics-text")
    told = samples(plain.decode())
    again = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in openmetrics_families(newer.decode())  # type: ignore[no-untyped-call] # it has no types
        for sample in family.samples
    }
    for both in (told, again):  # the processes live meanwhile
        for key in [key for key in both if key[0].startswith("mapfs_process_")]:
            del both[key]
    assert told == again
    text = plain.decode()
    assert value(text, "mapfs_request_errors_total", op="read", errno="EIO") == 1
    assert value(text, "mapfs_request_errors_total", op="77", errno="4000") == 1
    assert value(text, "mapfs_sink_failed", sink='trace /a"\\\n') == 1
    assert value(text, "mapfs_sink_skipped_events_total", sink="log") == 9
    assert value(text, "mapfs_mount_info", mountpoint="/mnt/x", version="0.1", link="own") == 1
    assert value(text, "mapfs_lost_events_total") == 3


@pytest.mark.parametrize("accept", ["*/*", "text/plain;version=0.0.4", "nonsense", "text/plain;version=", ",;,=;"])
def test_whatever_is_accepted_is_answered(accept: str) -> None:
    text, content_type = render(snapshot(Metrics()), accept)
    assert content_type.startswith("text/plain")
    assert value(text.decode(), "mapfs_daemon_up") == 1


@pytest.mark.parametrize("version", ["x", "", "9", "1.0.0;escaping=x", "1..0", "-1"])
@pytest.mark.parametrize("kind", ["text/plain", "application/openmetrics-text"])
def test_no_accept_header_is_an_error(kind: str, version: str) -> None:
    text, content_type = render(snapshot(Metrics()), f"{kind};version={version}")
    assert b"mapfs_daemon_up 1.0\n" in text
    assert content_type


def test_a_daemon_that_does_not_answer_leaves_its_numbers_out() -> None:
    text = render(snapshot(Metrics(), daemon=None), "")[0].decode()
    assert value(text, "mapfs_daemon_up") == 0
    assert "mapfs_pager_threads" not in text


def test_the_processes_are_told_apart() -> None:
    text = render(snapshot(Metrics(), pids={"recorder": os.getpid(), "daemon": 1 << 30}), "")[0].decode()
    assert (value(text, "mapfs_process_resident_memory_bytes", process="recorder") or 0) > 1 << 20
    assert value(text, "mapfs_process_resident_memory_bytes", process="daemon") is None


def test_names_have_their_unit_and_their_text() -> None:
    for family in families(snapshot(Metrics())):
        assert family.name.startswith("mapfs_")
        assert family.documentation.endswith(".")
        for word in ("_ms", "_us", "_ns", "_kib", "_count"):
            assert not family.name.endswith(word)
