"""How long a server is asked: time-outs and retries, the same for every remote source.

A request with all its retries ends within `timeout=` seconds. What may pass (a connection that broke, a server that
is busy) raises `Again` and is tried again after a growing, random pause, or after what the server asks for. A try
may stall for half of the time that is left, the last one for all of it, so that one lost packet does not use it up.
"""

import errno
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from mapfs.errors import SourceError, SpecError
from mapfs.units import parse_seconds

T = TypeVar("T")

OPTIONS = frozenset({"timeout", "retries"})
_FIRST, _LONGEST = 0.05, 5.0  # seconds between tries
_MOST_RETRIES = 100
#: 408, 425 and 429 say themselves that it may go better later; of the 5xx, 501 and 505 never will.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524})


class Again(Exception):  # noqa: N818 -- it is no error yet
    """A try failed in a way that may pass. `after`: seconds to wait before the next, where the server says so."""

    def __init__(self, error: SourceError, after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after


@dataclass(frozen=True, slots=True)
class Turn:
    """One try: `end` is when all tries have to be over (monotonic), `stall` the seconds that it may wait in vain."""

    end: float
    stall: float

    @property
    def left(self) -> float:
        """Seconds; never zero, which some calls take for no limit at all."""
        return max(0.001, self.end - time.monotonic())


@dataclass(frozen=True, slots=True)
class Patience:
    """`timeout` in seconds, for a request with all its retries."""

    timeout: float = 30.0
    retries: int = 4

    def insist(self, attempt: Callable[[Turn], T]) -> T:
        """What `attempt` returns in the end. Raises the SourceError of its last Again, and all else at once."""
        end = time.monotonic() + self.timeout
        number = 0
        while True:
            last = number >= self.retries
            left = max(0.001, end - time.monotonic())
            try:
                return attempt(Turn(end, left if last else left / 2))
            except Again as again:
                pause = again.after
                if pause is None:
                    longest = min(_LONGEST, _FIRST * 2**number)
                    pause = random.uniform(longest / 2, longest)  # noqa: S311 -- spreads retries, hides nothing
                if last or time.monotonic() + pause >= end:
                    raise again.error from again.__cause__
                time.sleep(pause)
            number += 1


def patience_of(options: Mapping[str, str | None]) -> Patience:
    """What `timeout=` and `retries=` say. Raises SpecError."""
    patience = Patience()
    timeout, retries = patience.timeout, patience.retries
    if "timeout" in options:
        timeout = parse_seconds(options["timeout"] or "")
        if timeout <= 0:
            raise SpecError("timeout= must be more than nothing; write timeout=30s")
    if "retries" in options:
        text = options["retries"] or ""
        if not (text.isascii() and text.isdigit() and len(text) < 4 and int(text) <= _MOST_RETRIES):
            raise SpecError(f"{text!r} is not a number of retries; write retries=4, from 0 to {_MOST_RETRIES}")
        retries = int(text)
    return Patience(timeout, retries)


def refused(what: str, status: int, reason: str, after: float | None = None) -> Again | SourceError:
    """What an answer of `status` (RFC 9110, section 15), which is no success, is to be raised as."""
    said = f"{status} {reason}".strip()
    if status in _PASSING:
        busy = status in (429, 503)
        return Again(SourceError(f"{what}: the server answers {said}", errno.EBUSY if busy else errno.EIO), after)
    if status in (404, 410):
        return SourceError(f"{what} is not there: the server answers {said}; check the URL", errno.ENOENT)
    if status in (401, 403, 407):
        return SourceError(f"{what} may not be read: the server answers {said}; check the credentials", errno.EACCES)
    if status == 412:
        return changed(what)
    return SourceError(f"{what} cannot be read: the server answers {said}")


def changed(what: str) -> SourceError:
    """The object is another one than when it was opened or last looked at."""
    return SourceError(f"{what} changed on the server since it was opened; open it anew", errno.ESTALE)


def unanswered(what: str) -> SourceError:
    """A wait that ended."""
    return SourceError(f"{what}: the server does not answer in time; raise timeout=", errno.ETIMEDOUT)


def needed(kind: str, package: str) -> SourceError:
    """An optional package is missing."""
    return SourceError(f"{kind}: needs the package {package}; install it with pip install 'mapfs[remote]'")
