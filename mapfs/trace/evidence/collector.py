"""The recorder's half of evidence: joins samples of the kernel with the requests.

Requests and samples of one moment lie in many rings, some not yet written. So each round goes up to a moment a little
before it was taken (`intake`); what is younger waits for the next.
"""

import bisect
from collections import deque
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import cast

from mapfs.trace.events import PUSH
from mapfs.trace.evidence import faults, tracepoints
from mapfs.trace.evidence.account import Account
from mapfs.trace.evidence.item import Item, of_request
from mapfs.trace.evidence.names import Names
from mapfs.trace.evidence.sample import Sample
from mapfs.trace.facts import FileFact, PassedBy, ThreadFact
from mapfs.trace.ring import Record
from mapfs.trace.rounds import Round

_SLACK = 2_000_000  # ns in which a sample that has its time is in its ring, and a push is over whose pages are found
_STEP = 4096  # samples, and requests, that are joined at once: the rings fill meanwhile
_SHORTEST, _LONGEST = 0.02, 0.5  # seconds between two looks at the rings
_ASLEEP = 5.0  # seconds, where a sample wakes who sleeps, but perhaps not one that was being taken just then

Classify = Callable[[Record], tuple[str | None, int]]


class Collector:
    """`classify` tells of a request what requests alone can tell; `learned` is given facts of threads, `over` the
    processes that were attached to (`Round.facts`) of which nobody is left.
    """

    def __init__(
        self,
        classify: Classify,
        learned: Callable[[ThreadFact], object],
        over: Callable[[int], object],
        *,
        daemon: int,
        kernel: bool,
    ) -> None:
        self.nap = _SHORTEST  # seconds until it is worth to look again
        self.cut = False  # whether there is another step to do, before another round
        self.names = Names(learned)
        self._classify = classify
        self._over = over
        self._account = Account(self.names, daemon, kernel=kernel)
        self._maps: faults.Maps | None = None
        self._undecoded: deque[memoryview] = deque()
        self._decoded = 0  # up to this moment, where there is more
        self._samples: list[Sample] = []  # in the order of time, that were too young for a step
        self._records: list[tuple[int, Record]] = []  # each with the moment of its answer
        self._facts: list[FileFact] = []  # whose time has not come
        self._ending = False
        self._moment = 0
        self._until = 0  # everything up to this moment was joined, ns

    def maps(self, device: int) -> None:
        """The samples are of the tier faults, of the mount whose st_dev is `device`."""
        if self._maps is None:
            self._maps = faults.Maps(device)

    def watch(self, pid: int) -> None:
        """The process is watched from now on."""
        if self._maps is not None:
            self._maps.watch(pid)

    def known(self, fact: FileFact | ThreadFact) -> None:
        """The daemon told who somebody is, or what."""
        if isinstance(fact, FileFact):
            self._facts.append(fact)
        else:
            self.names.told(fact)

    def add(self, one: Round, records: Sequence[Record]) -> None:
        """The next round, and the requests in it."""
        self._moment = one.moment
        if one.lost:  # what they brought into the page cache is not known
            self._account.missed(one.moment)
        if self._maps is not None:
            self._maps.add(one.samples)
        else:
            for role, data in one.samples:
                if role == tracepoints.TASKS:
                    self._samples += tracepoints.samples(role, data)
                else:
                    whole, step = memoryview(data), _STEP * tracepoints.RECORD_SIZE
                    self._undecoded += [whole[at : at + step] for at in range(0, len(data), step)]
            self._samples.sort(key=itemgetter(0))
        if one.ending and not self._ending:
            self._ending = True
            self._account.ending()
        if one.missed:
            if self._maps is not None:
                self._maps.clear()
            if one.blind:
                self._account.lost(one.missed)
            else:
                self._account.missed(one.missed)
        self._records += [(_answered(record), record) for record in records]
        self._records.sort(key=itemgetter(0))

    def settle(self, *, final: bool = False) -> list[Item]:
        """The events that are settled, in their order: of a backlog, a step. `final`: there is no other round."""
        self._decode()
        whole = self._moment if final else self._moment - _SLACK
        limit = self._horizon(whole)
        self.cut = limit < whole
        ready = bisect.bisect_right(self._records, limit, key=itemgetter(0))
        requests, self._records = self._records[:ready], self._records[ready:]
        samples = self._ready(limit)
        account, classify = self._account, self._classify
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
        self.nap = _SHORTEST if busy else _ASLEEP if self._maps is None else min(_LONGEST, self.nap * 1.5)
        return account.settled(1 << 63 if final and not self._waiting else limit)

    def settled(self, moment: int) -> bool:
        """Whether all that happened before `moment`, ns, was handed on."""
        oldest = self._account.oldest
        return self._until >= moment and (oldest is None or oldest > moment)

    def passed(self) -> list[PassedBy]:
        """What threads left untouched of what was pushed for them, since this was asked last."""
        return self._account.passing.take()

    def rest(self) -> list[Item]:
        """Where joining failed: the requests that were not joined, and what was on its way."""
        records, self._records = self._records, []
        return self._account.settled(1 << 63) + [of_request(one, *self._classify(one)) for _, one in records]

    @property
    def requests(self) -> int:
        """How many are not joined yet."""
        return len(self._records)

    @property
    def _waiting(self) -> int:
        return (
            len(self._samples) + len(self._records) + len(self._undecoded) + (self._maps.waiting if self._maps else 0)
        )

    def _decode(self) -> None:
        """Until there is a step to do: enough samples, of which the first is not too young for one. Tasks are here
        before the samples of pages that are older.
        """
        samples = self._samples
        while self._undecoded and not (len(samples) >= _STEP and samples[0].time_ns <= self._decoded):
            found = tracepoints.samples(tracepoints.PAGES, self._undecoded.popleft())
            samples += found
            samples.sort(key=itemgetter(0))
            self._decoded = found[-1].time_ns - _SLACK

    def _horizon(self, limit: int) -> int:
        """How far a step may go, ns."""
        if self._maps is not None:
            limit = min(limit, self._maps.horizon(_STEP))
        if self._undecoded:
            limit = min(limit, self._decoded)
        if len(self._samples) > _STEP:
            limit = min(limit, self._samples[_STEP].time_ns)
        if len(self._records) > _STEP:
            limit = min(limit, self._records[_STEP][0])
        return limit

    def _ready(self, limit: int) -> list[Sample]:
        if self._maps is not None:
            samples = self._maps.take(limit)
            for pid in self._maps.over():
                self._over(pid)
            return samples
        ready = bisect.bisect_right(self._samples, limit, key=itemgetter(0))
        samples, self._samples = self._samples[:ready], self._samples[ready:]
        return samples


def _answered(record: Record) -> int:
    """When it was; pages that are pushed may be found before the push is over."""
    return record.time_ns if record.op == PUSH else record.time_ns + record.wait_ns
