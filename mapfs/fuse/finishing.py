"""The end of a mount: whoever waits for its trace waits as long as it is being written."""

import contextlib
import os
import select
import time
from collections.abc import Callable

_LOOK = 0.5  # seconds between two looks
_TELL_AFTER, _TELL_EVERY = 1.0, 5.0  # seconds until a wait is told of, and then again


def await_end(pidfd: int, trace: str | None, within: float, tell: Callable[[str], object] = lambda _: None) -> bool:
    """Until the process has ended; False: for `within` seconds it has neither ended nor written to its `trace`. `tell`
    is given a sentence where it takes over a second.
    """
    now = time.monotonic()
    until, told, before = now + within, now + _TELL_AFTER, _state(trace)
    while not select.select([pidfd], [], [], max(0.0, min(_LOOK, until - now)))[0]:
        now, state = time.monotonic(), _state(trace)
        if state != before:
            until, before = now + within, state
        if now >= until:
            return False
        if now >= told and trace is not None:
            told = now + _TELL_EVERY
            tell(f"the trace {trace} is being finished: {sum(size for size, _ in state) >> 20} MiB so far")
    return True


def _state(trace: str | None) -> list[tuple[int, int]]:
    """Sizes, and times of the last change, of the database and what SQLite keeps beside it."""
    found = []
    for suffix in ("", "-wal") if trace is not None else ():
        with contextlib.suppress(OSError):
            status = os.stat(f"{trace}{suffix}")
            found.append((status.st_size, status.st_mtime_ns))
    return found
