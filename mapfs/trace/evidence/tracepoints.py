"""Tier kernel (T2): the tracepoints of the page cache, for one mount. Needs root.

`filemap:mm_filemap_fault` comes when a page fault found nothing to map, before it waits, and once more when it tries
again; `mm_filemap_map_pages` after the kernel mapped what the cache has around a fault; `mm_filemap_get_pages` when
read(2) has its pages; `mm_filemap_delete_from_page_cache` when a page leaves. They are read by perf_event_open and not
through a tracing instance, so that nothing is ever left behind in tracefs. A side band tells of processes: names, forks
and exits, without which a process that lived for a millisecond could not be named.
"""

import mmap
import os
import re
import struct
from collections.abc import Callable
from functools import cache

from mapfs.errors import EvidenceError
from mapfs.trace.evidence import perf
from mapfs.trace.evidence.perf import PerfRing
from mapfs.trace.evidence.sample import EVICTED, FAULT, MAPPED, TAKEN, Sample
from mapfs.trace.evidence.tasks import task_of

_TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
EVICTIONS = "mm_filemap_delete_from_page_cache"  # roles of rings, beside those of the other tracepoints
TASKS = "tasks"
_POINTS = {
    "mm_filemap_fault": FAULT,
    "mm_filemap_map_pages": MAPPED,
    "mm_filemap_get_pages": TAKEN,
    EVICTIONS: EVICTED,
}
_FIELD = re.compile(r"field:.*?(\w+);\s*offset:(\d+);\s*size:(\d+);")
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_SAMPLE = "=IHHIIQI"  # type, misc and size of the record, pid, tid, time, size of the raw data
_LARGE, _SMALL, _MANY = 1 << 20, 1 << 18, 16  # bytes a ring, and the number of CPUs from which on they are small


def points() -> str:
    """Where tracefs has the tracepoints of the page cache. Raises EvidenceError."""
    for root in _TRACEFS:
        directory = os.path.join(root, "events", "filemap")
        if os.path.isdir(directory):
            missing = [name for name in _POINTS if not os.path.isdir(os.path.join(directory, name))]
            if missing:
                raise EvidenceError(f"this kernel lacks the tracepoint {missing[0]}", "Linux 6.12 has all of them")
            return directory
    if os.geteuid() != 0:
        raise EvidenceError("the kernel's tracepoints are for root", "run as root")
    raise EvidenceError("tracefs is not mounted", "mount -t tracefs nodev /sys/kernel/tracing")


def ring_size(cpus: int) -> int:
    """Bytes of each ring."""
    return max(mmap.PAGESIZE, _LARGE if cpus < _MANY else _SMALL)


def open_rings() -> list[tuple[str, PerfRing]]:
    """A ring for each tracepoint and CPU, with its role, into which nothing comes yet. Raises EvidenceError."""
    directory, cpus, made = points(), perf.online_cpus(), list[tuple[str, PerfRing]]()
    size = ring_size(len(cpus))
    try:
        numbers = {name: int(_text(os.path.join(directory, name, "id"))) for name in _POINTS}
        for cpu in cpus:
            made += [(name, PerfRing(_open(number, cpu), size)) for name, number in numbers.items()]
            fd = perf.open_event(perf.SOFTWARE, perf.DUMMY, perf.TID | perf.TIME, perf.TASKS, pid=-1, cpu=cpu)
            made.append((TASKS, PerfRing(fd, size)))
    except OSError as error:
        perf.close_rings(made)
        raise perf.remedy(error) from error
    return made


def start(rings: list[tuple[str, PerfRing]], device: int) -> None:
    """From now on samples come, of the mount whose st_dev is `device`. Raises OSError."""
    for role, ring in rings:
        if role != TASKS:
            perf.set_filter(ring.fd, f"s_dev == {kernel_device(device)}")
    for _, ring in rings:
        perf.enable(ring.fd)


def _open(number: int, cpu: int) -> int:
    sample = perf.TID | perf.TIME | perf.RAW
    return perf.open_event(perf.TRACEPOINT, number, sample, 0, pid=-1, cpu=cpu, form=perf.FORMAT_LOST)


def kernel_device(device: int) -> int:
    """`device`, a st_dev, as the kernel itself has it (linux/kdev_t.h)."""
    return os.major(device) << 20 | os.minor(device)


def samples(role: str, data: bytes) -> list[Sample]:
    """What a ring of this role held, in the order of its CPU."""
    if role == TASKS:
        tasks = map(task_of, perf.rows(data))
        return [task for task in tasks if task is not None]
    record, make = _decoder(role)
    if not len(data) % record.size:
        found = list(record.iter_unpack(data))
        if all(fields[0] == perf.SAMPLE and fields[2] == record.size for fields in found):
            return [make(fields) for fields in found]
    made, at = [], 0
    while at < len(data):  # a LOST record is among them
        kind, _, size = perf.HEADER.unpack_from(data, at)
        if kind == perf.SAMPLE:
            made.append(make(record.unpack_from(data, at)))
        at += size
    return made


@cache
def _decoder(name: str) -> tuple[struct.Struct, Callable[[tuple[int, ...]], Sample]]:
    """Of the samples of one tracepoint: their layout, and what makes a Sample of the fields."""
    offsets = {field: (int(at), int(size)) for field, at, size in _FIELD.findall(_text(f"{points()}/{name}/format"))}
    end = max(at + size for at, size in offsets.values())
    raw = -(-(-(-end // 8) * 8 + 4) // 8) * 8 - 4  # linux/trace/perf.h: with its size, a multiple of 8
    wanted = sorted({"i_ino", "index", "last_index", "order"} & set(offsets), key=lambda field: offsets[field])
    layout, at = _SAMPLE, 0
    for field in wanted:
        start, size = offsets[field]
        layout += f"{start - at}x{_CODES[size]}"
        at = start + size
    record = struct.Struct(layout + f"{raw - at}x")
    return record, _maker(_POINTS[name], {field: 7 + number for number, field in enumerate(wanted)})


def _maker(kind: int, places: dict[str, int]) -> Callable[[tuple[int, ...]], Sample]:
    inode, first = places["i_ino"], places["index"]
    new = tuple.__new__
    if "last_index" in places:
        last = places["last_index"]
        return lambda f: new(Sample, (f[5], kind, f[3], f[4], f[inode], f[first], f[last], ""))
    if "order" in places:
        order = places["order"]
        return lambda f: new(Sample, (f[5], kind, f[3], f[4], f[inode], f[first], f[first] + (1 << f[order]) - 1, ""))
    return lambda f: new(Sample, (f[5], kind, f[3], f[4], f[inode], f[first], f[first], ""))


def _text(path: str) -> str:
    with open(path) as file:
        return file.read()
