"""What the recorder sleeps on, and what it keeps: nothing of evidence that has failed."""

import math
import os
import socket
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest
import trio
from trio.testing import MockClock

from mapfs.trace.evidence import perf, tracepoints
from mapfs.trace.evidence.tiers import KERNEL
from mapfs.trace.facts import EventsWanted, FactSender, RingsFact, WatchedFact
from mapfs.trace.pace import Pace
from mapfs.trace.recorder import Recorder
from mapfs.trace.ring import Ring
from tests.unit.samples import MOUNT

SIZE = 1 << 15  # bytes of a ring


def open_files() -> set[tuple[int, str]]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
        except FileNotFoundError:
            pass  # the directory itself
    return found


def sleeps_on(recorder: Recorder) -> int:
    """How many descriptors wake it."""
    with open(f"/proc/self/fdinfo/{recorder._awake.fileno()}") as file:
        return sum(line.startswith("tfd:") for line in file)


@pytest.fixture
def daemon() -> Iterator[tuple[FactSender, Recorder]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    ring = Ring(1 << 10)
    with ours, theirs, closing(ring.memory):
        recorder = Recorder(ring, theirs, None, [])
        yield FactSender(ours), recorder
        recorder._awake.close()
        os.close(ring.wake)


def test_where_evidence_failed_the_descriptors_of_it_are_closed_and_those_that_still_come(
    daemon: tuple[FactSender, Recorder],
) -> None:
    sender, recorder = daemon
    cpu = perf.online_cpus()[0]
    flags = perf.TASKS | perf.USER_ONLY
    ring = perf.open_event(perf.SOFTWARE, perf.DUMMY, perf.TID | perf.TIME, flags, pid=os.getpid(), cpu=cpu)
    rings, watched = RingsFact(1, [tracepoints.TASKS], [SIZE]), [WatchedFact(pid, 2, 3) for pid in range(5, 9)]
    try:
        sender.send(msgspec.structs.replace(MOUNT, evidence=KERNEL))
        assert recorder._take_facts() == []
        before = open_files()
        sender.send(rings, (ring,))
        sender.send(watched[0], (ring, ring))
        assert recorder._take_facts() == watched[:1]
        assert (len(open_files() - before), sleeps_on(recorder)) == (4, 1), "the ring has one for its memory"
        recorder.joiner.evidence = None  # it failed
        recorder._join()
        assert (open_files(), sleeps_on(recorder)) == (before, 0)
        for fact in watched[1:]:
            sender.send(fact, (ring, ring))
        sender.send(rings, (ring,))
        assert recorder._take_facts() == []
        assert (open_files(), sleeps_on(recorder)) == (before, 0)
    finally:
        os.close(ring)


class Unhurried(Pace):
    """A pace that changes nothing of this process."""

    until = math.inf

    def __init__(self) -> None:
        """As it is."""

    def round(self, full: float, taken: int, *, awaited: bool) -> None:
        """As it was."""


def test_it_does_not_sleep_on_a_question_that_it_has_just_taken(daemon: tuple[FactSender, Recorder]) -> None:
    sender, recorder = daemon
    ours, theirs = os.pipe()
    try:
        sender.send(EventsWanted(follow=False), (theirs,))

        async def slept() -> float:
            before = trio.current_time()
            await recorder._sleep(Unhurried())
            return trio.current_time() - before

        assert trio.run(slept, clock=MockClock(autojump_threshold=0)) == 0
        assert recorder._wanted
    finally:
        for fd in (ours, theirs, *(one.fd for one in recorder._wanted._waiting)):
            os.close(fd)
