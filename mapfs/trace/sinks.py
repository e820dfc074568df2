"""Where events go. A sink is any callable that takes a list of frozen events, in order.

Each sink has a thread of its own. One that raises is dropped, with one warning; one that is slow falls
behind alone: past `capacity` waiting events it is given a `Lost` in their stead. Nothing of this reaches the
recorder's loop, let alone the mount.
"""

import contextlib
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Sequence

from mapfs.errors import reason_of
from mapfs.trace.events import Event, Lost

_WRITABLE_WITHIN = 0.2  # seconds
Sink = Callable[[Sequence[Event | Lost]], None]


class SinkThread:
    """Feeds one sink from a thread. `capacity` bounds the events that wait for it."""

    def __init__(self, name: str, sink: Sink, capacity: int) -> None:
        self.name = name
        self.failure: BaseException | None = None
        self.skipped = 0  # events that it was too slow for, in all
        self._sink = sink
        self._capacity = capacity
        self._changed = threading.Condition()
        self._batches: deque[Sequence[Event | Lost]] = deque()
        self._waiting = 0
        self._skipped = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"sink-{name}", daemon=True)
        self._thread.start()

    def __call__(self, events: Sequence[Event | Lost]) -> None:
        """Takes events over; never waits, never raises."""
        with self._changed:
            if self.failure is not None:
                return
            if self._waiting + len(events) > self._capacity and self._waiting:
                skipped = sum(event.count if isinstance(event, Lost) else 1 for event in events)
                self._skipped += skipped
                self.skipped += skipped
                return
            if self._skipped:
                self._batches.append([Lost(self._skipped, skipped=True)])
                self._skipped = 0
            self._batches.append(events)
            self._waiting += len(events)
            self._changed.notify()

    @property
    def waiting(self) -> int:
        """Events that wait for it."""
        return self._waiting

    def close(self, timeout: float) -> bool:
        """Lets the sink finish what it has. False: it did not within `timeout` seconds, or had failed."""
        with self._changed:
            if self._skipped:
                self._batches.append([Lost(self._skipped, skipped=True)])
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive() and self.failure is None

    def _run(self) -> None:
        try:
            while (events := self._next()) is not None:
                self._sink(events)
        except BaseException as error:
            with self._changed:
                self.failure = error
                self._batches.clear()
                self._waiting = 0
            warn(f"the {self.name} stopped: {reason_of(error)}; the mount goes on without it")

    def _next(self) -> Sequence[Event | Lost] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._batches or self._closing)
            if not self._batches:
                return None
            events = self._batches.popleft()
            self._waiting = max(0, self._waiting - len(events))
            return events


def warn(text: str) -> None:
    """One line on standard error, if there is anybody to read it: a terminal that was stopped, or a full pipe, must
    not hold up whoever has something to say.
    """
    with contextlib.suppress(OSError, ValueError):
        poller = select.poll()
        poller.register(2, select.POLLOUT)
        if poller.poll(_WRITABLE_WITHIN * 1000):
            os.write(2, f"mapfs: {text}\n".encode(errors="backslashreplace")[: select.PIPE_BUF])
