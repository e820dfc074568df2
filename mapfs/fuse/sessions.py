"""The sessions of `.mapfs/events`, `stats` and `metrics`: what the recorder writes into a pipe, handed on.

The daemon formats nothing; it opens a pipe, gives the recorder one end and reads the other.
"""

import errno
import os
from collections.abc import Callable

import trio

from mapfs.trace.facts import (
    ASK,
    DaemonFact,
    DaemonValues,
    EventsWanted,
    FactSender,
    MetricsWanted,
    PassedBy,
    StatsWanted,
)

_ANSWER_WITHIN = 10.0  # seconds; the recorder is another process, which may be stopped


class ReadSession:
    """A session that nothing is written to."""

    async def write(self, data: bytes) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


class PipeSession(ReadSession):
    """Reads what comes through a pipe, waiting for it; at its end, nothing."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._turn = trio.Lock()

    async def read(self, offset: int, size: int) -> bytes:
        async with self._turn:
            while self._fd >= 0:
                try:
                    return os.read(self._fd, size)
                except BlockingIOError:
                    pass
                try:
                    await trio.lowlevel.wait_readable(self._fd)
                except trio.ClosedResourceError:
                    break
            return b""

    def close(self) -> None:
        """The recorder notices at its next line."""
        fd, self._fd = self._fd, -1
        trio.lowlevel.notify_closing(fd)
        os.close(fd)


class BytesSession(ReadSession):
    """Content that was complete when it was opened."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self, offset: int, size: int) -> bytes:
        return self._content[offset : offset + size]

    def close(self) -> None:
        """Holds nothing."""


class RecorderSessions:
    """Opens sessions. `daemon` gives what the daemon itself adds to the statistics, `hurry` urges the recorder on,
    `passed` is given what the recorder saw of pages that were pushed.
    """

    def __init__(
        self,
        facts: FactSender,
        daemon: Callable[[], DaemonValues],
        hurry: Callable[[], None],
        passed: Callable[[PassedBy], object],
    ) -> None:
        self._facts = facts
        self._daemon = daemon
        self._hurry = hurry
        self._passed = passed

    async def events(self, now: bool) -> PipeSession:
        """The events that are still in the ring and, unless the client wants to wait for none, what follows."""
        return PipeSession(self._ask(lambda: EventsWanted(follow=not now)))

    async def stats(self, now: bool) -> BytesSession:
        """The statistics up to this moment, unless the client wants to wait for none. Raises OSError (EIO) where the
        recorder does not answer.
        """
        return await self._complete(lambda: StatsWanted(self._daemon(), now))

    async def metrics(self, now: bool) -> BytesSession:
        """The same in the Prometheus text format."""
        return await self._complete(lambda: MetricsWanted(self._daemon(), now))

    async def attend(self) -> None:
        """Hears the recorder until it has ended: tells it what the daemon knows, each time that it asks."""
        while True:
            await trio.lowlevel.wait_readable(self._facts.fileno())
            said = self._facts.heard()
            if said is None:
                return
            if isinstance(said, PassedBy):
                self._passed(said)
            elif said == ASK:
                self._facts.send(DaemonFact(self._daemon()))

    async def _complete(self, fact: Callable[[], StatsWanted | MetricsWanted]) -> BytesSession:
        """All that the recorder writes. Raises OSError (EIO) where it does not answer."""
        pipe = PipeSession(self._ask(fact))
        content = b""
        try:
            with trio.fail_after(_ANSWER_WITHIN):
                while piece := await pipe.read(0, 1 << 16):
                    content += piece
        except trio.TooSlowError:
            raise OSError(errno.EIO, "the recorder does not answer") from None
        finally:
            pipe.close()
        if not content:
            raise OSError(errno.EIO, "the recorder has ended")
        return BytesSession(content)

    def _ask(self, fact: Callable[[], EventsWanted | StatsWanted | MetricsWanted]) -> int:
        ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not self._facts.send(fact(), (theirs,)):
                os.close(ours)
                raise OSError(errno.EIO, "the recorder does not answer")
        finally:
            os.close(theirs)
        self._hurry()
        return ours
