"""The recorder: a process of its own that drains the ring into the sinks.

It is forked before the mount is made, so that formatting and SQLite never share an interpreter with the
pagers, and it outlives the daemon: when the daemon's end of the socket closes, however it ended, the recorder
takes what is left in the ring, finishes the trace and ends. Signals of the terminal are the daemon's affair.
"""

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Sequence

import msgspec
import trio

from mapfs.trace import facts
from mapfs.trace.descriptors import Descriptors
from mapfs.trace.endpoint import Endpoint
from mapfs.trace.events import Event, Lost
from mapfs.trace.evidence import perf
from mapfs.trace.evidence.intake import Intake
from mapfs.trace.evidence.tiers import KERNEL, REQUESTS_ALONE
from mapfs.trace.facts import FileFact, HeldBackFact, MountFact, ReasonFact, ThreadFact
from mapfs.trace.joining import Joiner
from mapfs.trace.pace import Pace
from mapfs.trace.ring import Ring
from mapfs.trace.rounds import Round, RoundFact
from mapfs.trace.scrape import Daemon
from mapfs.trace.sinks import SinkThread, warn
from mapfs.trace.store import Store
from mapfs.trace.taking import Taker
from mapfs.trace.wanted import Wanted

_BUSY = 0.02  # seconds between two looks while events flow
_WORK = 0.1  # seconds that it works without a break, where it lags
_WANTED = 0.001  # seconds between two, while somebody waits for what has just happened
_STORE_CAPACITY = 200_000  # events that may wait for the disk
_STORE_AHEAD = 50_000  # of them, before what was taken waits instead
_HELD_UP = 0.005  # seconds until it looks again whether they have been written
_TELL_AFTER, _TELL_EVERY = 1.0, 5.0  # seconds until it says how much is still to be done, at the end, and then again
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
        self.taker = Taker(ring, store.path if store else None, self._take_facts)
        self.joiner = Joiner(ring.slots, self._learned, self._over)
        self.mount: MountFact | None = None
        self.progress = trio.Event()  # replaced whenever events were handed on
        self.ended = False
        self._orderly, self._served = False, True
        self._socket = end
        self._makers = makers
        self._sinks: list[SinkThread] = []
        self._descriptors = Descriptors()
        self._stuck = False
        self._rested = 0.0  # when it did last, time.monotonic()
        self._wanted = Wanted(self)
        self._awake = select.epoll()  # of what it sleeps on

    async def run(self) -> bool:
        """Until the daemon has gone. True if every sink got everything."""
        awake, pace = self._awake, Pace()
        awake.register(self._socket, select.EPOLLIN)
        awake.register(self.ring.wake, select.EPOLLIN)
        async with trio.open_nursery() as nursery:
            if self.endpoint is not None:
                nursery.start_soon(self.endpoint.serve, self)
            while not self.ended:
                drained = self._drain(pace)
                self._wanted.serve(nursery)
                if self._held_up:
                    await trio.sleep(_HELD_UP)
                elif self._lags:
                    await self._go_on()
                elif self._wanted:
                    await trio.sleep(_WANTED if self.taker.intake else 0)
                elif drained:
                    with trio.move_on_after(_BUSY):
                        await trio.lowlevel.wait_readable(self._socket)
                else:
                    await self._sleep(pace)
            pace.hurry()
            await self._catch_up()
            nursery.cancel_scope.cancel()
        awake.close()
        return self._finish()

    async def _go_on(self) -> None:
        """There is more to do, of which nothing is urgent: now and then whoever demands pages goes first."""
        now = time.monotonic()
        if now - self._rested < _WORK or self._wanted or self.taker.spool.fill > 1 / 2:
            await trio.lowlevel.checkpoint()
        else:
            await trio.sleep(_BUSY)
            self._rested = now + _BUSY

    async def _sleep(self, pace: Pace) -> None:
        """Until there is something in a ring, or from the daemon."""
        ring, intake, evidence = self.ring, self.taker.intake, self.joiner.evidence
        ring.memory[0] = 1
        if intake is not None:
            intake.sleeps()
        ring.barrier.run()
        if not self._drain(pace) and not self._wanted:
            # the flag is enough for requests, the limit is for a machine without barriers, and for samples
            with trio.move_on_after(min(evidence.nap if evidence else 1, pace.until)):
                await trio.lowlevel.wait_readable(self._awake.fileno())
        ring.memory[0] = 0
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(ring.wake)

    async def _catch_up(self) -> None:
        """The daemon has gone: all that is left in the rings, and in the spool."""
        taker, tell = self.taker, time.monotonic() + _TELL_AFTER
        if taker.intake is not None:
            taker.intake.stop()
        while True:
            taken = taker.take(final=True)
            await self._wait_for_the_trace()
            if not self._join() and not taken and not self._lags:
                break
            await trio.lowlevel.checkpoint()
            if time.monotonic() > tell:
                tell += _TELL_EVERY
                warn(f"{self.behind:,} requests are still to be written down")
        while self._join(Round(time.monotonic_ns(), taker.reader.next), final=True) or self._lags:
            pass
        taker.spool.close()

    async def _wait_for_the_trace(self) -> None:
        """Until it may be given more; a disk that takes nothing does not hold up the end for ever."""
        until = time.monotonic() + _FINISH
        while self._held_up:
            await trio.sleep(_HELD_UP)
            if time.monotonic() > until:
                self._stuck = True

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

    def _drain(self, pace: Pace) -> int:
        """Takes what is in the rings, unless it just did, and joins a step of what waits; how much there was."""
        taker, taken = self.taker, 0
        if not self._lags or self._wanted or time.monotonic() - taker.taken_at > _BUSY:
            taken = taker.take()
            pace.round(max(taker.full, taker.spool.fill * 4), taken, awaited=bool(self._wanted))
        return taken + (0 if self._held_up else self._join())

    def _join(self, last: Round | None = None, *, final: bool = False) -> int:
        """Joins a step of what was taken, and gives the events that are settled to the sinks; how much there was."""
        joiner = self.joiner
        handed, events = joiner.step(last or (None if joiner.cut else self.taker.spool.take()), final=final)
        self.ring.handed(joiner.until)
        if joiner.evidence is None:
            self.taker.end_evidence()  # it failed, or there is none
        else:
            self.daemon.hears(joiner.evidence.passed())
        if events:
            for sink in self._sinks:
                sink(events)
        if handed:
            self.progress.set()
            self.progress = trio.Event()
        return handed

    @property
    def _lags(self) -> bool:
        """Whether there is more to join of what was taken."""
        return self.joiner.cut or len(self.taker.spool) > 0

    @property
    def _held_up(self) -> bool:
        """Whether the trace has to be waited for: as long as what comes meanwhile can be kept."""
        if self.store is None or not self._sinks or self._stuck or self.taker.spool.full:
            return False
        return self._sinks[0].waiting > _STORE_AHEAD

    @property
    def behind(self) -> int:
        """Requests that were answered, and are no events yet."""
        return max(0, self.ring.head() - self.joiner.until) + self.joiner.pending

    def _take_facts(self) -> list[RoundFact]:
        """What the daemon has sent: of what belongs to requests, all; the rest is done."""
        found: list[RoundFact] = []
        while not self.ended:
            try:
                message, fds, _, _ = socket.recv_fds(self._socket, facts.LARGEST, facts.MOST_FDS)
            except BlockingIOError:
                break
            except OSError:
                message, fds = b"", []
            if not message:
                self.ended = True
                self._told_end()
                break
            try:
                fact = facts.decode(message)
            except msgspec.MsgspecError as error:
                perf.close_all(fds)
                warn(f"a fact cannot be read: {error}; what refers to it shows ?")
                continue
            if isinstance(fact, FileFact | ThreadFact | ReasonFact | HeldBackFact):
                found.append(fact)
            elif isinstance(fact, facts.WatchedFact):
                if self._watch(fact, fds):
                    found.append(fact)
            else:
                self._take_fact(fact, fds)
        return found

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
                    self.joiner.begin(fact)
                    names = self.joiner.evidence.names if self.joiner.evidence else None
                    changed = names.changes if names else lambda _: None
                    self.taker.intake = Intake(self.ring.barrier, self._awake, changed)
                self._learned(fact)
            case facts.RingsFact() if self.taker.intake is not None and self.joiner.evidence is not None:
                if self.mount is not None and self.mount.evidence != KERNEL:
                    self.joiner.evidence.maps(fact.device)
                try:
                    self.taker.intake.add(fact, fds)
                except Exception as error:
                    self.taker.fail(error)
            case facts.DaemonFact():
                self.daemon.tells(fact)
            case facts.EventsWanted() | facts.StatsWanted() | facts.MetricsWanted():
                self._wanted.add(fact, fds)
            case facts.Ended():
                self._orderly, self._served = True, fact.served
            case _:
                perf.close_all(fds)  # of rings, where evidence has failed

    def _watch(self, fact: facts.WatchedFact, fds: list[int]) -> bool:
        """Whether the process is watched: else the trace does not say that it is."""
        if self.taker.intake is None:  # evidence failed
            perf.close_all(fds)
            return False
        if self._descriptors.scarce(fds):
            return False
        self.taker.intake.watch(fact.pid, fds)
        return True

    def _over(self, pid: int) -> None:
        """Nobody is left of a process that was watched."""
        if self.taker.intake is not None:
            self.taker.intake.over(pid)

    def _start_sinks(self, mount: MountFact) -> None:
        if self.store is not None:
            self._sinks.append(SinkThread(f"trace {self.store.path}", self.store.events, _STORE_CAPACITY))
        for make in self._makers:
            name, capacity, sink = make(mount)
            self._sinks.append(SinkThread(name, sink, capacity))

    def _learned(self, fact: facts.Fact) -> None:
        """Before the first event that refers to it."""
        if self.store is not None:
            try:
                self.store.fact(fact)
            except Exception as error:
                warn(f"the trace {self.store.path} lacks a fact: {error}")

    def caught_up(self, head: int, asked: int) -> bool:
        """Whether all is handed on that had happened at the moment `asked`, ns, when `head` was the ring's."""
        return self.joiner.until >= head and self.joiner.settled(asked)

    @property
    def sinks(self) -> list[SinkThread]:
        """The sinks, for `.mapfs/stats`."""
        return self._sinks
