"""A request for the bytes of a file, and the record that is made of its answer: what both links have in common."""

import os
import threading
import time
from dataclasses import dataclass
from functools import partial

from mapfs.errors import SourceError, errno_of, reason_of
from mapfs.fuse import wire
from mapfs.fuse.files import OpenFile
from mapfs.sources.base import Buffer, Source
from mapfs.trace import events
from mapfs.trace.facts import FactSender, ReasonFact
from mapfs.trace.processes import Threads
from mapfs.trace.ring import DIRECT, Ring

_MOST_REASONS = 1000
OPS = {wire.READ: events.READ, wire.WRITE: events.WRITE}  # what becomes an event


@dataclass(slots=True, eq=False)
class Demand:
    """A request that waits for its source: a READ, or one that changes or asks (`opcode`)."""

    unique: int
    tid: int
    file: OpenFile
    offset: int
    size: int
    flags: int
    arrived: int
    opcode: int = wire.READ
    #: What a WRITE stores.
    data: Buffer = b""
    #: The mode of FALLOCATE, the whence of LSEEK.
    how: int = 0
    #: Whether the source was asked already how long to put it off.
    held: bool = False


def demand_of(message: memoryview, opcode: int, file: OpenFile, arrived: int) -> Demand:
    """The WRITE, FALLOCATE or LSEEK in `message`."""
    if opcode == wire.WRITE:
        _, _, unique, _, _, _, tid, _, _, offset, size, how, _, flags = wire.READ_REQUEST.unpack_from(message)
        if how & wire.WRITE_CACHE:
            tid = 0  # the kernel writes back what somebody stored some time ago
        data = message[wire.WRITE_REQUEST_SIZE :]
        return Demand(unique, tid, file, offset, size, flags_of(flags), arrived, opcode, data)
    _, _, unique, _, _, _, tid, _ = wire.REQUEST.unpack_from(message)
    if opcode == wire.FALLOCATE:
        _, offset, size, how, _ = wire.FALLOCATE_IN.unpack_from(message, wire.REQUEST.size)
    else:
        size, (_, offset, how, _) = 0, wire.LSEEK_IN.unpack_from(message, wire.REQUEST.size)
    return Demand(unique, tid, file, offset, size, 0, arrived, opcode, how=how)


def perform(demand: Demand) -> Buffer:
    """Does what is asked for, which may take long; returns the body of the reply. Raises whatever the source does."""
    node = demand.file.node
    with node.using() as source:
        if demand.opcode == wire.READ:
            return checked(source.read(demand.offset, demand.size), demand.size)
        if demand.opcode == wire.WRITE:
            node.write(demand.offset, demand.data)
            return wire.WRITE_OUT.pack(demand.size, 0)
        if demand.opcode == wire.FALLOCATE:
            node.allocate(demand.how, demand.offset, demand.size)
            return b""
        # what was stored into a mapping and not written back yet is data, but the source does not know it
        seek = partial(Source.seek, source) if node.writers else source.seek
        return wire.LSEEK_OUT.pack(seek(demand.offset, demand.how))


class Answers:
    """Says what came of demands: an event in the ring for each, and an errno where it failed."""

    def __init__(self, ring: Ring, threads: Threads, facts: FactSender) -> None:
        self._ring = ring
        self.thread_key = threads.key
        self._facts = facts
        self._lock = threading.Lock()
        self._reasons: dict[str, int] = {}
        self._last_reason = 0
        self.given = 0  # to requests that had to wait, or failed; by several threads at once, so that some do not count

    def record(self, demand: Demand, error: BaseException | None) -> int:
        """Puts the event into the ring, before the answer is given. Returns the errno to answer with."""
        number, reason = 0, 0
        self.given += 1
        if error is not None:
            number, reason = errno_of(error), self._reason(error)
        if demand.opcode not in OPS:
            return number
        thread = self.thread_key(demand.tid, demand.arrived)
        now = time.monotonic_ns()
        self._ring.append(
            demand.arrived, now - demand.arrived, demand.offset, demand.unique, demand.size, demand.file.id, thread,
            demand.tid, OPS[demand.opcode], demand.flags, number, reason,
        )  # fmt: skip
        return number

    def _reason(self, error: BaseException) -> int:
        text = reason_of(error)
        with self._lock:
            number = self._reasons.get(text)
            if number is None:
                if len(self._reasons) >= _MOST_REASONS:
                    self._reasons.clear()  # the numbers go on: the recorder knows the old ones
                self._last_reason += 1
                number = self._reasons[text] = self._last_reason
                self._facts.send(ReasonFact(number, text))
        return number


def checked(data: Buffer, size: int) -> Buffer:
    """`data`, if it is `size` bytes. Raises SourceError: a short answer would make the kernel shrink the file."""
    if type(data) is not bytes:
        data = memoryview(data).cast("B")
    if len(data) != size:
        raise SourceError(f"the source gave {len(data)} bytes where {size} were asked for")
    return data


def flags_of(open_flags: int) -> int:
    """Record.flags of a READ whose handle has these open(2) flags."""
    return DIRECT if open_flags & os.O_DIRECT else 0
