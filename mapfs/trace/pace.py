"""When the recorder runs: while nobody else wants the CPU (SCHED_IDLE, sched(7)), as long as it keeps up.

What it does is never urgent until a ring fills. On a machine without an idle CPU it would hardly run at all then; so
when it sees that it lags it competes as others do, nice, and goes back once it has caught up. It may hardly run at all
by then, so the daemon looks too: at the kernel's own sign that a ring is half full, and when somebody waits for what
the recorder has.
"""

import contextlib
import math
import os
import threading
import time

_NICE = 5
_LATE = 100_000_000  # ns that it had to wait for a CPU since the last round
_FULL = 1 / 2  # of a ring, in one round: where the kernel wakes who waits for it (perf_event_open(2), wakeup_watermark)
_WATCHFUL = 2.0  # seconds without any of that, until it is idle again
_BRIEF = 0.05  # seconds that it competes because the daemon says so, if none of that follows


class Pace:
    """Of this process, whose only thread calls."""

    def __init__(self) -> None:
        self._waited = _waited()  # ns for a CPU, ever
        self._until = 0.0  # it competes until then, at least
        self._competes = True  # as far as this knows: the daemon may make it
        with contextlib.suppress(OSError):
            os.nice(_NICE)
        self._returns = may_return()
        if self._returns:
            self._compete(False)

    def round(self, full: float, taken: int, *, awaited: bool) -> None:
        """So much was taken in one round, and so full, 0 to 1, was the fullest ring; `awaited`: somebody waits."""
        if not self._returns:
            return
        now = time.monotonic()
        before, self._waited = self._waited, _waited()
        late = self._waited - before > _LATE
        competes = os.sched_getscheduler(0) != os.SCHED_IDLE
        if full > _FULL or (late and taken):
            self._until = max(self._until, now + _WATCHFUL)
            if not competes:
                self._compete(True)
        elif awaited or (competes and not self._competes):
            self._until = max(self._until, now + _BRIEF)
            self._competes = True
            if not competes:  # it went back in the moment in which the daemon made it
                self._compete(True)
        elif competes and now > self._until:
            self._compete(False)

    @property
    def until(self) -> float:
        """Seconds in which another round is due, in which it may go back to be idle."""
        return _BRIEF if self._returns and os.sched_getscheduler(0) != os.SCHED_IDLE else math.inf

    def hurry(self) -> None:
        """There is an end to come to: from now on it competes."""
        self._until = math.inf
        if self._returns:
            self._compete(True)

    def _compete(self, yes: bool) -> None:
        self._competes = yes
        compete(os.getpid(), yes=yes)


def _waited() -> int:
    """How long this thread could have run and had no CPU, ns (Documentation/scheduler/sched-stats.rst); 0 where the
    kernel does not tell.
    """
    try:
        with open("/proc/thread-self/schedstat", "rb", buffering=0) as file:
            return int(file.read(64).split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def compete(pid: int, *, yes: bool) -> None:
    """Whether all threads of a process compete for the CPUs."""
    with contextlib.suppress(OSError):  # it ended
        for tid in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):  # it ended; or a kernel without SCHED_IDLE
                os.sched_setscheduler(int(tid), os.SCHED_OTHER if yes else os.SCHED_IDLE, os.sched_param(0))


def may_return() -> bool:
    """Whether what is idle here may compete again: for root, or as RLIMIT_NICE allows (sched(7)). Tried by a thread,
    of which each has a policy of its own.
    """
    allowed = []

    def attempt() -> None:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            allowed.append(True)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return bool(allowed)
