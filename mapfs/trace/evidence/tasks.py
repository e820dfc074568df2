"""The side band: which process became which program, forked which other, and ended."""

import struct
from collections.abc import Iterator

from mapfs.trace.evidence import perf
from mapfs.trace.evidence.sample import EXEC, EXITED, FORKED, Sample
from mapfs.trace.facts import printable

_PAIR = struct.Struct("=II")
_TASK = struct.Struct("=IIIIQ")  # pid, ppid, tid, ptid, time
_TASKS = frozenset((perf.COMM, perf.FORK, perf.EXIT))
_ID = struct.Struct("=IIQ")  # at the end of each record: pid, tid, time


def task_of(row: perf.Row) -> Sample | None:
    """What a record of the side band says; None of any other."""
    body = row.body
    if row.type == perf.COMM:
        pid, tid = _PAIR.unpack_from(body)
        command = printable(body[_PAIR.size : -_ID.size].split(b"\0", 1)[0])
        executed = row.misc & perf.COMM_EXEC
        return Sample(time_of(body), EXEC, pid, tid, 1 if executed else 0, 0, 0, command)
    if row.type in (perf.FORK, perf.EXIT):
        pid, parent, tid, parent_thread, time_ns = _TASK.unpack_from(body)
        return Sample(time_ns, FORKED if row.type == perf.FORK else EXITED, pid, tid, parent, parent_thread, 0)
    return None


def tasks_of(data: bytes) -> Iterator[Sample]:
    """What the records of the side band say in what was taken out of a ring; it steps over the others."""
    at, unpack = 0, perf.HEADER.unpack_from
    while at < len(data):
        kind, misc, size = unpack(data, at)
        if kind in _TASKS:
            task = task_of(perf.Row(kind, misc, data[at + perf.HEADER.size : at + size]))
            if task is not None:
                yield task
        at += size


def time_of(body: bytes) -> int:
    """When a record other than a sample was made, ns of CLOCK_MONOTONIC."""
    return int(_ID.unpack_from(body, len(body) - _ID.size)[2])
