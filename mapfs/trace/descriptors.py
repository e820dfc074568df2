"""The recorder's descriptors: a few stay free for whoever wants to read events, statistics or metrics."""

import os
import resource
from collections.abc import Sequence

from mapfs.trace.sinks import warn

_KEPT = 32


class Descriptors:
    """How many this process may have."""

    def __init__(self) -> None:
        self._most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._told = False

    def scarce(self, fds: Sequence[int]) -> bool:
        """Closes descriptors of a process to be watched, where they would leave too few; whether it did."""
        if fds and max(fds) < self._most - _KEPT:
            return False
        for fd in fds:
            os.close(fd)
        if not self._told:
            self._told = True
            warn("the page faults of some processes are not seen: too many files are open; raise the limit (ulimit -n)")
        return True
