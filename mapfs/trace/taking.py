"""Taking: what is in the rings becomes a round, with the facts that it may refer to, and waits in the spool."""

import os
import time
from collections.abc import Callable

from mapfs.errors import reason_of
from mapfs.trace.evidence.intake import Intake
from mapfs.trace.ring import Reader, Ring
from mapfs.trace.rounds import Round, RoundFact
from mapfs.trace.spool import Spool


class Taker:
    """`facts` takes what the daemon has sent. The spool's file lies beside `trace`; None: it has memory alone."""

    def __init__(self, ring: Ring, trace: str | None, facts: Callable[[], list[RoundFact]]) -> None:
        self.spool = Spool(os.path.dirname(os.path.abspath(trace)) if trace else None)
        self.intake: Intake | None = None
        self.reader = Reader(ring)
        self.taken_at = 0.0  # time.monotonic() of the last round
        self.full = 0.0  # of the fullest ring, 0 to 1, then
        self._ring = ring
        self._facts = facts
        self._waiting: list[RoundFact] = []  # for a round, where none could be taken
        self._failed = ""  # why evidence ended, for the next round
        self._moment = 0  # of the last round that was whole

    def take(self, *, final: bool = False) -> int:
        """Takes a round, unless the spool is full; how much there was."""
        reader, before = self.reader, self.reader.lost
        one = Round(time.monotonic_ns(), reader.next)
        full, self.full = self.spool.full, 0.0
        self.taken_at = time.monotonic()
        if not full:
            one.records = self._records(final=final)
            one.until, one.lost = reader.next, reader.lost - before
            self.full = len(one.records) / self._ring.size
            self._waiting += self._facts()  # perhaps of the rings: of them is told before a request is answered
            if self.intake is not None:
                try:
                    self.intake.take(one)
                    self.intake.tell_tasks(one)
                    self.full = max(self.full, self.intake.full)
                except Exception as error:  # what the requests tell is still true
                    self.fail(error)
                    one.samples = []
            if self.intake is not None and (self.intake.cut or (reader.hole and not one.lost)):
                one.moment = self._moment  # what is there already joins what is not, with the next round
            self._moment = one.moment
        self._waiting += self._facts()
        if full:
            return 0
        one.facts, self._waiting = self._waiting, []
        one.failed, self._failed = self._failed, ""
        if not one.empty or (self.intake is not None and not self.spool):
            self.spool.put(one)
        return len(one.records) + one.lost + sum(len(data) for _, data in one.samples)

    def fail(self, error: Exception) -> None:
        """There is no evidence from the next round on; those before it have theirs."""
        self._failed = reason_of(error)
        self.end_evidence()

    def end_evidence(self) -> None:
        """Nothing is kept of it."""
        intake, self.intake = self.intake, None
        if intake is not None:
            intake.close()

    def _records(self, *, final: bool) -> bytes:
        """All that are in the ring; what comes meanwhile may be left for the next round."""
        head = self._ring.head()
        found = [self.reader.take_bytes(final=final)]
        while self.reader.next < head and (more := self.reader.take_bytes(final=final)):
            found.append(more)
        self._ring.read(self.reader.next)
        return b"".join(found)
