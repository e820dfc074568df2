"""What is to be done at a later time: demands that their source puts off. One thread, started when it is needed."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable

from mapfs.fuse import wire
from mapfs.fuse.demand import Demand


class Later:
    """Hands each demand to `due` at its time."""

    def __init__(self, due: Callable[[Demand], None]) -> None:
        self._due = due
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Demand]] = []
        self._order = itertools.count().__next__  # for those of the same time
        self._thread: threading.Thread | None = None
        self._closed = False
        self._hurrying = False

    def put_off(self, demand: Demand) -> bool:
        """Whether the source wants the read put off, which is asked once; then it is handed to `due` at its time."""
        if demand.opcode != wire.READ or demand.held or self._hurrying:
            return False
        demand.held = True
        try:
            source = demand.file.node.source
            seconds = source.hold(demand.offset, demand.size) if source is not None else 0.0
        except Exception:  # the source's own affair: its read will say what is wrong
            return False
        return seconds > 0 and self._add(time.monotonic() + seconds, demand)

    def _add(self, when: float, demand: Demand) -> bool:
        with self._changed:
            if self._hurrying or self._closed:
                return False
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="later", daemon=True)
                try:
                    thread.start()
                except (RuntimeError, MemoryError):  # there are no more threads: rather too early than never
                    return False
                self._thread = thread
            heapq.heappush(self._heap, (when, self._order(), demand))
            if self._heap[0][2] is demand:
                self._changed.notify()
            return True

    def flush(self) -> int:
        """Hands all of them to `due` now, and puts nothing off from then on; how many there were."""
        with self._changed:
            self._hurrying = True
            waiting = [demand for _, _, demand in sorted(self._heap, key=lambda one: one[:2])]
            self._heap.clear()
        for demand in waiting:
            self._due(demand)
        return len(waiting)

    def close(self) -> None:
        """Forgets what is waiting, and ends the thread."""
        with self._changed:
            self._closed = True
            self._heap.clear()
            self._changed.notify()

    def _run(self) -> None:
        while (demand := self._next()) is not None:
            self._due(demand)

    def _next(self) -> Demand | None:
        with self._changed:
            while not self._closed:
                wait = self._heap[0][0] - time.monotonic() if self._heap else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._heap)[2]
                self._changed.wait(wait)
        return None
