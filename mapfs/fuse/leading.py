"""Leading: reading the device, and answering on the spot what can be answered without waiting.

`Pagers` has the threads, and finds another leader before one of them waits for a source.
"""

import errno
import os
import time
from abc import ABC, abstractmethod
from io import FileIO

from mapfs.errors import SourceError
from mapfs.fuse import reply, wire
from mapfs.fuse.demand import Answers, Demand, checked, demand_of, flags_of
from mapfs.fuse.files import Files
from mapfs.fuse.idling import EACH, Idling
from mapfs.fuse.outlet import Outlet
from mapfs.sources.base import Buffer
from mapfs.trace import events
from mapfs.trace.processes import kill_pending
from mapfs.trace.ring import Ring
from mapfs.units import PAGE_SIZE


class Leading(ABC):
    """What the leading thread does, and how demands are answered, by whatever thread."""

    def __init__(self, device: int, files: Files, answers: Answers, ring: Ring, outlet: Outlet, idling: Idling) -> None:
        self._device = device
        self._files = files
        self._answers = answers
        self._ring = ring
        self._outlet = outlet
        self._idling = idling
        self._inflight: dict[int, Demand] = {}  # by unique: whoever takes a demand out answers it

    @abstractmethod
    def _hand_over(self, demand: Demand) -> bool:
        """Finds another leader, so that the caller may wait. False: it need not, the demand is queued or put off."""

    @property
    def waiting(self) -> int:
        """Demands that wait for a source."""
        return len(self._inflight)

    def abandon_if_killed(self, demand: Demand) -> bool:
        """Answers `demand` if its thread is being killed, which could not end otherwise. True: it is over."""
        if demand.unique not in self._inflight:
            return True
        if not kill_pending(demand.tid):
            return False
        self._abandon(demand.unique, SourceError("its thread was killed while it waited", errno.EINTR))
        return True

    def _lead(self, buffer: bytearray, sheet: reply.Sheet) -> Demand | None:
        """Reads the device until a demand has to wait for its source, and returns it; None: the mount ended.

        The way of a page: what is done here for a READ is all that is done for it, so it calls little.
        """
        device, handles, view = self._device, self._files.handles, memoryview(buffer)
        read, take_apart, clock = FileIO(device, closefd=False).readinto, wire.DEMAND.unpack_from, time.monotonic_ns
        header, writev, thread_key = wire.REPLY.pack, os.writev, self._answers.thread_key
        page, one, head, write = sheet.page, sheet.one, sheet.head, sheet.write
        append, rouse, flag = self._ring.append, self._ring.rouse, self._ring.memory
        idling, answers = self._idling, 0
        while True:
            try:
                length = read(buffer)
            except OSError as error:
                if error.errno in reply.NOTHING:
                    continue
                if error.errno in reply.GONE:
                    self._outlet.failed(None)
                    return None
                raise
            if length is None:  # there is no request
                idling.look()
                continue
            opcode, unique, tid, handle, offset, size, flags = take_apart(buffer)
            if opcode != wire.READ:
                if opcode not in wire.OF_BYTES:
                    if self._relay(view[:length], opcode, unique, handle):
                        idling.since = 0
                        answers += 1
                        if tid and not answers % EACH:
                            idling.judge(tid)
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
            source, data, filled = node.source, None, False
            try:
                assert source is not None, "a handle keeps its source open"
                if source.fills and node.ahead is None and size <= sheet.ROOM:
                    filled = source.try_fill(offset, page if size == PAGE_SIZE else sheet.room(size))
                else:
                    data = source.try_read(offset, size)
                    if data is not None and (type(data) is not bytes or len(data) != size):
                        data = checked(data, size)
            except BaseException as error:
                self._answer(Demand(unique, tid, file, offset, size, flags_of(flags), arrived), b"", error)
                continue
            if data is None and not filled:
                demand = Demand(unique, tid, file, offset, size, flags_of(flags), arrived)
                if self._hand_over(demand):
                    return demand
                continue
            if node.ahead is not None and data is not None:
                demand = self._inflight[unique] = Demand(unique, tid, file, offset, size, flags_of(flags), arrived)
                if node.ahead.takes(demand, data, self._answer_held):
                    continue
                del self._inflight[unique]
            key = thread_key(tid, arrived)
            # before the answer: what was answered is in the ring, even if this process is killed in between
            append(arrived, clock() - arrived, offset, unique, size, file.id, key, tid, events.READ, flags_of(flags))
            try:
                if data is not None:
                    writev(device, (header(wire.REPLY.size + size, 0, unique), data))
                else:
                    head(wire.REPLY.size + size, 0, unique)
                    write(one if size == PAGE_SIZE else sheet.whole(size))
            except OSError as error:
                reply.passable(error)
            if flag[0]:
                rouse()
            idling.since = 0
            answers += 1
            if not answers % EACH:
                idling.judge(tid)

    def _taken(self, message: memoryview, opcode: int) -> Demand | None:
        """The WRITE, FALLOCATE or LSEEK in `message`; None where it is no page file's, and was seen to."""
        unique = wire.REQUEST.unpack_from(message)[2]
        handle = wire.HANDLE.unpack_from(message, wire.REQUEST.size)[0]
        file = self._files.handles.get(handle)
        if file is not None:
            return demand_of(message, opcode, file, time.monotonic_ns())
        if opcode == wire.WRITE:
            data = bytes(message[wire.WRITE_REQUEST_SIZE :])
            self._outlet.control(unique, handle, 0, len(data), data)
        else:
            self.reply(unique, b"", errno.ENOSYS if opcode == wire.LSEEK else errno.EOPNOTSUPP)
        return None

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

    def _relay(self, message: memoryview, opcode: int, unique: int, first: int) -> bool:
        """What is not of bytes; whether it was answered. `first` is the first number of its body: of INTERRUPT, the
        request's.
        """
        if opcode in wire.REFUSED:
            self.reply(unique, b"", wire.REFUSED[opcode])
            return True
        if opcode != wire.INTERRUPT:
            answer = self._outlet.prompt(message, opcode)
            if answer is not None:
                self.reply(unique, *answer)
                return True
            self._forward(message, opcode, unique)
            return False
        demand = self._inflight.get(first)
        if demand is not None:
            # an error would be SIGBUS for a thread that lives on: only one that is being killed gets it
            if not self.abandon_if_killed(demand):
                self._outlet.interrupted(demand)
        elif self._outlet.relays(first):
            self._forward(message, opcode, unique)
        else:
            self._outlet.cancel_control(first)
        return False

    def _forward(self, message: memoryview, opcode: int, unique: int) -> None:
        self._outlet.forward(message, opcode, unique)
        self._idling.rest()
