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
import errno
import os
import threading
import time
from collections import deque

from mapfs.errors import MountError, SourceError
from mapfs.fuse import reply, wire
from mapfs.fuse.demand import Answers, Demand, checked, demand_of, flags_of, perform
from mapfs.fuse.files import Files
from mapfs.fuse.idling import Idling
from mapfs.fuse.later import Later
from mapfs.fuse.options import MountOptions
from mapfs.fuse.outlet import Outlet
from mapfs.fuse.shortage import Shortage
from mapfs.sources.base import Buffer
from mapfs.trace import events
from mapfs.trace.processes import kill_pending
from mapfs.trace.ring import Ring

_KEEP_IDLE = 10.0  # seconds for which a thread without work is kept
_LEAST = 2  # threads: one that waits for a source, and one that leads, even where no more can be started


class _Lead(enum.Enum):
    """What a thread without work is given instead of a demand when the lead is free."""

    FREE = enum.auto()


class Pagers:
    """The pager threads of one mount; at most `options.threads` wait for sources at once. Raises MountError."""

    def __init__(
        self, device: int, files: Files, answers: Answers, ring: Ring, outlet: Outlet, options: MountOptions,
        shortage: Shortage,
    ) -> None:  # fmt: skip
        self._device = device
        self._files = files
        self._answers = answers
        self._ring = ring
        self._outlet = outlet
        self._shortage = shortage
        self._limit = options.threads
        self._idling = Idling(device, options.spin, low_latency=options.low_latency)
        os.set_blocking(device, False)  # the leader waits by poll(2), or does not
        self._changed = threading.Condition()
        self._vacant = False  # the lead is to be taken
        self._idle = 0
        self._count = 0
        self._started = 0
        self._queued: deque[Demand] = deque()
        self._inflight: dict[int, Demand] = {}
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
    def waiting(self) -> int:
        """Demands that wait for a source."""
        return len(self._inflight)

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

    def abandon_if_killed(self, demand: Demand) -> bool:
        """Answers `demand` if its thread is being killed, which could not end otherwise. True: it is over."""
        if demand.unique not in self._inflight:
            return True
        if not kill_pending(demand.tid):
            return False
        self._abandon(demand.unique, SourceError("its thread was killed while it waited", errno.EINTR))
        return True

    def _start_thread(self, *, leading: bool = True) -> bool:
        """False: the system has no more threads, or no memory for one."""
        name = f"pager-{self._started + 1}"
        try:
            arguments = (leading, bytearray(wire.LARGEST_REQUEST))
            threading.Thread(target=self._run, args=arguments, name=name, daemon=True).start()
        except (RuntimeError, MemoryError) as error:
            self._shortage.met("starting a thread for a slow demand", error)
            return False
        self._count += 1
        self._started += 1
        return True

    def _run(self, leading: bool, buffer: bytearray) -> None:
        try:
            while True:
                demand = self._lead(buffer) if leading else self._next()
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

    def _lead(self, buffer: bytearray) -> Demand | None:
        """Reads the device until a demand has to wait for its source, and returns it; None: the mount ended.

        The way of a page: what is done here for a READ is all that is done for it, so it calls little.
        """
        device, handles, view = self._device, self._files.handles, memoryview(buffer)
        take_apart, header, clock = wire.READ_REQUEST.unpack_from, wire.REPLY.pack, time.monotonic_ns
        readv, writev, thread_key = os.readv, os.writev, self._answers.thread_key
        append, rouse, flag, buffers = self._ring.append, self._ring.rouse, self._ring.memory, (buffer,)
        idling, answered = self._idling, 0
        while True:
            try:
                length = readv(device, buffers)
            except BlockingIOError:
                if clock() - answered < idling.spin:
                    os.sched_yield()
                else:
                    idling.sleep(answered)
                continue
            except OSError as error:
                if error.errno in reply.NOTHING:
                    continue
                if error.errno in reply.GONE:
                    self._outlet.failed(None)
                    return None
                raise
            _, opcode, unique, _, _, _, tid, _, handle, offset, size, _, _, flags = take_apart(buffer)
            if opcode != wire.READ:
                if opcode not in wire.OF_BYTES:
                    self._relay(view[:length], opcode, unique, handle)
                elif (demand := self._taken(view[:length], opcode)) and self._hand_over(demand):
                    return demand
                continue
            arrived = clock()
            file = handles.get(handle)
            if file is None:
                self._outlet.control(unique, handle, offset, size, None)
                continue
            node = file.node
            if offset + size > node.size:
                size = max(0, node.size - offset)
            try:
                assert node.source is not None, "a handle keeps its source open"
                data = node.source.try_read(offset, size)
                if data is not None and (type(data) is not bytes or len(data) != size):
                    data = checked(data, size)
            except BaseException as error:
                self._answer(Demand(unique, tid, file, offset, size, flags_of(flags), arrived), b"", error)
                continue
            if data is None:
                demand = Demand(unique, tid, file, offset, size, flags_of(flags), arrived)
                if self._hand_over(demand):
                    return demand
                continue
            if node.ahead is not None:
                demand = self._inflight[unique] = Demand(unique, tid, file, offset, size, flags_of(flags), arrived)
                if node.ahead.takes(demand, data, self._answer_held):
                    continue
                del self._inflight[unique]
            key = thread_key(tid)
            # before the answer: what was answered is in the ring, even if this process is killed in between
            append(arrived, clock() - arrived, offset, unique, size, file.id, key, tid, events.READ, flags_of(flags))
            try:
                writev(device, (header(wire.REPLY.size + size, 0, unique), data))
            except OSError as error:
                reply.passable(error)
            if flag[0]:
                rouse()
            answered = clock()

    def _taken(self, message: memoryview, opcode: int) -> Demand | None:
        """The WRITE, FALLOCATE or LSEEK in `message`; None where it is no page file's, and was seen to."""
        arrived = time.monotonic_ns()
        unique = wire.REQUEST.unpack_from(message)[2]
        handle = wire.HANDLE.unpack_from(message, wire.REQUEST.size)[0]
        file = self._files.handles.get(handle)
        if file is not None:
            return demand_of(message, opcode, file, arrived)
        if opcode == wire.WRITE:
            data = bytes(message[wire.WRITE_REQUEST_SIZE :])
            self._outlet.control(unique, handle, 0, len(data), data)
        else:
            self.reply(unique, b"", errno.ENOSYS if opcode == wire.LSEEK else errno.EOPNOTSUPP)
        return None

    def _hand_over(self, demand: Demand) -> bool:
        """Finds another leader, so that the caller may wait. False: it need not, the demand is queued or put off."""
        with self._changed:
            self._inflight[demand.unique] = demand
            if self._closing and demand.opcode == wire.READ:
                pass
            elif self._later.put_off(demand):
                return False
            elif self._idle:
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
            if not self._idle and self._count <= self._limit and self._start_thread(leading=False):
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

    def _answer_held(self, demand: Demand, data: Buffer) -> None:
        if self._inflight.pop(demand.unique, None) is not None:
            self._answer(demand, data, None)

    def _abandon(self, unique: int, error: SourceError) -> None:
        demand = self._inflight.pop(unique, None)
        if demand is not None:
            self._answer(demand, b"", error)

    def _answer(self, demand: Demand, data: Buffer, error: BaseException | None) -> None:
        number = self._answers.record(demand, error)
        self.reply(demand.unique, b"" if number else data, number)
        self._ring.rouse()

    def reply(self, unique: int, data: Buffer, number: int = 0) -> None:
        """Answers the request `unique` with `data`, or with the errno `number`."""
        reply.send(self._device, unique, data, number)

    def _relay(self, message: memoryview, opcode: int, unique: int, first: int) -> None:
        """What is not a READ. `first` is the first number of its body: of INTERRUPT, the request's."""
        if opcode != wire.INTERRUPT:
            self._outlet.forward(message, opcode, unique)
            return
        demand = self._inflight.get(first)
        if demand is not None:
            # an error would be SIGBUS for a thread that lives on: only one that is being killed gets it
            if not self.abandon_if_killed(demand):
                self._outlet.interrupted(demand)
        elif self._outlet.relays(first):
            self._outlet.forward(message, opcode, unique)
        else:
            self._outlet.cancel_control(first)
