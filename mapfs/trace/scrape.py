"""A scrape: `.mapfs/metrics` by a pipe, or HTTP (`endpoint.py`), complete up to the moment at which it was asked for.

Of the daemon's own numbers the recorder knows nothing until it asks: for `.mapfs/metrics` they come with the pipe, for
HTTP it writes one byte to the daemon, which answers with a fact. A daemon that was stopped does not answer; then its
numbers are missing, and the scrape says so. The same way the daemon hears what evidence saw of pages that it pushed.
"""

import contextlib
import os
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from mapfs.errors import reason_of
from mapfs.trace.facts import ASK, DaemonFact, DaemonValues, PassedBy, encode_passed
from mapfs.trace.metrics import SinkState, Snapshot
from mapfs.trace.sinks import warn

if TYPE_CHECKING:
    from mapfs.trace.recorder import Recorder

_ANSWER_WITHIN = 1.0  # seconds for the daemon to say what it knows
_DRAIN_WITHIN = 2.0  # seconds for what is in the ring to be counted
_LOOK_AGAIN = 0.005  # seconds: a round of the recorder that hands nothing on may be all that is waited for
_rendering = trio.CapacityLimiter(1)  # however many ask: the drain loop shares its interpreter with one of them


class Daemon:
    """What the daemon last said of itself, and what it is to hear."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._told = trio.Event()
        self._values: DaemonValues = {}

    def tells(self, fact: DaemonFact) -> None:
        """It answered."""
        self._values = fact.values
        told, self._told = self._told, trio.Event()
        told.set()

    def hears(self, found: Sequence[PassedBy]) -> None:
        """What became of pages that it pushed. One that was stopped may never hear it, which does no harm."""
        with contextlib.suppress(OSError):
            for one in found:
                self._socket.send(encode_passed(one))

    async def ask(self) -> DaemonValues | None:
        """What it says now; None: it does not answer in time."""
        told = self._told
        with contextlib.suppress(OSError):  # it is full of questions, each of which will be answered; or it is gone
            self._socket.send(ASK)
        with trio.move_on_after(_ANSWER_WITHIN):
            await told.wait()
            return self._values
        return None


async def send_metrics(recorder: "Recorder", daemon: DaemonValues, fd: int) -> None:
    """Writes the text into the pipe `fd`, once everything before it was counted."""
    async with trio.lowlevel.FdStream(fd) as pipe:
        try:
            text, _ = await _rendered(_snapshot(recorder, daemon, backlog=recorder.behind), accept="")
            await pipe.send_all(text)
        except trio.BrokenResourceError:
            pass
        except Exception as error:  # of another package, which must not end the recorder: the reader gets EIO
            warn(f"metrics cannot be shown: {reason_of(error)}")


async def scrape(recorder: "Recorder", accept: str) -> tuple[bytes, str]:
    """The text and its content type, the best of those in the HTTP header `accept`."""
    daemon = await recorder.daemon.ask()
    head, asked = recorder.ring.head(), time.monotonic_ns()
    backlog = recorder.behind
    with trio.move_on_after(_DRAIN_WITHIN):
        while not recorder.caught_up(head, asked):
            recorder.ring.rouse()  # it may sleep for seconds where nothing happens
            await trio.sleep(_LOOK_AGAIN)
    return await _rendered(_snapshot(recorder, daemon, backlog=backlog), accept)


def _snapshot(recorder: "Recorder", daemon: DaemonValues | None, *, backlog: int) -> Snapshot:
    mount = recorder.mount
    return Snapshot(
        counted=recorder.joiner.metrics.counted(),
        lost=recorder.joiner.lost,
        lost_samples=recorder.joiner.lost_samples,
        backlog=backlog,
        slots=recorder.ring.slots,
        files=len(recorder.joiner.known.files),
        threads=len(recorder.joiner.known.threads),
        sinks=tuple(
            SinkState(sink.name, sink.failure is not None, sink.waiting, sink.skipped) for sink in recorder.sinks
        ),
        mount=mount,
        daemon=daemon,
        pids={"recorder": os.getpid()} | ({"daemon": mount.pid} if mount else {}),
    )


async def _rendered(snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
    def render() -> tuple[bytes, str]:
        from mapfs.trace.exposition import render  # prometheus-client is for a mount that is asked, and takes a while

        return render(snapshot, accept)

    return await trio.to_thread.run_sync(render, abandon_on_cancel=True, limiter=_rendering)
