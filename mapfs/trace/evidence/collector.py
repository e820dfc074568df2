"""The recorder's half of evidence: takes samples out of the kernel's rings, and joins them with the requests.

Requests and samples of one moment lie in many rings, some not yet written. So each round goes up to a moment a little
before it began; what is younger waits for the next.
"""

import bisect
import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import cast

from mapfs.trace.barrier import Barrier
from mapfs.trace.events import PUSH
from mapfs.trace.evidence import faults, perf, tracepoints
from mapfs.trace.evidence.account import Account
from mapfs.trace.evidence.bpf import SampleRing
from mapfs.trace.evidence.item import Item, of_request
from mapfs.trace.evidence.names import Names
from mapfs.trace.evidence.perf import LostCount, PerfRing, Readable
from mapfs.trace.evidence.sample import EVICTED, Sample
from mapfs.trace.evidence.tracepoints import Side
from mapfs.trace.facts import FileFact, RingsFact, ThreadFact
from mapfs.trace.ring import Record

_SLACK = 200_000  # ns in which a sample that has its time is in its ring
_ROUND = 20_000  # samples, and requests, that are joined at once
_MOST = 500_000  # that may wait for it
_SHORTEST, _LONGEST = 0.02, 0.5  # seconds between two looks at the rings
_ASLEEP = 5.0  # seconds, where a sample wakes who sleeps, but perhaps not one that was being taken just then

Classify = Callable[[Record], tuple[str | None, int]]


class Collector:
    """`classify` tells of a request what requests alone can tell; `learned` is given facts of threads."""

    def __init__(
        self,
        barrier: Barrier,
        classify: Classify,
        learned: Callable[[ThreadFact], object],
        *,
        daemon: int,
        kernel: bool,
    ) -> None:
        self.lost = 0  # samples, ever
        self.kernel = kernel
        self.full = 0.0  # of the fullest ring, 0 to 1, when it was last taken from
        self.nap = _SHORTEST  # seconds until it is worth to look again
        self._barrier = barrier
        self._classify = classify
        self._names = Names(learned)
        self._account = Account(self._names, daemon, kernel=kernel)
        self._rings: list[tuple[str, Readable]] = []
        self._maps: faults.Maps | None = None
        self._samples: list[Sample] = []  # that are too young
        self._records: list[tuple[int, Record]] = []  # each with the moment of its answer
        self._facts: list[FileFact] = []  # whose time has not come
        self._taken: list[tuple[str, bytes]] = []
        self._side: Side | None = None  # of tracepoints
        self._watched: dict[int, list[LostCount]] = {}  # of processes, by the pid that was attached to
        self._ending = False
        self._overflown = False  # a ring was so full that samples may have been lost
        self._device = 0
        self._moment = 0
        self._until = 0  # everything up to this moment was joined, ns

    def add(self, fact: RingsFact, fds: Sequence[int]) -> None:
        """The daemon made rings."""
        self._device = fact.device
        for role, size, fd in zip(fact.roles, fact.sizes, fds, strict=True):
            if role == tracepoints.VALUES:
                self._side = Side(fd)
            elif role == tracepoints.PAGES:
                self._rings.append((role, SampleRing(fd, size, tracepoints.SAMPLE_SIZE)))
            else:
                self._rings.append((role, PerfRing(fd, size)))
        if not self.kernel and self._maps is None:
            self._maps = faults.Maps(fact.device)

    def wakers(self) -> list[int]:
        """Descriptors that can be read when it is worth to look."""
        return [ring.fd for role, ring in self._rings if role in (tracepoints.PAGES, tracepoints.TASKS)]

    def sleeps(self) -> None:
        """Nobody looks into the rings until one of the wakers is readable."""
        if self._side is not None:
            self._side.sleeps()

    def watch(self, pid: int, fds: Sequence[int]) -> None:
        """The daemon attached events to a process: it is watched, with what it starts, as long as they are here."""
        self._watched.setdefault(pid, []).extend(LostCount(fd) for fd in fds)
        if self._maps is not None:
            self._maps.watch(pid)

    def stop(self) -> None:
        """The mount is over: its device number may be another mount's by now, whose samples are none of ours. The
        programs at tracepoints went with the daemon.
        """
        rings = (ring.fd for role, ring in self._rings if role != tracepoints.PAGES)
        for fd in (*rings, *(count.fd for count in self._of_watched())):
            perf.disable(fd)

    def known(self, fact: FileFact | ThreadFact) -> None:
        """The daemon told who somebody is, or what."""
        if isinstance(fact, FileFact):
            self._facts.append(fact)
        else:
            self._names.told(fact)

    def requests_lost(self) -> None:
        """Requests are missing: what they brought into the page cache is not known."""
        self._account.missed(self._moment)

    def begin(self) -> None:
        """A round begins: what is recorded from now on, or sampled, may be in one ring and not yet in another."""
        self._moment = time.monotonic_ns()

    def take(self) -> int:
        """Takes what is in the rings now: after the requests, whose samples are there then, and before the facts that
        it may refer to. How many bytes.
        """
        taken = perf.take([ring for _, ring in self._rings], self._barrier)
        self._taken = [(role, data) for (role, _), data in zip(self._rings, taken, strict=True) if data]
        self.full = max(
            (len(data) / ring.size for (_, ring), data in zip(self._rings, taken, strict=True)), default=0.0
        )
        self._overflown |= self.full > 1 / 2
        return sum(len(data) for _, data in self._taken)

    def settle(self, records: Sequence[Record], *, final: bool = False) -> tuple[list[Item], int]:
        """The events that are settled, in their order, and how many samples were lost on the way. Of a backlog, the
        oldest: the rings must not wait for it.
        """
        limit, lost = self._moment if final else self._moment - _SLACK, self._decode()
        self._records += [(_answered(one), one) for one in records]
        self._records.sort(key=itemgetter(0))
        limit = self._horizon(limit)
        ready = bisect.bisect_right(self._records, limit, key=itemgetter(0))
        requests, self._records = self._records[:ready], self._records[ready:]
        samples = self._ready(limit)
        account, classify = self._account, self._classify
        if lost:
            if self._maps is not None:
                self._maps.clear()
            account.missed(time.monotonic_ns())  # not before this round alone: it may have been held up since it began
            self.lost += lost
        facts = [fact for fact in self._facts if fact.found_ns <= limit]
        self._facts = [fact for fact in self._facts if fact.found_ns > limit] if facts else self._facts
        others: list[tuple[int, Record | FileFact]] = [(one.found_ns, one) for one in facts]
        others += requests
        if facts:
            others.sort(key=itemgetter(0))
        at, count, sampled = 0, len(samples), account.sample
        for moment, one in others:
            while at < count and samples[at][0] < moment:
                sampled(samples[at])
                at += 1
            if type(one) is Record:
                account.request(one, *classify(one))
            else:
                account.known(cast(FileFact, one))
        for number in range(at, count):
            sampled(samples[number])
        self._until = limit
        busy = bool(requests or samples or account.oldest or self._waiting)
        self.nap = _SHORTEST if busy else _ASLEEP if self._side else min(_LONGEST, self.nap * 1.5)
        whole = final and not self._waiting
        return account.settled(1 << 63 if whole else limit), lost

    def settled(self, moment: int) -> bool:
        """Whether all that happened before `moment`, ns, was handed on."""
        oldest = self._account.oldest
        return self._until >= moment and (oldest is None or oldest > moment)

    def rest(self) -> list[Item]:
        """Where joining failed: the requests that were not joined, and what was on its way."""
        records, self._records = self._records, []
        return self._account.settled(1 << 63) + [of_request(one, *self._classify(one)) for _, one in records]

    @property
    def overloaded(self) -> bool:
        """Whether so much waits to be joined that the rings had better be left to overflow, which is counted."""
        return len(self._samples) + len(self._records) > _MOST

    @property
    def _waiting(self) -> int:
        return len(self._samples) + len(self._records) + (self._maps.waiting if self._maps else 0)

    def _decode(self) -> int:
        """How many samples were lost."""
        taken, self._taken = self._taken, []
        if self._maps is not None:
            self._maps.add(taken)
            return self._missing()
        for role, data in taken:
            found = tracepoints.samples(role, data)
            self._samples += found
            evictions = not self._ending and any(one.kind == EVICTED for one in found)
            if evictions and not _is_mounted(self._device):
                self._ending = True
                self._account.ending()
        self._samples.sort(key=itemgetter(0))
        return self._missing()

    def _missing(self) -> int:
        """How many samples the kernel had no room for, where that may be."""
        if self._side is not None:
            evictions, others = self._side.lost()
            if evictions:
                self._account.lost(time.monotonic_ns())
            return others + (0 if self._ending else evictions)  # nobody asked what the end of a mount drops
        lost = 0
        if self._overflown:
            self._overflown = False
            lost = sum(count.more() for count in self._of_watched())
        return lost

    def _of_watched(self) -> Iterator[LostCount]:
        return chain.from_iterable(self._watched.values())

    def _horizon(self, limit: int) -> int:
        """How far a round may go, ns."""
        if self._maps is not None:
            limit = min(limit, self._maps.horizon(_ROUND))
        if len(self._samples) > _ROUND:
            limit = min(limit, self._samples[_ROUND].time_ns)
        if len(self._records) > _ROUND:
            limit = min(limit, self._records[_ROUND][0])
        return limit

    def _ready(self, limit: int) -> list[Sample]:
        if self._maps is not None:
            samples = self._maps.take(limit)
            for pid in self._maps.over():
                perf.close_all(count.fd for count in self._watched.pop(pid, ()))
            return samples
        ready = bisect.bisect_right(self._samples, limit, key=itemgetter(0))
        samples, self._samples = self._samples[:ready], self._samples[ready:]
        return samples


def _is_mounted(device: int) -> bool:
    """Whether the mount is in the name space. The kernel takes it out before it drops the pages of what it unmounts."""
    number = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", "rb") as file:
        return any(line.split(b" ", 3)[2] == number.encode() for line in file)


def _answered(record: Record) -> int:
    """When it was; pages that are pushed may be found before the push is over."""
    return record.time_ns if record.op == PUSH else record.time_ns + record.wait_ns
