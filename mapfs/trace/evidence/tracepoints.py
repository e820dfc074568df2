"""Tier kernel (T2): the tracepoints of the page cache, for one mount. Needs root.

`filemap:mm_filemap_fault` comes when a page fault found nothing to map, before it waits, and once more when it tries
again; `mm_filemap_map_pages` after the kernel mapped what the cache has around a fault; `mm_filemap_get_pages` when
read(2) has its pages; `mm_filemap_delete_from_page_cache` when a page leaves. A program at each (`bpf`) writes those of
the mount into one ring, and not a tracing instance, so that nothing is ever left behind in tracefs. A side band of
perf_event_open(2) tells of processes: names, forks and exits, without which one that lived for a millisecond could not
be named.
"""

import fcntl
import mmap
import os
import re
import struct
from collections.abc import Sequence

from mapfs.errors import EvidenceError
from mapfs.trace.evidence import bpf, perf
from mapfs.trace.evidence.bpf import SampleRing, Values, instruction, wide
from mapfs.trace.evidence.perf import PerfRing, Shared
from mapfs.trace.evidence.sample import EVICTED, FAULT, MAPPED, TAKEN, Sample
from mapfs.trace.evidence.tasks import tasks_of

_TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
PAGES, VALUES, TASKS = "pages", "values", "tasks"  # roles of rings
_POINTS = {
    "mm_filemap_fault": FAULT,
    "mm_filemap_map_pages": MAPPED,
    "mm_filemap_get_pages": TAKEN,
    "mm_filemap_delete_from_page_cache": EVICTED,
}
_FIELD = re.compile(r"field:.*?(\w+);\s*offset:(\d+);\s*size:(\d+);")
_SAMPLE = struct.Struct("=8xQIII4xQQQ0s")  # the ring's header, and what a Sample has
RECORD_SIZE = _SAMPLE.size
SAMPLE_SIZE = RECORD_SIZE - 8
_DEVICE, _COUNT, _LOST, _LOST_EVICTIONS, _ASLEEP, _MANY = 0, 1, 2, 3, 4, 5  # of the values that programs share with us
_RING, _LARGEST = 1 << 22, 1 << 25  # bytes for each CPU, and of all together
_TASK_RING = 1 << 18
_SIGN = 1 << 13  # samples between two signs to whoever waits for a fuller ring
_SET_BPF = 0x40042408  # _IOW('$', 8, __u32)
_CONTEXT, _SHARED, _SAMPLE_AT, _STACK = 6, 7, 8, 10  # registers: three that calls leave alone, and the frame's
_INITIAL_PIDS = 0xEFFFFFFC  # linux/proc_ns.h, PROC_PID_INIT_INO


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


class Tap(SampleRing):
    """The ring of samples, and the tracepoints that it has them from, `events`, which it closes too."""

    def __init__(self, fd: int, size: int, events: list[int]) -> None:
        super().__init__(fd, size, SAMPLE_SIZE)
        self._events = events

    def close(self) -> None:
        """From now on nothing is sampled."""
        perf.close_all(self._events)
        super().close()


def open_rings() -> list[tuple[str, Shared]]:
    """The ring of samples, the values beside it, and a ring for the tasks of each CPU, each with its role, into which
    nothing comes yet. Raises EvidenceError.
    """
    directory, made = points(), list[tuple[str, Shared]]()
    try:
        cpus = perf.online_cpus()
        made += _tap(directory, ring_size(len(cpus)))
        for cpu in cpus:
            fd = perf.open_event(perf.SOFTWARE, perf.DUMMY, perf.TID | perf.TIME, perf.TASKS, pid=-1, cpu=cpu)
            made.append((TASKS, PerfRing(fd, max(mmap.PAGESIZE, _TASK_RING))))
    except OSError as error:
        perf.close_rings(made)
        raise perf.remedy(error) from error
    except BaseException:
        perf.close_rings(made)
        raise
    return made


def ring_size(cpus: int) -> int:
    """Bytes of the ring of samples."""
    return max(mmap.PAGESIZE, min(_LARGEST, _RING << (cpus - 1).bit_length()))


def _tap(directory: str, size: int) -> list[tuple[str, Shared]]:
    events = list[int]()
    made = list[tuple[str, Shared]]()
    try:
        tap = Tap(bpf.ring_of(size), size, events)
        made.append((PAGES, tap))
        values = Values(bpf.values_of(_MANY), _MANY)
        made.append((VALUES, values))
        for name, kind in _POINTS.items():
            program = bpf.load(_program(kind, _fields(f"{directory}/{name}/format"), tap.fd, values.fd))
            events.append(program)
            number = int(_text(os.path.join(directory, name, "id")))
            # a program runs on all CPUs, whichever the event that brought it is of
            event = perf.open_event(perf.TRACEPOINT, number, 0, 0, pid=-1, cpu=perf.online_cpus()[0])
            events.append(event)
            fcntl.ioctl(event, _SET_BPF, program)
    except OSError as error:
        perf.close_rings(made)
        raise bpf.remedy(error) from error
    return made


def start(rings: Sequence[tuple[str, Shared]], device: int) -> None:
    """From now on samples come, of the mount whose st_dev is `device`. Raises OSError."""
    for _, ring in rings:
        if isinstance(ring, Values):
            ring[_DEVICE] = kernel_device(device)
        elif isinstance(ring, PerfRing):
            perf.enable(ring.fd)


def kernel_device(device: int) -> int:
    """`device`, a st_dev, as the kernel itself has it (linux/kdev_t.h)."""
    return os.major(device) << 20 | os.minor(device)


def samples(role: str, data: bytes | memoryview) -> list[Sample]:
    """What a ring of this role held, in its order."""
    if role == TASKS:
        return list(tasks_of(bytes(data)))
    new = tuple.__new__  # as many as they are, without the call of a method for each
    return [new(Sample, fields) for fields in _SAMPLE.iter_unpack(data)]


class Side:
    """What the programs tell beside the samples, and are told."""

    def __init__(self, fd: int) -> None:
        self._values = Values(fd, _MANY)
        self._ever = (0, 0)

    def sleeps(self) -> None:
        """Whoever reads the ring: the next sample is to wake it."""
        self._values[_ASLEEP] = 1

    def lost(self) -> tuple[int, int]:
        """For how many samples the ring had no room since this was asked last: of evictions, and of all others."""
        ever = (self._values[_LOST_EVICTIONS], self._values[_LOST])
        missing = (ever[0] - self._ever[0], ever[1] - self._ever[1])
        self._ever = ever
        return missing

    def close(self) -> None:
        """The programs go on without us."""
        self._values.close()


def _program(kind: int, fields: dict[str, tuple[int, int]], ring: int, values: int) -> bytes:
    """What runs at a tracepoint: a sample of the mount's into the ring, or one lost."""
    reserve = [
        wide(1, ring, 1), instruction(0xB7, 2, value=SAMPLE_SIZE), instruction(0xB7, 3),
        instruction(0x85, value=131), instruction(0xBF, _SAMPLE_AT, 0),  # ringbuf_reserve(ring, size, 0)
    ]  # fmt: skip
    # its time is taken once it has its place: a reader that finds it unfinished knows how far the ring is whole
    sample = [
        instruction(0x85, value=5), _store(_SAMPLE_AT, 0, 0),  # ktime_get_ns(): CLOCK_MONOTONIC
        instruction(0x62, _SAMPLE_AT, 0, 8, kind), instruction(0x62, _SAMPLE_AT, 0, 20, 0),
        *_who(12),
        _fetch(1, _CONTEXT, fields["i_ino"]), _store(_SAMPLE_AT, 1, 24),
        _fetch(1, _CONTEXT, fields["index"]), _store(_SAMPLE_AT, 1, 32),
    ]  # fmt: skip
    if "last_index" in fields:
        sample.append(_fetch(1, _CONTEXT, fields["last_index"]))
    elif "order" in fields:  # first + (1 << order) - 1
        sample += [
            _fetch(2, _CONTEXT, fields["order"]), instruction(0xB7, 3, value=1), instruction(0x6F, 3, 2),
            instruction(0x07, 3, value=-1), instruction(0x0F, 1, 3),
        ]  # fmt: skip
    sample.append(_store(_SAMPLE_AT, 1, 40))
    count = [
        instruction(0x79, 1, _SHARED, 8 * _COUNT), instruction(0x07, 1, value=1), _store(_SHARED, 1, 8 * _COUNT),
        instruction(0xB7, 3, value=1),  # BPF_RB_NO_WAKEUP
        instruction(0x57, 1, value=_SIGN - 1), instruction(0x15, 1, 0, 3),
        instruction(0x79, 2, _SHARED, 8 * _ASLEEP), instruction(0x15, 2, 0, 2),  # nobody sleeps: no sign
        instruction(0x7A, _SHARED, 0, 8 * _ASLEEP, 0), instruction(0xB7, 3, value=2),  # FORCE
    ]  # fmt: skip
    submit = [  # ringbuf_submit(sample, flags)
        instruction(0xBF, 1, _SAMPLE_AT), instruction(0xBF, 2, 3), instruction(0x85, value=132),
    ]  # fmt: skip
    end = [instruction(0xB7, 0, value=0), instruction(0x95)]  # return 0: there is nothing for perf to do
    body = b"".join((*sample, *count, *submit, *end))
    lost = 8 * (_LOST_EVICTIONS if kind == EVICTED else _LOST)
    missed = [instruction(0xB7, 1, value=1), instruction(0xDB, _SHARED, 1, lost)]  # *lost += 1, atomic
    mine = b"".join((*reserve, instruction(0x15, _SAMPLE_AT, 0, len(body) // 8), body, *missed))
    whole = [
        instruction(0xBF, _CONTEXT, 1),
        wide(_SHARED, values, 2),  # the address of the values
        _fetch(1, _CONTEXT, fields["s_dev"]), instruction(0x79, 2, _SHARED, 8 * _DEVICE),
        instruction(0x5D, 1, 2, len(mine) // 8), mine, *end,
    ]  # fmt: skip
    return b"".join(whole)


def _who(at: int) -> list[bytes]:
    """The process and the thread into two numbers of the sample, as this pid namespace has them; 0 in no other that is
    not the first of all, whose numbers everybody has.
    """
    own = os.stat("/proc/self/ns/pid")
    if own.st_ino == _INITIAL_PIDS:
        return [  # get_current_pid_tgid()
            instruction(0x85, value=14), instruction(0x63, _SAMPLE_AT, 0, at + 4), instruction(0x77, 0, value=32),
            instruction(0x63, _SAMPLE_AT, 0, at),
        ]  # fmt: skip
    return [  # get_ns_current_pid_tgid(device, inode, numbers, 8), which has the thread first
        wide(1, kernel_device(own.st_dev)), wide(2, own.st_ino), instruction(0xBF, 3, _STACK),
        instruction(0x07, 3, value=-8), instruction(0xB7, 4, value=8), instruction(0x85, value=120),
        instruction(0x61, 1, _STACK, -8), instruction(0x61, 2, _STACK, -4),
        instruction(0x63, _SAMPLE_AT, 2, at), instruction(0x63, _SAMPLE_AT, 1, at + 4),
    ]  # fmt: skip


def _fetch(register: int, base: int, place: tuple[int, int]) -> bytes:
    """What a tracepoint has in a field, by its offset and size in bytes, into a register."""
    return instruction({1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79}[place[1]], register, base, place[0])


def _store(base: int, register: int, offset: int) -> bytes:
    return instruction(0x7B, base, register, offset)


def _fields(path: str) -> dict[str, tuple[int, int]]:
    return {field: (int(at), int(size)) for field, at, size in _FIELD.findall(_text(path))}


def _text(path: str) -> str:
    with open(path) as file:
        return file.read()
