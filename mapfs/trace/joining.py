"""Joining: rounds that were taken become events, which the journal has, and the sinks are given."""

from collections.abc import Callable

from mapfs.errors import reason_of
from mapfs.trace.classify import Classifier
from mapfs.trace.events import Event, Lost
from mapfs.trace.evidence.collector import Collector
from mapfs.trace.evidence.item import Item, of_request
from mapfs.trace.evidence.tiers import KERNEL
from mapfs.trace.facts import Fact, FileFact, HeldBackFact, MountFact, ReasonFact, ThreadFact, WatchedFact
from mapfs.trace.journal import Journal, lost_samples
from mapfs.trace.known import Known
from mapfs.trace.metrics import Metrics
from mapfs.trace.ring import SLOT, records_of
from mapfs.trace.rounds import Round
from mapfs.trace.sinks import warn

_STEP = 4096  # requests that are joined at once, where there is no evidence: the ring fills meanwhile


class Joiner:
    """`learned` is given each fact before the first event that refers to it, `over` the processes that were watched."""

    def __init__(self, slots: int, learned: Callable[[Fact], None], over: Callable[[int], None]) -> None:
        self.journal = Journal(slots)
        self.known = Known(self.journal)
        self.metrics = Metrics()
        self.evidence: Collector | None = None
        self.until = 1  # the serial number up to which all requests were taken in
        self.lost = 0  # requests, ever
        self.lost_samples = 0
        self.wants_events = True  # whether anybody takes what `add` and `step` return
        self._classifier = Classifier()
        self._serial = 0
        self._records = b""  # where there is no evidence beyond them
        self._learned = learned
        self._over = over

    def begin(self, mount: MountFact) -> None:
        """There is evidence of this mount beyond its requests."""
        self.evidence = Collector(
            self._classifier.classify, self._learned_thread, self._over, daemon=mount.pid,
            kernel=mount.evidence == KERNEL,
        )  # fmt: skip

    @property
    def cut(self) -> bool:
        """Whether there is another step to do of what it has."""
        return bool(self._records) or (self.evidence is not None and self.evidence.cut)

    @property
    def pending(self) -> int:
        """Requests that were taken in and not joined."""
        return len(self._records) // SLOT + (self.evidence.requests if self.evidence is not None else 0)

    def settled(self, moment: int) -> bool:
        """Whether all that happened before `moment`, ns, was handed on, of the requests that were taken in."""
        return not self._records and (self.evidence is None or self.evidence.settled(moment))

    def step(self, one: Round | None, *, final: bool = False) -> tuple[int, list[Event | Lost]]:
        """Joins a part of what it has, with the next round; how much there was, and the events that are settled now.
        `final`: there is no other round.
        """
        events: list[Event | Lost] = []
        items = self._add(one, events) if one is not None else []
        if self.evidence is not None:
            try:
                items += self.evidence.settle(final=final)
            except Exception as error:
                items += self._failed(reason_of(error))
        elif self._records:
            part, self._records = self._records[: _STEP * SLOT], self._records[_STEP * SLOT :]
            items += [of_request(record, *self._classifier.classify(record)) for record in records_of(part)]
        self.metrics.observe(items)
        journal, known, wanted = self.journal, self.known, self.wants_events
        for item in items:
            self._serial += 1
            entry = item.entry(self._serial)
            journal.append(entry)
            if wanted:
                events.append(known.event(entry))
        return len(items) + len(events), events

    def _add(self, one: Round, events: list[Event | Lost]) -> list[Item]:
        """Takes a round in; where evidence fails, what was on its way."""
        for fact in one.facts:
            self._take_fact(fact)
        self.until = one.until
        if one.lost:
            self.lost += one.lost
            self._classifier.lost()
            self._serial += one.lost
            events.append(Lost(one.lost))
        if self.evidence is None or one.failed:
            self._records += one.records
            return self._failed(one.failed) if self.evidence is not None else []
        try:
            self.evidence.add(one, records_of(one.records))
        except Exception as error:
            self._records = one.records
            return self._failed(reason_of(error))
        if one.lost_samples:
            self.lost_samples += one.lost_samples
            self._serial += 1
            self.journal.append(lost_samples(self._serial, one.lost_samples))
            events.append(Lost(one.lost_samples, samples=True))
        return []

    def _failed(self, why: str) -> list[Item]:
        assert self.evidence is not None
        warn(f"evidence failed: {why}; from now on the requests alone are recorded")
        items = self.evidence.rest()
        self.evidence = None
        return items

    def _take_fact(self, fact: Fact) -> None:
        match fact:
            case FileFact():
                self.known.files[fact.id] = fact
                self._classifier.known(fact.id)
                if self.evidence is not None:
                    self.evidence.known(fact)
            case ThreadFact():
                self.known.thread(fact)
                if self.evidence is not None:
                    self.evidence.known(fact)
            case WatchedFact():
                if self.evidence is None:
                    return  # it failed meanwhile: the trace does not say that the process is watched
                self.evidence.watch(fact.pid)
            case ReasonFact():
                self.known.reasons[fact.id] = fact.text
            case HeldBackFact():
                self.known.held(fact)
            case _:
                pass
        self._learned(fact)

    def _learned_thread(self, fact: ThreadFact) -> None:
        """Evidence found out who a thread is."""
        self.known.thread(fact)
        self._learned(fact)
