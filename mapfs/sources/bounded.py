"""Calls that end in time though what they call has no bound of its own: coroutines, and blocking functions."""

import asyncio
import concurrent.futures
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_GRACE = 1.0  # seconds that a cancelled coroutine may take to end


def on_loop(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], seconds: float) -> T:
    """What `coroutine` returns, run by `loop`, which another thread runs. Raises TimeoutError; it is cancelled then."""
    future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, seconds), loop)
    try:
        return future.result(seconds + _GRACE)
    except BaseException:
        future.cancel()
        raise


class Worker:
    """A thread that makes calls one after another, for what is safe on one thread only and cannot be interrupted.

    A call that takes too long is left to itself, and the thread ends after it.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[concurrent.futures.Future[Any], Callable[[], Any]] | None]
        self._calls = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mapfs-remote", daemon=True)
        self._thread.start()
        self.stuck = False  # whether a call took too long

    def call(self, function: Callable[[], T], seconds: float) -> T:
        """What `function` returns. Raises what it raises, and TimeoutError."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._calls.put((future, function))
        try:
            return future.result(seconds)
        except TimeoutError:
            self.stuck = not future.done()  # else it raised this itself
            future.cancel()  # where it has not begun
            raise

    def close(self) -> None:
        """Ends the thread; one that is stuck ends by itself later."""
        self._calls.put(None)
        if not self.stuck:
            self._thread.join(_GRACE)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = function()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
                del result
            del call, future, function
