"""How the thread that leads waits for the next request: it looks again and again for a while, then it sleeps.

The thread that was answered mostly demands its next page at once. To wake a sleeper for it on another CPU costs more
than the answer, so the device is looked at until the request is there. A client on this very CPU cannot run while the
device is looked at, and sched_yield(2) does not always let it: nothing is quicker there than a read(2) that waits. Nor
is there a look where the last were in vain, for requests come far apart. Which of it holds is found out now and then.
"""

import contextlib
import ctypes
import os
import select
import time

from mapfs.errors import MountError, reason_of

AUTO = -1
EACH = 32  # answers from one `judge` to the next
_MOST = 200_000  # ns: several times what a wake-up costs
_LONGEST = 64  # calls of `judge` from one look at the CPUs, which takes tens of us, to the next
_LATENCY = "/dev/cpu_dma_latency"  # Documentation/power/pm_qos_interface.rst
_SILENCE = 1000  # ms without a request


_own_cpu = ctypes.CDLL(None).sched_getcpu


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
        self.since = 0  # when the device was first found empty, ns of CLOCK_MONOTONIC; 0: there was an answer since
        self._device = device
        self._spin = _MOST if spin == AUTO else spin
        self._adapts = spin == AUTO and not low_latency
        self._latency = Latency() if low_latency else None
        self._poller = select.poll()
        self._poller.register(device, select.POLLIN)
        self._left = self._pause = 1  # calls of `judge` until the next look at the CPUs; and after that to the next
        self._wait(not self._spin and not low_latency)

    def look(self) -> None:
        """The device was looked at and has no request. Returns when it is to be read again."""
        now = time.monotonic_ns()
        self.since = self.since or now
        if now - self.since < self._spin:
            os.sched_yield()
        elif self._adapts:
            self._wait(True)
            self._left = self._pause = 1
        else:
            self._sleep()

    def judge(self, tid: int) -> None:
        """After each EACH answers, the last of them to the thread `tid`."""
        self._left -= 1
        if self._adapts and self._left <= 0:
            self._wait(_cpu_of(tid) == _own_cpu())
            self._left = self._pause = min(2 * self._pause, _LONGEST)

    def rest(self) -> None:
        """Until there is a request: libfuse was given one, and needs the CPU and the interpreter to answer it."""
        if not self._waits:
            self._sleep()

    def _wait(self, waits: bool) -> None:
        """Whether read(2) waits for a request."""
        self._waits = waits
        os.set_blocking(self._device, waits)

    def _sleep(self) -> None:
        """Until there is a request, or the mount ended."""
        latency = self._latency
        if latency is None:
            self._poller.poll()
            return
        if latency.held and not self._poller.poll(_SILENCE):
            latency.release()
        self._poller.poll()
        with contextlib.suppress(MountError):  # it was to be had at the start
            latency.hold()


def _cpu_of(tid: int) -> int | None:
    """Where the thread runs or ran last (proc_pid_stat(5), field 39); None where it is not known here."""
    try:
        with open(f"/proc/{tid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[36])
    except OSError:
        return None
