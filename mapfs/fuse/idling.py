"""How the thread that leads waits for the next request: it asks the device again and again for a while, then it sleeps.

The thread that was answered mostly demands its next page at once, and to wake a sleeper on another CPU costs more than
the answer. Where the next request came late all the same, asking was in vain: it is not done again till one comes soon.
"""

import contextlib
import os
import select
import time

from mapfs.errors import MountError, reason_of

AUTO = -1
_MOST = 200_000  # ns: several times what a wake-up costs
_LATENCY = "/dev/cpu_dma_latency"  # Documentation/power/pm_qos_interface.rst
_SILENCE = 1000  # ms without a request


class Latency:
    """Keeps the CPUs out of sleep states that take long to wake from, while requests flow. Raises MountError."""

    def __init__(self) -> None:
        self._fd = -1
        self.hold()
        self.release()

    def hold(self) -> None:
        """From now on no CPU sleeps deeply. Raises MountError where this is not allowed."""
        if self._fd >= 0:
            return
        try:
            self._fd = os.open(_LATENCY, os.O_WRONLY | os.O_CLOEXEC)
            os.write(self._fd, bytes(4))  # 0 us
        except OSError as error:
            self.release()
            raise MountError(
                f"--low-latency cannot write {_LATENCY}: {reason_of(error)}; it is for root, or leave it out"
            ) from error

    def release(self) -> None:
        """They may again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    @property
    def held(self) -> bool:
        """Whether they may not."""
        return self._fd >= 0


class Idling:
    """`spin` in ns, or AUTO. Called by the thread that leads alone. Raises MountError for `low_latency` if not root."""

    def __init__(self, device: int, spin: int, *, low_latency: bool) -> None:
        self.spin = _MOST if spin == AUTO else spin  # ns for which to ask again after an answer
        self._adapts = spin == AUTO
        self._latency = Latency() if low_latency else None
        self._poller = select.poll()
        self._poller.register(device, select.POLLIN)

    def sleep(self, answered: int) -> None:
        """Until there is a request, or the mount ended; the last answer was given at `answered`, ns."""
        latency = self._latency
        if latency is None:
            self._poller.poll()
        else:
            if latency.held and not self._poller.poll(_SILENCE):
                latency.release()
            self._poller.poll()
            with contextlib.suppress(MountError):  # it was to be had at the start
                latency.hold()
        if self._adapts:
            self.spin = _MOST if time.monotonic_ns() - answered < _MOST else 0
