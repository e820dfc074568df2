"""What no event tells of, said to whoever runs the daemon, the same once a minute at most.

A client that meets a shortage of mapfs is told an errno, which looks like a limit of its own; one that cannot look a
file up, or open it, makes no request whose event could say why.
"""

import time
from collections.abc import Callable

from mapfs.errors import lack_of, reason_of

_AGAIN = 60.0  # seconds
_MOST = 1000  # sentences that are remembered


class Shortage:
    """Tells `warn`. Callable from any thread."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._due: dict[str, float] = {}

    def met(self, what: str, error: BaseException) -> bool:
        """Whether `error`, which ended `what`, comes of a shortage."""
        lack = lack_of(error)
        if lack is None:
            return False
        self._say(lack, f"{what} failed: {lack}")
        return True

    def unopened(self, path: str, error: BaseException) -> None:
        """The file at `path` in the mount could not be opened."""
        self._say(reason_of(error), f"{path} cannot be opened: {reason_of(error)}")

    def failed(self, what: str, error: BaseException) -> None:
        """An operation on names or attributes met an error of what lies below; one of opening is said already."""
        self._say(reason_of(error), f"{what} failed: {reason_of(error)}")

    def _say(self, key: str, sentence: str) -> None:
        now = time.monotonic()
        if now < self._due.get(key, 0.0):
            return
        if len(self._due) >= _MOST:
            self._due.clear()
        self._due[key] = now + _AGAIN
        self._warn(sentence)
