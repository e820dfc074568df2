"""The daemon's half of evidence beyond the requests: the rings that the kernel writes, and whose faults go there.

The rings are made before the mount answers its first request, mapped here as long as the mount lives (what has no ring
yet is lost), and handed to the recorder, which reads them.
"""

import select
import time
from collections.abc import Callable

import trio

from mapfs.errors import MountError, reason_of
from mapfs.trace import facts
from mapfs.trace.evidence import faults, tiers, tracepoints
from mapfs.trace.evidence.bpf import SampleRing
from mapfs.trace.evidence.perf import PerfRing, close_all, close_rings
from mapfs.trace.facts import FactSender, RingsFact, WatchedFact
from mapfs.trace.processes import Threads

_DELIVERED = facts.MOST_FDS


class Watching:
    """`wanted` is a tier or AUTO. Raises EvidenceError where it cannot be had."""

    def __init__(self, wanted: str, sender: FactSender, threads: Threads) -> None:
        self.tier, self._rings = tiers.opened(wanted)
        self._sender = sender
        self._threads = threads
        self._attacher = faults.Attacher(self._rings) if self.tier == tiers.FAULTS else None

    def start(self, device: int) -> None:
        """The mount is there, its st_dev is `device`, and nobody was answered yet. Raises MountError."""
        if self.tier == tiers.KERNEL:
            try:
                tracepoints.start(self._rings, device)
            except OSError as error:
                raise MountError(f"evidence cannot be had: {reason_of(error)}; mount with --evidence faults") from error
        for first in range(0, len(self._rings), _DELIVERED):
            some = self._rings[first : first + _DELIVERED]
            fact = RingsFact(device, [role for role, _ in some], [ring.size for _, ring in some])
            self._sender.send(fact, tuple(ring.fd for _, ring in some))

    def seen(self, tid: int) -> bool:
        """Whether `opening` has nothing to find out: that looks at a process, which may be waiting for a page."""
        if self.tier == tiers.REQUESTS_ALONE:
            return True
        process = self._threads.seen(tid)
        return process is not None and (self._attacher is None or self._attacher.has(*process))

    def opening(self, tid: int) -> None:
        """The thread `tid` is blocked in open(2): its process cannot have mapped the file yet, and is certain to be in
        /proc, which it may not be any more when a sample names it.
        """
        if self.tier == tiers.REQUESTS_ALONE:
            return
        process = self._threads.process(tid)
        if self._attacher is None or process is None:
            return
        fds = self._attacher.attach(*process)
        for first in range(0, len(fds), _DELIVERED):
            some = tuple(fds[first : first + _DELIVERED])
            self._sender.send(WatchedFact(*process, time.monotonic_ns()), some)
        close_all(fds)

    async def attend(self, hurry: Callable[[], None]) -> None:
        """Calls `hurry` whenever a ring is half full. Of one of perf_event_open(2) that is when the kernel wakes who
        waits for it, at the other it is looked now and then.
        """
        rings = [
            ring
            for role, ring in self._rings
            if role != tracepoints.TASKS and isinstance(ring, PerfRing | SampleRing)  # those wake the recorder itself
        ]
        with select.epoll() as filling:
            for ring in rings:
                filling.register(ring.fd, select.EPOLLIN | select.EPOLLET)
            while rings:
                await trio.lowlevel.wait_readable(filling.fileno())
                filling.poll(0)
                if any(ring.head() - ring.tail() >= ring.size / 2 for ring in rings):
                    hurry()

    def close(self) -> None:
        """The recorder has rings of its own."""
        close_rings(self._rings)
        self._rings = []
