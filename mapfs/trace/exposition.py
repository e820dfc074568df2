"""The Prometheus text of a snapshot (docs/METRICS.md has each name).

Only this module needs prometheus-client. It renders on a thread, so that the recorder goes on draining meanwhile;
the registry is made for one scrape and holds nothing but this mount.
"""

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from mapfs.errors import errno_name
from mapfs.trace.events import EVICT, OPS, REQUESTS
from mapfs.trace.metrics import BOUNDS, GOT, Counted, Kind, Snapshot, Waits

_LES = [*(repr(bound / 1e9) for bound in BOUNDS), "+Inf"]
#: What the daemon says of itself, as a gauge: its key in `.mapfs/stats`, and what it is.
DAEMON_GAUGES = {
    "pager_threads": "Threads that answer page demands.",
    "waiting_demands": "Demands that wait for a source now.",
    "open_handles": "Handles of files that programs have open now.",
    "watched_files": "Live files that are compared with their sources now.",
    "control_reads": "Reads of control files that wait now.",
}


def render(snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
    """The text, and its content type, which is the best of those that the HTTP header `accept` has."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(snapshot))
    try:
        encode, content_type = choose_encoder(accept)
    except Exception:  # it fails in various ways on a version that is none
        encode, content_type = choose_encoder("")
    return encode(registry), content_type


class _Collected(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        yield from families(self._snapshot)


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Every metric, with its samples."""
    yield from _requests(snapshot.counted)
    yield from _recorder(snapshot)
    yield from _mount(snapshot)
    yield from _daemon(snapshot)
    yield from _processes(snapshot.pids)


def _op(number: int) -> str:
    return OPS.get(number, str(number))


def _requests(counted: Counted) -> Iterator[Metric]:
    yield _by_kind("mapfs_requests", "Requests that were answered, failed ones too.", counted.events, REQUESTS)
    yield _by_kind("mapfs_request_pages", "Pages of requests that did not fail.", counted.pages, REQUESTS)
    yield _by_kind("mapfs_request_bytes", "Bytes of requests that did not fail.", counted.bytes, REQUESTS)
    refaulted = CounterMetricFamily(
        "mapfs_refaulted_pages", "Pages of requests that had been brought in before.", labels=["op"]
    )
    for op, count in counted.refaulted.items():
        refaulted.add_metric([_op(op)], count)
    yield refaulted
    errors = CounterMetricFamily("mapfs_request_errors", "Requests that failed.", labels=["op", "errno"])
    for (op, errno), count in counted.errors.items():
        errors.add_metric([_op(op), errno_name(errno)], count)
    yield errors
    waits = HistogramMetricFamily(
        "mapfs_request_wait_seconds", "From the arrival of a request to its answer.", labels=["op"]
    )
    for op, waited in counted.waits.items():
        if op in REQUESTS:
            waits.add_metric([_op(op)], _buckets(waited), waited.total_ns / 1e9)
    yield waits
    yield _by_kind("mapfs_faults", "Page faults and reads that got pages without a request.", counted.events, GOT)
    yield _by_kind("mapfs_fault_pages", "Pages that were got without a request.", counted.pages, GOT)
    yield CounterMetricFamily(
        "mapfs_evicted_pages", "Pages that left the page cache of themselves.", value=counted.of(counted.pages, EVICT)
    )


def _by_kind(name: str, text: str, counts: Mapping[Kind, int], ops: Collection[int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=["op", "class"])
    for (op, cls), count in counts.items():
        if op in ops:
            family.add_metric([_op(op), cls or "?"], count)
    return family


def _buckets(waited: Waits) -> list[tuple[str, float]]:
    return list(zip(_LES, map(float, accumulate(waited.buckets)), strict=True))


def _recorder(snapshot: Snapshot) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "mapfs_lost_events", "Events that were overwritten before the recorder took them.", value=snapshot.lost
    )
    yield CounterMetricFamily(
        "mapfs_lost_samples", "Samples of evidence for which the kernel had no room.", value=snapshot.lost_samples
    )
    yield _gauge(
        "mapfs_ring_backlog_events", "Requests that were no events yet when the scrape began.", snapshot.backlog
    )
    yield _gauge("mapfs_ring_slots", "Events that the ring can hold.", snapshot.slots)
    yield _gauge("mapfs_known_files", "Versions of files that were opened.", snapshot.files)
    yield _gauge("mapfs_known_threads", "Threads that are known to have waited.", snapshot.threads)
    failed = GaugeMetricFamily("mapfs_sink_failed", "1 where the log or the trace was given up.", labels=["sink"])
    waiting = GaugeMetricFamily("mapfs_sink_waiting_events", "Events that wait for the sink.", labels=["sink"])
    skipped = CounterMetricFamily(
        "mapfs_sink_skipped_events", "Events that the sink was too slow for.", labels=["sink"]
    )
    for sink in snapshot.sinks:
        failed.add_metric([sink.name], sink.failed)
        waiting.add_metric([sink.name], sink.waiting)
        skipped.add_metric([sink.name], sink.skipped)
    yield from (failed, waiting, skipped)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _mount(snapshot: Snapshot) -> Iterator[Metric]:
    mount = snapshot.mount
    if mount is None:
        return
    told = {"mountpoint": mount.mountpoint, "version": mount.version, "link": mount.link}
    yield InfoMetricFamily("mapfs_mount", "The mount, in labels; the value is 1.", value=told)
    yield _gauge("mapfs_start_time_seconds", "When the mount was made, Unix time.", mount.wall_ns / 1e9)
    yield _gauge("mapfs_page_size_bytes", "The size of a page.", mount.page_size)
    if mount.readahead >= 0:
        yield _gauge("mapfs_readahead_bytes", "How far the kernel may read ahead.", mount.readahead)


def _daemon(snapshot: Snapshot) -> Iterator[Metric]:
    daemon = snapshot.daemon
    yield _gauge("mapfs_daemon_up", "1 where the daemon answered, and the gauges below are there.", daemon is not None)
    for key, text in DAEMON_GAUGES.items():
        value = daemon.get(key) if daemon is not None else None
        if isinstance(value, int):
            yield _gauge(f"mapfs_{key}", text, value)


def _processes(pids: Mapping[str, int]) -> Iterator[Metric]:
    """The standard set of process metrics, with a label where the standard has a process of its own for each."""
    merged: dict[str, Metric] = {}
    for label, pid in pids.items():
        for family in ProcessCollector("mapfs", pid=partial(int, pid), registry=None).collect():
            whole = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                whole.add_sample(sample.name, {**sample.labels, "process": label}, sample.value)
    yield from merged.values()
