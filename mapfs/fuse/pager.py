"""The data plane: threads that read requests from the device and answer page demands themselves.

One thread *leads*: it alone reads the device. A demand that can be answered without waiting (`try_read`) it
answers on the spot. For any other it gives the lead to an idle thread, or a new one, and reads the source
itself; when as many threads as are allowed wait for sources, the demand queues and the leader goes on. So no
slow source ever delays another file's demand, nor a name look-up, and in the fast case nobody is woken.

WRITE, FALLOCATE and LSEEK go the same way, never on the spot. A read that its source puts off (`Source.hold`)
waits in a list, without a thread. Everything else is forwarded: to libfuse by `Outlet.forward`, reads and writes
of control files to `Outlet.control`.

An error of a source answers that one request. An error of mapfs itself ends the mount (`Outlet.failed`): a silent
pager would leave its clients waiting for ever.
"""

import enum
import threading
from collections import deque

from mapfs.errors import MountError, SourceError
from mapfs.fuse import reply, wire
from mapfs.fuse.demand import Answers, Demand, perform
from mapfs.fuse.files import Files
from mapfs.fuse.idling import Idling
from mapfs.fuse.later import Later
from mapfs.fuse.leading import Leading
from mapfs.fuse.options import MountOptions
from mapfs.fuse.outlet import Outlet
from mapfs.fuse.shortage import Shortage
from mapfs.sources.base import Buffer
from mapfs.trace.ring import Ring

_KEEP_IDLE = 10.0  # seconds for which a thread without work is kept
_LEAST = 2  # threads: one that waits for a source, and one that leads, even where no more can be started


class _Lead(enum.Enum):
    """What a thread without work is given instead of a demand when the lead is free."""

    FREE = enum.auto()


class Pagers(Leading):
    """The pager threads of one mount; at most `options.threads` wait for sources at once. Raises MountError."""

    def __init__(
        self, device: int, files: Files, answers: Answers, ring: Ring, outlet: Outlet, options: MountOptions,
        shortage: Shortage,
    ) -> None:  # fmt: skip
        idling = Idling(device, options.spin, low_latency=options.low_latency)
        super().__init__(device, files, answers, ring, outlet, idling)
        self._shortage = shortage
        self._limit = options.threads
        self._changed = threading.Condition()
        self._vacant = False  # the lead is to be taken
        self._idle = self._count = self._started = 0
        self._queued: deque[Demand] = deque()
        self._closing = False
        self._later = Later(self._due)

    def start(self) -> None:
        """Starts the first threads, one of which leads. Raises MountError."""
        with self._changed:
            self._idle = _LEAST - 1
            if not all(self._start_thread(leading=not number) for number in range(_LEAST)):
                raise MountError("the threads that answer demands cannot be started")

    @property
    def count(self) -> int:
        """Threads that there are."""
        return self._count

    @property
    def _spare(self) -> int:
        """Idle threads, without those that have yet to wake up for the lead or for what is queued."""
        return self._idle - self._vacant - len(self._queued)

    def close(self, reason: str) -> None:
        """Answers the reads that wait with EIO, and those that come and would have to wait likewise. What is written
        is still stored: the kernel writes back what it has when a mount ends.
        """
        self._closing = True
        self._later.close()
        error = SourceError(reason)
        for unique, demand in list(self._inflight.items()):
            if demand.opcode == wire.READ:
                self._abandon(unique, error)
        with self._changed:
            self._changed.notify_all()

    def hurry(self) -> int:
        """From now on no read is put off, and those that were are taken up; how many."""
        return self._later.flush()

    def _start_thread(self, *, leading: bool = True) -> bool:
        """False: the system has no more threads, or no memory for one."""
        name = f"pager-{self._started + 1}"
        try:
            memory = bytearray(wire.LARGEST_REQUEST), reply.Sheet(self._device)
            threading.Thread(target=self._run, args=(leading, *memory), name=name, daemon=True).start()
        except (RuntimeError, MemoryError, OSError) as error:
            self._shortage.met("starting a thread for a slow demand", error)
            return False
        self._count += 1
        self._started += 1
        return True

    def _run(self, leading: bool, buffer: bytearray, sheet: reply.Sheet) -> None:
        try:
            while True:
                demand = self._lead(buffer, sheet) if leading else self._next()
                if demand is _Lead.FREE:
                    leading = True
                elif demand is None:
                    break
                else:
                    leading = False
                    self._fetch(demand)
        except BaseException as error:
            self._outlet.failed(error)

    def _next(self) -> Demand | _Lead | None:
        """The next queued demand, or the lead; None: the thread is to end, and does not count any more.

        All in one turn: a demand that is queued in between would be left to a thread that is leaving.
        """
        with self._changed:
            while not self._changed.wait_for(lambda: self._vacant or self._queued or self._closing, _KEEP_IDLE):
                if self._count > _LEAST:
                    break
            self._idle -= 1
            if self._vacant:
                self._vacant = False
                return _Lead.FREE
            if self._queued:
                return self._queued.popleft()
            self._count -= 1
            return None

    def _hand_over(self, demand: Demand) -> bool:
        """Finds another leader, so that the caller may wait. False: it need not, the demand is queued or put off."""
        with self._changed:
            self._inflight[demand.unique] = demand
            if self._closing and demand.opcode == wire.READ:
                pass
            elif self._later.put_off(demand):
                return False
            elif self._spare > 0:
                self._vacant = True
                self._changed.notify()
                return True
            elif self._count <= self._limit and self._start_thread():
                return True
            else:
                demand.data = bytes(demand.data)  # the buffer is read into again
                self._queued.append(demand)
                return False
        self._abandon(demand.unique, SourceError("the mount is ending"))
        return False

    def _due(self, demand: Demand) -> None:
        """A read was put off for long enough."""
        with self._changed:
            if demand.unique not in self._inflight:
                return
            self._queued.append(demand)
            if self._spare < 0 and self._count <= self._limit and self._start_thread(leading=False):
                self._idle += 1  # as one that has just answered: it takes what is queued
            else:
                self._changed.notify()

    def _fetch(self, demand: Demand) -> None:
        """Asks the source, which may take long; whoever takes the demand out of `_inflight` answers it.

        The thread counts as idle from then on; `_next` is what it does next.
        """
        data: Buffer = b""
        failure: BaseException | None = None
        if demand.unique in self._inflight:  # it may have been abandoned while it queued
            try:
                data = perform(demand)
            except BaseException as error:
                failure = error
        # what is left takes no time: whoever looks for a new leader, perhaps for the very next demand of the
        # client that is answered here, need not start a thread for it
        with self._changed:
            self._idle += 1
        if self._inflight.pop(demand.unique, None) is not None:
            self._answer(demand, data, failure)
            if (ahead := demand.file.node.ahead) is not None and failure is None:
                ahead.waited(demand)
