"""Forking the recorder, and the daemon's handle of it."""

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence

import trio

from mapfs.errors import MapfsError, TraceError, lack_of
from mapfs.trace import facts
from mapfs.trace.address import Address
from mapfs.trace.endpoint import Endpoint
from mapfs.trace.facts import FactSender
from mapfs.trace.pace import compete
from mapfs.trace.recorder import Recorder, SinkMaker
from mapfs.trace.ring import Ring
from mapfs.trace.sinks import warn
from mapfs.trace.store import Store

_START = b"start"
_COLLECT = (100_000, 50, 100)  # the recorder makes and drops many objects, and few cycles
_TELL_WITHIN = 5.0  # seconds for a recorder that was stopped to take the last facts
_END_WITHIN = 150.0  # seconds for it to finish once it has caught up, a little more than it gives its sinks
_LOOK = 1.0  # seconds between two looks at how it gets on


class RecorderProcess:
    """The daemon's handle of the recorder. Made before any thread (sources may start some), any mount, and any trio;
    started, which makes the trace, once the sources are open: a mount that fails replaces no trace.
    """

    def __init__(
        self,
        ring: Ring,
        trace: str | None,
        makers: Sequence[SinkMaker],
        *,
        replace: bool = False,
        detach: bool = False,
        metrics: Address | None = None,
    ) -> None:
        """Forks it; `detach` lets go of the terminal, `metrics` is where it serves them by HTTP."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            ours.close()
            _child(ring, theirs, trace, makers, replace=replace, detach=detach, metrics=metrics)
        theirs.close()
        self._socket = ours
        self._ring = ring
        self._started = False

    def start(self) -> None:
        """Has it begin. Raises TraceError where the trace cannot be written, or metrics cannot be served."""
        with contextlib.suppress(OSError):  # it died: there is no answer either
            self._socket.send(_START)
        answer = self._socket.recv(facts.LARGEST)
        if answer != b"ready":
            raise TraceError(answer.decode() or "the recorder process ended at once; see above")
        self._started = True
        self.facts = FactSender(self._socket)

    def hurry(self) -> None:
        """Has it compete for the CPUs until it has caught up."""
        compete(self.pid, yes=True)

    def killed_by(self) -> str | None:
        """Once its end of the facts is closed: the signal that ended it; None where it ended by itself."""
        with contextlib.suppress(ChildProcessError):
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            if found is not None and found.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
                return signal.Signals(found.si_status).name
        return None

    def finish(self, *, served: bool) -> bool:
        """Ends it and waits for it. True if everything that was answered is where it should be."""
        if not self._started:
            self._socket.close()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
            return False
        self.facts.send(facts.Ended(served))
        told = self.facts.close(_TELL_WITHIN)
        try:
            pidfd = os.pidfd_open(self.pid)
            with os.fdopen(pidfd):
                if not self._await_end(pidfd):
                    warn(f"the recorder (process {self.pid}) does not end; it is left to finish alone")
                    return False
            _, status = os.waitpid(self.pid, 0)
        except (ChildProcessError, ProcessLookupError):
            return False
        return told and os.waitstatus_to_exitcode(status) == 0

    def _await_end(self, pidfd: int) -> bool:
        """As long as it gets on with what it was behind with."""
        behind, until = self._ring.behind(), time.monotonic() + _END_WITHIN
        while not select.select([pidfd], [], [], _LOOK)[0]:
            now, left = time.monotonic(), self._ring.behind()
            if left < behind:
                behind, until = left, now + _END_WITHIN
            if now > until:
                return False
        return True


def _child(
    ring: Ring,
    end: socket.socket,
    trace: str | None,
    makers: Sequence[SinkMaker],
    *,
    replace: bool,
    detach: bool,
    metrics: Address | None,
) -> None:
    """All of the recorder's life; never returns."""
    code, store, recorder = 1, None, None
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _close_others({0, 1, 2, end.fileno(), ring.wake})
        gc.freeze()
        gc.set_threshold(*_COLLECT)
        ring.barrier.register()
        if end.recv(len(_START)) != _START:
            return  # the mount was not to be
        try:
            endpoint = Endpoint(metrics) if metrics else None  # first: where it fails, no trace is made
            store = Store(trace, replace=replace) if trace else None
        except MapfsError as error:
            end.send(str(error).encode())
            return
        if detach:
            null_stdio()
        end.send(b"ready")
        end.setblocking(False)  # socket.recv_fds drops its flags argument, MSG_DONTWAIT too
        recorder = Recorder(ring, end, store, makers, endpoint)
        code = 0 if trio.run(recorder.run) else 1
    except BaseException as error:
        why = lack_of(error) or f"{type(error).__name__}: {error}"
        warn(f"the recorder failed: {why}; the mount goes on without log and trace")
        if store is not None and (recorder is None or not recorder.joiner.journal.count):
            store.discard()  # there is nothing in it, and it would be in the way of the next try
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def null_stdio() -> None:
    """Lets go of the terminal, or the pipe, that the command was started with."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)


def _close_others(keep: set[int]) -> None:
    """The recorder holds nothing of the sources, so that what they refer to is free once the mount has ended."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            with contextlib.suppress(OSError):
                os.close(int(name))
