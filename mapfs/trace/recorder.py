"""The recorder: a process of its own that drains the ring into the sinks.

It is forked before the mount is made, so that formatting and SQLite never share an interpreter with the
pagers, and it outlives the daemon: when the daemon's end of the socket closes, however it ended, the recorder
takes what is left in the ring, finishes the trace and ends. Signals of the terminal are the daemon's affair.
"""

import contextlib
import os
import resource
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import trio

from mapfs.errors import reason_of
from mapfs.trace import facts
from mapfs.trace.classify import Classifier
from mapfs.trace.endpoint import Endpoint
from mapfs.trace.events import Event, Lost
from mapfs.trace.evidence.collector import Collector
from mapfs.trace.evidence.item import of_request
from mapfs.trace.evidence.tiers import KERNEL, REQUESTS_ALONE
from mapfs.trace.facts import FileFact, MountFact, ReasonFact, ThreadFact
from mapfs.trace.journal import Journal, lost_samples
from mapfs.trace.known import Known
from mapfs.trace.metrics import Metrics
from mapfs.trace.pace import Pace
from mapfs.trace.ring import Reader, Record, Ring
from mapfs.trace.scrape import Daemon, send_metrics
from mapfs.trace.sinks import SinkThread, warn
from mapfs.trace.store import Store
from mapfs.trace.stream import send_events, send_stats

_BUSY = 0.02  # seconds between two looks while events flow
_WANTED = 0.001  # seconds between two, while somebody waits for what has just happened
_STORE_CAPACITY = 1_000_000  # events that may wait for the disk
_FINISH = 120.0  # seconds the trace may take to be finished
_KEPT = 32  # descriptors for those who read events, statistics or metrics
_FLUSH = 15.0  # seconds for any other sink: nobody should have to wait for a terminal that was stopped


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Somebody asked, at the moment `asked`, ns, when `head` was the next serial number in the ring."""

    fact: facts.EventsWanted | facts.StatsWanted | facts.MetricsWanted
    fd: int
    head: int
    asked: int


#: Makes a sink in the recorder's process, once the mount's facts are known: name, capacity, callable.
SinkMaker = Callable[[MountFact], tuple[str, int, Callable[[Sequence[Event | Lost]], None]]]


class Recorder:
    """Drains one ring. `store` may be None: then the ring is a flight recorder for `.mapfs/events`."""

    def __init__(
        self,
        ring: Ring,
        end: socket.socket,
        store: Store | None,
        makers: Sequence[SinkMaker],
        endpoint: Endpoint | None = None,
    ) -> None:
        self.ring = ring
        self.store = store
        self.endpoint = endpoint
        self.daemon = Daemon(end)
        self.metrics = Metrics()
        self.reader = Reader(ring)
        self.mount: MountFact | None = None
        self.evidence: Collector | None = None
        self.journal = Journal(ring.slots)
        self.known = Known(self.journal)
        self.progress = trio.Event()  # replaced whenever events were drained
        self.ended = False
        self._orderly, self._served = False, True
        self._socket = end
        self._makers = makers
        self._sinks: list[SinkThread] = []
        self._classifier = Classifier()
        self._serial = 0
        self._pace: Pace | None = None
        self._most_fds = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._told_scarce = False
        self._wanted: list[_Wanted] = []
        self._awake = select.epoll()  # of what it sleeps on

    async def run(self) -> bool:
        """Until the daemon has gone. True if every sink got everything."""
        ring, awake = self.ring, self._awake
        self._pace = pace = Pace()
        awake.register(self._socket, select.EPOLLIN)
        awake.register(ring.wake, select.EPOLLIN)
        async with trio.open_nursery() as nursery:
            if self.endpoint is not None:
                nursery.start_soon(self.endpoint.serve, self)
            while not self.ended:
                drained = self._drain()
                self._serve_wanted(nursery)
                if self._wanted:
                    await trio.sleep(_WANTED if self.evidence else 0)
                    continue
                if drained:
                    with trio.move_on_after(_BUSY):
                        await trio.lowlevel.wait_readable(self._socket)
                    continue
                ring.memory[0] = 1
                if self.evidence is not None:
                    self.evidence.sleeps()
                ring.barrier.run()
                if not self._drain():
                    # the flag is enough for requests, the limit is for a machine without barriers, and for samples
                    with trio.move_on_after(min(self.evidence.nap if self.evidence else 1, pace.until)):
                        await trio.lowlevel.wait_readable(awake.fileno())
                ring.memory[0] = 0
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(ring.wake)
            pace.hurry()
            if self.evidence is not None:
                self.evidence.stop()
            while self._drain(final=True):
                pass
            nursery.cancel_scope.cancel()
        awake.close()
        return self._finish()

    def _finish(self) -> bool:
        traced = self.store is not None
        complete = [sink.close(_FINISH if traced and not number else _FLUSH) for number, sink in enumerate(self._sinks)]
        if self.store is None:
            return all(complete)
        if not self._served:
            self.store.discard()
        else:
            self.store.close(time.monotonic_ns())
        return all(complete)

    def _drain(self, *, final: bool = False) -> int:
        """Takes what is in the rings, then the facts that it may refer to, and hands both on; how much there was."""
        before, records, sampled = self.reader.lost, list[Record](), 0
        if self.evidence is None:
            records = self._take(final=final)
        elif not self.evidence.overloaded:
            self.evidence.begin()
            records = self._take(final=final)
            sampled = self.evidence.take()
        self._take_facts()
        lost = self.reader.lost - before
        if self._pace is not None:
            full = max(len(records) / self.ring.slots, self.evidence.full if self.evidence else 0.0)
            self._pace.round(full, len(records) + sampled, awaited=bool(self._wanted))
        handed = self._hand_on(records, lost, final=final)
        if handed:
            self.progress.set()
            self.progress = trio.Event()
        return len(records) + lost + sampled + handed

    def _take(self, *, final: bool) -> list[Record]:
        """All records that are in the ring; what comes meanwhile may be left for the next round."""
        head = self.ring.head()
        records = self.reader.take(final=final)
        while self.reader.next < head and (more := self.reader.take(final=final)):
            records += more
        self.ring.read(self.reader.next)
        return records

    def _hand_on(self, records: list[Record], lost: int, *, final: bool) -> int:
        """Gives the events that are settled to the journal and the sinks; how many."""
        events: list[Event | Lost] = []
        if lost:
            self._classifier.lost()
            self._serial += lost
            events.append(Lost(lost))
            if self.evidence is not None:
                self.evidence.requests_lost()
        if self.evidence is None:
            items = [of_request(record, *self._classifier.classify(record)) for record in records]
        else:
            try:
                items, missing = self.evidence.settle(records, final=final)
            except Exception as error:
                warn(f"evidence failed: {reason_of(error)}; from now on the requests alone are recorded")
                items, missing = self.evidence.rest(), 0
                self.evidence = None
            if missing:
                self._serial += 1
                self.journal.append(lost_samples(self._serial, missing))
                events.append(Lost(missing, samples=True))
        self.metrics.observe(items)
        journal, sinks = self.journal, self._sinks
        for item in items:
            self._serial += 1
            entry = item.entry(self._serial)
            journal.append(entry)
            if sinks:
                events.append(self.known.event(entry))
        if events:
            for sink in sinks:
                sink(events)
        return len(items) + len(events)

    def _take_facts(self) -> None:
        while not self.ended:
            try:
                message, fds, _, _ = socket.recv_fds(self._socket, facts.LARGEST, facts.MOST_FDS)
            except BlockingIOError:
                return
            except OSError:
                message, fds = b"", []
            if not message:
                self.ended = True
                self._told_end()
                return
            try:
                fact = facts.decode(message)
            except msgspec.MsgspecError as error:
                warn(f"a fact cannot be read: {error}; what refers to it shows ?")
                continue
            self._take_fact(fact, fds)

    def _told_end(self) -> None:
        if self._orderly or self.mount is None:
            return
        where, pid = self.mount.mountpoint, self.mount.pid
        warn(f"mapfs was killed (process {pid}): {where} fails from now on; clean up with mapfs umount {where}")

    def _take_fact(self, fact: facts.Fact, fds: list[int]) -> None:
        match fact:
            case MountFact():
                self.mount = fact
                self._start_sinks(fact)
                if fact.evidence != REQUESTS_ALONE:
                    self.evidence = Collector(
                        self.ring.barrier,
                        self._classifier.classify,
                        self._learned,
                        daemon=fact.pid,
                        kernel=fact.evidence == KERNEL,
                    )
            case FileFact():
                self.known.files[fact.id] = fact
                self._classifier.known(fact.id)
                if self.evidence is not None:
                    self.evidence.known(fact)
            case ThreadFact():
                self.known.thread(fact)
                if self.evidence is not None:
                    self.evidence.known(fact)
            case facts.WatchedFact() if self.evidence is not None:
                if self._scarce(fds):
                    return  # nor does the trace say that it is watched
                self.evidence.watch(fact.pid, fds)
            case facts.RingsFact() if self.evidence is not None:
                before = self.evidence.wakers()
                self.evidence.add(fact, fds)
                for fd in self.evidence.wakers()[len(before) :]:
                    self._awake.register(fd, select.EPOLLIN)
            case ReasonFact():
                self.known.reasons[fact.id] = fact.text
            case facts.DaemonFact():
                self.daemon.tells(fact)
            case facts.EventsWanted() | facts.StatsWanted() | facts.MetricsWanted():
                self._wanted += [_Wanted(fact, fd, self.ring.head(), time.monotonic_ns()) for fd in fds]
            case facts.Ended():
                self._orderly, self._served = True, fact.served
        if self.store is not None:
            self._store_fact(fact)

    def _scarce(self, fds: list[int]) -> bool:
        """Closes descriptors of a process to be watched, where they would leave too few for whoever wants to read."""
        if fds and max(fds) < self._most_fds - _KEPT:
            return False
        for fd in fds:
            os.close(fd)
        if not self._told_scarce:
            self._told_scarce = True
            warn("the page faults of some processes are not seen: too many files are open; raise the limit (ulimit -n)")
        return True

    def _learned(self, fact: ThreadFact) -> None:
        """The recorder itself found out who a thread is."""
        self.known.thread(fact)
        if self.store is not None:
            self._store_fact(fact)

    def _start_sinks(self, mount: MountFact) -> None:
        if self.store is not None:
            self._sinks.append(SinkThread(f"trace {self.store.path}", self.store.events, _STORE_CAPACITY))
        for make in self._makers:
            name, capacity, sink = make(mount)
            self._sinks.append(SinkThread(name, sink, capacity))

    def _store_fact(self, fact: facts.Fact) -> None:
        assert self.store is not None
        try:
            self.store.fact(fact)
        except Exception as error:
            warn(f"the trace {self.store.path} lacks a fact: {error}")

    def _serve_wanted(self, nursery: trio.Nursery) -> None:
        """Once all that had happened when they asked has been handed on, so that they miss nothing."""
        waiting = []
        for one in self._wanted:
            if not self.caught_up(one.head, one.asked):
                waiting.append(one)
            elif isinstance(one.fact, facts.StatsWanted):
                nursery.start_soon(send_stats, self, one.fact, one.fd)
            elif isinstance(one.fact, facts.MetricsWanted):
                nursery.start_soon(send_metrics, self, one.fact.daemon, one.fd)
            else:
                nursery.start_soon(send_events, self, one.fd, one.fact.follow)
        self._wanted = waiting

    def caught_up(self, head: int, asked: int) -> bool:
        """Whether all is handed on that had happened at the moment `asked`, ns, when `head` was the ring's."""
        return self.reader.next >= head and (self.evidence is None or self.evidence.settled(asked))

    @property
    def sinks(self) -> list[SinkThread]:
        """The sinks, for `.mapfs/stats`."""
        return self._sinks
