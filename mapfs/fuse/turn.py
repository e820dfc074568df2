"""Whose turn it is: the trio thread's, but for the time in which it waits for something to happen.

The tree, and what is open of it, are used by one thread at a time. That is the trio thread, and in its pauses whoever
takes the turn, for a moment, without waiting for it.
"""

import threading

import trio


class Turn(trio.abc.Instrument):
    """An instrument of the `trio.run` that it is about; before and after, nobody can take it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._mine = True  # the trio thread's, which alone looks

    def before_io_wait(self, timeout: float) -> None:
        self._mine = False
        self._lock.release()

    def after_io_wait(self, timeout: float) -> None:
        self._lock.acquire()
        self._mine = True

    def end(self) -> None:
        """From now on nobody can take it, even where the run ended while it waited. Called by the thread of the run."""
        if not self._mine:
            self.after_io_wait(0)

    def take(self) -> bool:
        """Whether it is the caller's now, until `give_back`. Does not wait."""
        return self._lock.acquire(blocking=False)

    def give_back(self) -> None:
        """Ends the caller's turn."""
        self._lock.release()
