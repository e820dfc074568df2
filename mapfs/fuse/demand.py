"""A demand for pages, and the record that is made of its answer: what both links have in common."""

import os
import threading
import time
from dataclasses import dataclass

from mapfs.errors import SourceError, errno_of, reason_of
from mapfs.fuse.files import OpenFile
from mapfs.sources.base import Buffer
from mapfs.trace import events
from mapfs.trace.facts import FactSender, ReasonFact
from mapfs.trace.processes import Threads
from mapfs.trace.ring import DIRECT, Ring

_MOST_REASONS = 1000


@dataclass(slots=True, eq=False)
class Demand:
    """A READ that waits for its source."""

    unique: int
    tid: int
    file: OpenFile
    offset: int
    size: int
    flags: int
    arrived: int


class Answers:
    """Says what came of demands: an event in the ring for each, and an errno where it failed."""

    def __init__(self, ring: Ring, threads: Threads, facts: FactSender) -> None:
        self._ring = ring
        self.thread_key = threads.key
        self._facts = facts
        self._lock = threading.Lock()
        self._reasons: dict[str, int] = {}
        self._last_reason = 0

    def record(self, demand: Demand, error: BaseException | None) -> int:
        """Puts the event into the ring, before the answer is given. Returns the errno to answer with."""
        number, reason = 0, 0
        if error is not None:
            number, reason = errno_of(error), self._reason(error)
        thread = self.thread_key(demand.tid)
        now = time.monotonic_ns()
        self._ring.append(
            demand.arrived, now - demand.arrived, demand.offset, demand.unique, demand.size, demand.file.id, thread,
            demand.tid, events.READ, demand.flags, number, reason,
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
