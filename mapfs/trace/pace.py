"""When the recorder runs: while nobody else wants the CPU (SCHED_IDLE, sched(7)), as long as it keeps up.

What it does is never urgent until its rings fill. On a machine without an idle CPU it would hardly run at all then; so
when it sees that it lags it competes as others do, nice, and goes back once it has caught up.
"""

import contextlib
import os
import time

_NICE = 5
_LATE = 0.1  # seconds since the last round
_MUCH = 1 / 8  # of a ring, in one round
_WATCHFUL = 5.0  # seconds without any of that, until it is idle again


class Pace:
    """Of the threads of this process. `slots` is what the ring of requests holds."""

    def __init__(self, slots: int) -> None:
        self._much = slots * _MUCH
        self._competing = True
        self._last = self._lagged = time.monotonic()
        with contextlib.suppress(OSError):
            os.nice(_NICE)

    def round(self, taken: int) -> None:
        """So much was taken in one round."""
        now = time.monotonic()
        late, self._last = now - self._last > _LATE, now
        if taken > self._much or (late and taken):
            self._lagged = now
            if not self._competing:
                self._compete(True)
        elif self._competing and now - self._lagged > _WATCHFUL:
            self._compete(False)

    def hurry(self) -> None:
        """There is an end to come to."""
        self._compete(True)

    def _compete(self, yes: bool) -> None:
        self._competing = yes
        for tid in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError):  # it ended; or a kernel without SCHED_IDLE
                os.sched_setscheduler(int(tid), os.SCHED_OTHER if yes else os.SCHED_IDLE, os.sched_param(0))
