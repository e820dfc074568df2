"""The recorder: a process of its own that drains the ring into the sinks.

It is forked before the mount is made, so that formatting and SQLite never share an interpreter with the
pagers, and it outlives the daemon: when the daemon's end of the socket closes, however it ended, the recorder
takes what is left in the ring, finishes the trace and ends. Signals of the terminal are the daemon's affair.
"""

import array
import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Sequence

import msgspec
import trio

from mapfs.trace import facts
from mapfs.trace.classify import Classifier
from mapfs.trace.endpoint import Endpoint
from mapfs.trace.events import COLD, ERROR, REFAULT, WRITTEN, Event, Lost
from mapfs.trace.facts import FileFact, MountFact, ReasonFact, ThreadFact
from mapfs.trace.metrics import Metrics
from mapfs.trace.ring import DIRECT, Reader, Record, Ring
from mapfs.trace.scrape import Daemon, send_metrics
from mapfs.trace.sinks import SinkThread, warn
from mapfs.trace.store import Store
from mapfs.trace.stream import send_events, send_stats

_CLASSES = [None, COLD, REFAULT, ERROR, WRITTEN]
_CLASS_NUMBERS = {name: number for number, name in enumerate(_CLASSES)}
_BUSY = 0.02  # seconds between two looks while events flow
_STORE_CAPACITY = 1_000_000  # events that may wait for the disk
_FINISH = 120.0  # seconds the trace may take to be finished
_FLUSH = 15.0  # seconds for any other sink: nobody should have to wait for a terminal that was stopped

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
        self.files: dict[int, FileFact] = {}
        self.threads: dict[int, ThreadFact] = {}
        self.reasons: dict[int, str] = {}
        self.progress = trio.Event()  # replaced whenever events were drained
        self.ended = False
        self._served = True
        self._socket = end
        self._makers = makers
        self._sinks: list[SinkThread] = []
        self._classifier = Classifier()
        self._classes = bytearray(ring.slots)
        self._refaults = array.array("I", bytes(4 * ring.slots))
        self._wanted: list[tuple[facts.EventsWanted | facts.StatsWanted | facts.MetricsWanted, int, int]] = []

    async def run(self) -> bool:
        """Until the daemon has gone. True if every sink got everything."""
        ring, awake = self.ring, select.epoll()
        awake.register(self._socket, select.EPOLLIN)
        awake.register(ring.wake, select.EPOLLIN)
        async with trio.open_nursery() as nursery:
            if self.endpoint is not None:
                nursery.start_soon(self.endpoint.serve, self)
            while not self.ended:
                drained = self._drain()
                self._serve_wanted(nursery)
                if self._wanted:
                    continue
                if drained:
                    with trio.move_on_after(_BUSY):
                        await trio.lowlevel.wait_readable(self._socket)
                    continue
                ring.memory[0] = 1
                ring.barrier.run()
                if not self._drain():
                    with trio.move_on_after(1):  # the flag is enough; this is for a machine without barriers
                        await trio.lowlevel.wait_readable(awake.fileno())
                ring.memory[0] = 0
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(ring.wake)
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
        """Takes what is in the ring, then the facts that it may refer to, and hands both on."""
        lost = self.reader.lost
        records = self.reader.take(final=final)
        self._take_facts()
        lost = self.reader.lost - lost
        if not records and not lost:
            return 0
        if lost:
            self._classifier.lost()
        self.metrics.observe(records, [self._classify(record) for record in records])
        if self._sinks:
            events: list[Event | Lost] = [Lost(lost)] if lost else []
            events += [self.event(record) for record in records]
            for sink in self._sinks:
                sink(events)
        self.progress.set()
        self.progress = trio.Event()
        return len(records) + lost

    def _classify(self, record: Record) -> tuple[str | None, int]:
        """The record's class and re-faults, kept where `event` finds it as long as the ring has the record."""
        cls, refaults = seen = self._classifier.classify(record)
        slot = record.serial % self.ring.slots
        self._classes[slot] = _CLASS_NUMBERS[cls]
        self._refaults[slot] = refaults
        return seen

    def event(self, record: Record) -> Event:
        """The event of a record that was drained already."""
        slot = record.serial % self.ring.slots
        return Event(
            serial=record.serial,
            time_ns=record.time_ns,
            wait_ns=record.wait_ns,
            op=record.op,
            cls=_CLASSES[self._classes[slot]],
            file=self.files.get(record.file) or FileFact(record.file, 0, "?", "?", 0, 0),
            offset=record.offset,
            size=record.size,
            thread=self.threads.get(record.thread),
            thread_key=record.thread,
            tid=record.tid,
            errno=record.errno,
            reason=self.reasons.get(record.reason) if record.reason else None,
            refaults=self._refaults[slot],
            direct=bool(record.flags & DIRECT),
            unique=record.unique,
        )

    def _take_facts(self) -> None:
        while not self.ended:
            try:
                message, fds, _, _ = socket.recv_fds(self._socket, facts.LARGEST, 1)
            except BlockingIOError:
                return
            except OSError:
                message, fds = b"", []
            if not message:
                self.ended = True
                return
            try:
                fact = facts.decode(message)
            except msgspec.MsgspecError as error:
                warn(f"a fact cannot be read: {error}; what refers to it shows ?")
                continue
            self._take_fact(fact, fds)

    def _take_fact(self, fact: facts.Fact, fds: list[int]) -> None:
        match fact:
            case MountFact():
                self.mount = fact
                self._start_sinks(fact)
            case FileFact():
                self.files[fact.id] = fact
                self._classifier.known(fact.id)
            case ThreadFact():
                self.threads[fact.key] = fact
                if len(self.threads) > 4 * self.ring.slots:
                    self._prune_threads()
            case ReasonFact():
                self.reasons[fact.id] = fact.text
            case facts.DaemonFact():
                self.daemon.tells(fact)
            case facts.EventsWanted() | facts.StatsWanted() | facts.MetricsWanted():
                self._wanted += [(fact, fd, self.ring.head()) for fd in fds]
            case facts.Ended():
                self._served = fact.served
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

    def _prune_threads(self) -> None:
        """Of threads whose events have left the ring, nothing can be asked any more."""
        oldest = self.ring.oldest()
        reader = Reader(self.ring, oldest)
        alive: set[int] = set()
        while records := reader.take():
            alive.update(record.thread for record in records)
        newest = max(self.threads)
        self.threads = {key: fact for key, fact in self.threads.items() if key in alive or key > newest - 1000}

    def _serve_wanted(self, nursery: trio.Nursery) -> None:
        """Once all that was in the ring when they asked has been drained, so that they miss nothing."""
        waiting = []
        for fact, fd, head in self._wanted:
            if self.reader.next < head:
                waiting.append((fact, fd, head))
            elif isinstance(fact, facts.StatsWanted):
                nursery.start_soon(send_stats, self, fact, fd)
            elif isinstance(fact, facts.MetricsWanted):
                nursery.start_soon(send_metrics, self, fact.daemon, fd)
            else:
                nursery.start_soon(send_events, self, fd, fact.follow)
        self._wanted = waiting

    @property
    def sinks(self) -> list[SinkThread]:
        """The sinks, for `.mapfs/stats`."""
        return self._sinks
