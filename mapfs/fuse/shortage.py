"""What the daemon itself has too little of, said to whoever runs it.

A client that meets such a shortage is told an errno, which looks like a limit of its own: who can raise the limit of
mapfs hears of it here, once a minute at most.
"""

import time
from collections.abc import Callable

from mapfs.errors import lack_of

_AGAIN = 60.0  # seconds


class Shortage:
    """Tells `warn` of shortages. Callable from any thread."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._due: dict[str, float] = {}

    def met(self, what: str, error: BaseException) -> bool:
        """Whether `error`, which ended `what`, comes of a shortage."""
        lack = lack_of(error)
        if lack is None:
            return False
        now = time.monotonic()
        if now >= self._due.get(lack, 0.0):
            self._due[lack] = now + _AGAIN
            self._warn(f"{what} failed: {lack}")
        return True
