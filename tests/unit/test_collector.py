"""Joining samples with requests, step by step: it comes to an end, whatever a round holds."""

import struct

import pytest

from mapfs.trace.events import READ
from mapfs.trace.evidence import perf, tracepoints
from mapfs.trace.evidence.collector import Collector
from mapfs.trace.evidence.sample import FAULT
from mapfs.trace.ring import Record
from mapfs.trace.rounds import Round
from mapfs.units import PAGE_SIZE

SECOND = 1_000_000_000
BEGAN = 1_000 * SECOND
CHUNK = 4096  # samples that are joined at once
MANY_STEPS = 100

_TASK = struct.Struct("=IIIIQIIQ")  # pid, ppid, tid, ptid, time; pid, tid, time once more
_PAGE = struct.Struct("=8xQIIIxxxxQQQ")  # time, kind, pid, tid, inode, first and last page


def forked(moment: int, number: int) -> bytes:
    body = _TASK.pack(number, 1, number, 1, moment, number, number, moment)
    return perf.HEADER.pack(perf.FORK, 0, perf.HEADER.size + len(body)) + body


def faulted(moment: int, page: int = 0) -> bytes:
    return _PAGE.pack(moment, FAULT, 5, 5, 7, page, page)


def demanded(moment: int, page: int) -> Record:
    return Record(moment, 1000, page * PAGE_SIZE, page + 1, PAGE_SIZE, 1, 1, 5, READ, 0, 0, 0, page + 1)


@pytest.mark.parametrize("forks", [5_000, 20_000])
@pytest.mark.parametrize("faults", [1, 3 * CHUNK])
def test_many_forks_beside_samples_of_pages_are_joined_with_all_requests(forks: int, faults: int) -> None:
    collector = Collector(lambda _: (None, 0), lambda _: None, lambda _: None, daemon=1, kernel=True)
    collector.add(Round(BEGAN, 1, samples=[(tracepoints.PAGES, faulted(BEGAN - SECOND))]), [])
    collector.settle()
    first, taken = BEGAN + SECOND // 100, BEGAN + SECOND
    tasks = b"".join(forked(first + 1000 * number, 100_000 + number) for number in range(forks))
    pages = b"".join(faulted(first + 2000 * number, number % 3) for number in range(faults))
    requests = [demanded(first + 3000 * number, number) for number in range(3)]
    samples = [(tracepoints.PAGES, pages), (tracepoints.TASKS, tasks)]
    collector.add(Round(taken, 2, samples=samples), requests)
    items, steps = collector.settle(), 1
    while steps < MANY_STEPS and collector.cut:
        items += collector.settle()
        steps += 1
    assert steps <= (forks + faults) // CHUNK + 2, "else it may never be given another round"
    collector.add(Round(taken + SECOND, 2), [])
    items += collector.settle(final=True)
    assert [item.unique for item in items if item.op == READ] == [1, 2, 3]
