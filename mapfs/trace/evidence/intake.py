"""Taking samples out of the rings, as bytes: the recorder's half of evidence that cannot wait, unlike joining them with
the requests (`collector`). What another moment would tell otherwise is found out here: how many samples were lost, and
whether what left the page cache did so because the mount ends.
"""

import os
import select
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from mapfs.trace.barrier import Barrier
from mapfs.trace.evidence import perf, tracepoints
from mapfs.trace.evidence.bpf import SampleRing
from mapfs.trace.evidence.perf import LostCount, PerfRing, Readable
from mapfs.trace.evidence.sample import EVICTED, Sample
from mapfs.trace.evidence.tasks import tasks_of
from mapfs.trace.evidence.tracepoints import Side
from mapfs.trace.facts import RingsFact
from mapfs.trace.rounds import Round

_KINDS = struct.Struct(f"=16xI{tracepoints.SAMPLE_SIZE - 12}x")  # of the samples in a ring


class Intake:
    """`awake` is what the recorder sleeps on: rings that can be read when it is worth to look are registered there.
    `tasks` is given what the side band tells of processes, where joining will come to it later.
    """

    def __init__(self, barrier: Barrier, awake: select.epoll, tasks: Callable[[Sample], object]) -> None:
        self.full = 0.0  # of the fullest ring, 0 to 1, when it was last taken from
        self.wakes = False  # whether a sample wakes who sleeps
        self._barrier = barrier
        self._awake = awake
        self._tasks = tasks
        self._rings: list[tuple[str, Readable]] = []
        self._wakers: list[int] = []
        self._side: Side | None = None  # of tracepoints
        self._watched: dict[int, list[LostCount]] = {}  # of processes, by the pid that was attached to
        self._ending = False
        self._overflown = False  # a ring was so full that samples may have been lost
        self._device = 0

    def add(self, fact: RingsFact, fds: Sequence[int]) -> None:
        """The daemon made rings. Raises OSError; what it was given is open no more then, once it is closed."""
        self._device = fact.device
        left = list(fds)
        try:
            for role, size in zip(fact.roles, fact.sizes, strict=True):
                self._add(role, size, left.pop(0))
        except BaseException:
            perf.close_all(left)
            raise

    def _add(self, role: str, size: int, fd: int) -> None:
        if role == tracepoints.VALUES:
            self._side, self.wakes = Side(fd), True
        elif role == tracepoints.PAGES:
            self._rings.append((role, SampleRing(fd, size, tracepoints.SAMPLE_SIZE)))
        else:
            self._rings.append((role, PerfRing(fd, size)))
        if role in (tracepoints.PAGES, tracepoints.TASKS):
            self._awake.register(fd, select.EPOLLIN)
            self._wakers.append(fd)

    def sleeps(self) -> None:
        """Nobody looks into the rings until one of the wakers is readable."""
        if self._side is not None:
            self._side.sleeps()

    def watch(self, pid: int, fds: Sequence[int]) -> None:
        """The daemon attached events to a process: it is watched, with what it starts, as long as they are here."""
        self._watched.setdefault(pid, []).extend(LostCount(fd) for fd in fds)

    def over(self, pid: int) -> None:
        """Nobody is left of it."""
        perf.close_all(count.fd for count in self._watched.pop(pid, ()))

    def stop(self) -> None:
        """The mount is over: its device number may be another mount's by now, whose samples are none of ours. The
        programs at tracepoints went with the daemon.
        """
        rings = (ring.fd for role, ring in self._rings if role != tracepoints.PAGES)
        for fd in (*rings, *(count.fd for count in self._of_watched())):
            perf.disable(fd)

    def close(self) -> None:
        """There is no evidence any more: nothing is kept, and nothing of it wakes the recorder."""
        for fd in self._wakers:  # the daemon has them too: closing them here does not end that
            self._awake.unregister(fd)
        perf.close_rings(self._rings)
        if self._side is not None:
            self._side.close()
        perf.close_all(count.fd for count in self._of_watched())
        self._wakers, self._rings, self._side, self._watched = [], [], None, {}

    @property
    def cut(self) -> bool:
        """Whether there was a sample, when they were last taken, that was still being written."""
        return any(ring.cut for _, ring in self._rings)

    def take(self, one: Round) -> None:
        """Puts into the round what is in the rings now: after the requests, whose samples are there then, and before
        the facts that it may refer to.
        """
        taken = perf.take([ring for _, ring in self._rings], self._barrier)
        one.samples = [(role, data) for (role, _), data in zip(self._rings, taken, strict=True) if data]
        self.full = max(
            (len(data) / ring.size for (_, ring), data in zip(self._rings, taken, strict=True)), default=0.0
        )
        self._overflown |= self.full > 1 / 2
        if not self._ending:
            left = any(role == tracepoints.PAGES and _has_evictions(data) for role, data in one.samples)
            self._ending = left and not _is_mounted(self._device)
        one.ending = self._ending
        one.lost_samples, one.blind = self._missing()
        if one.lost_samples or one.blind:
            one.missed = time.monotonic_ns()  # not before it began alone: it may have been held up since

    def tell_tasks(self, one: Round) -> None:
        """Tells which processes became others, before the round is joined: /proc has their new names already."""
        for role, data in one.samples:
            if role != tracepoints.PAGES:
                for task in tasks_of(data):
                    self._tasks(task)

    def _missing(self) -> tuple[int, bool]:
        """How many samples the kernel had no room for, where that may be; whether evictions are among them."""
        if self._side is not None:
            evictions, others = self._side.lost()
            # nobody asked what the end of a mount drops
            return others + (0 if self._ending else evictions), evictions > 0
        lost = 0
        if self._overflown:
            self._overflown = False
            lost = sum(count.more() for count in self._of_watched())
        return lost, False

    def _of_watched(self) -> Iterator[LostCount]:
        return chain.from_iterable(self._watched.values())


def _has_evictions(data: bytes) -> bool:
    return any(kind == EVICTED for (kind,) in _KINDS.iter_unpack(data))


def _is_mounted(device: int) -> bool:
    """Whether the mount is in the name space. The kernel takes it out before it drops the pages of what it unmounts.
    True where that cannot be read: the next round asks again.
    """
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            return any(line.split(b" ", 3)[2] == number.encode() for line in file)
    except OSError:
        return True
