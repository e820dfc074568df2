"""`rate=10M`: so many bytes a second at most, for all files of the spec together. Writes are not limited.

A bucket of tokens, one a byte, which holds those of a quarter of a second. A request that finds enough is answered at
once; any other takes what it needs, so that the bucket owes, and is put off until the debt is paid.
"""

import threading
import time
from collections.abc import Callable

from mapfs.errors import SpecError
from mapfs.sources.base import Buffer, Source
from mapfs.sources.wrap.base import Wrapper
from mapfs.units import parse_size

_SLOWEST = 1024  # bytes a second
_BURST = 0.25  # seconds


class Bucket:
    """Tokens for `rate` bytes a second. Thread-safe."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._most = rate * _BURST
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = self._most
        self._filled = clock()

    def try_take(self, size: int) -> bool:
        """Takes `size` tokens if there are as many."""
        with self._lock:
            self._fill()
            if self._tokens < size:
                return False
            self._tokens -= size
            return True

    def take(self, size: int) -> float:
        """Takes `size` tokens, owed where there are less; seconds until they are there."""
        with self._lock:
            self._fill()
            self._tokens -= size
            return max(0.0, -self._tokens / self._rate)

    def give_back(self, size: int) -> None:
        """`size` tokens that were taken and not used."""
        with self._lock:
            self._tokens += size

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._filled) * self._rate)
        self._filled = now


class Rate(Wrapper):
    """`inner` at the rate of `bucket`. Whoever calls `read` without having asked `hold` is not limited."""

    def __init__(self, inner: Source, bucket: Bucket) -> None:
        super().__init__(inner)
        self.backing_fd = None
        self._bucket = bucket

    def try_read(self, offset: int, size: int) -> Buffer | None:
        if not self._bucket.try_take(size):
            return None
        data = None
        try:
            data = self.inner.try_read(offset, size)
        finally:
            if data is None:
                self._bucket.give_back(size)
        return data

    def hold(self, offset: int, size: int) -> float:
        return self._bucket.take(size) + self.inner.hold(offset, size)


def make_rate(value: str | None) -> Callable[[Source], Source]:
    """Raises SpecError for what is no size, or less than 1K."""
    if not value:
        raise SpecError("rate= needs bytes a second, as in rate=10M")
    rate = parse_size(value)
    if rate < _SLOWEST:
        raise SpecError(f"rate={value} is too slow; the slowest is 1K a second")
    bucket = Bucket(rate)
    return lambda inner: Rate(inner, bucket)
