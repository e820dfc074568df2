"""`retry=N[:PAUSE]`: reads that fail are tried again up to N times, after PAUSE (100ms), twice that, and so on.

No pause is longer than 10 seconds, and all of them together no longer than a minute: they take the thread that reads.
What another try cannot mend fails at once. A first try that must not wait (`try_read`) is not counted.
"""

import errno
import time
from collections.abc import Callable

from mapfs.errors import SourceError, SpecError, errno_of, reason_of
from mapfs.sources.base import Buffer, Source
from mapfs.sources.wrap.base import Wrapper
from mapfs.units import parse_seconds

_FINAL = frozenset({errno.EROFS, errno.ENXIO, errno.EINVAL, errno.ESTALE, errno.ENOENT, errno.EACCES, errno.EPERM})
_LONGEST_PAUSE = 10.0  # seconds
_LONGEST = 60.0
_MOST = 100
_PAUSE = 0.1


def passing(error: BaseException) -> bool:
    """Whether what failed with `error` may succeed when it is tried again."""
    return isinstance(error, SourceError | OSError) and errno_of(error) not in _FINAL


class Retry(Wrapper):
    """`inner`, whose reads are tried up to `times` times more. `pause` in seconds; `sleep` waits."""

    def __init__(
        self, inner: Source, times: int, pause: float = _PAUSE, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        super().__init__(inner)
        self.backing_fd = None  # the kernel would not try again
        self._times = times
        self._pause = pause
        self._sleep = sleep

    def try_read(self, offset: int, size: int) -> Buffer | None:
        try:
            return self.inner.try_read(offset, size)
        except (SourceError, OSError) as error:
            if not passing(error):
                raise
            return None

    def read(self, offset: int, size: int) -> Buffer:
        pause, left, tries = self._pause, _LONGEST, 0
        while True:
            try:
                return self.inner.read(offset, size)
            except (SourceError, OSError) as error:
                tries += 1
                if not passing(error):
                    raise
                if tries > self._times or pause > left:
                    counted = "once" if tries == 1 else f"{tries} times"
                    raise SourceError(f"{reason_of(error)} (tried {counted})", errno_of(error)) from error
            self._sleep(pause)
            left -= pause
            pause = min(2 * pause, _LONGEST_PAUSE)


def make_retry(value: str | None) -> Callable[[Source], Source]:
    """Raises SpecError for what is no number of times, or a pause of more than ten seconds."""
    number, colon, text = (value or "").partition(":")
    if not (number.isascii() and number.isdigit() and len(number) < 4 and 0 < int(number) <= _MOST):
        raise SpecError(f"retry={value or ''} is no number of times from 1 to {_MOST}, as in retry=3 or retry=3:100ms")
    pause = parse_seconds(text) if colon else _PAUSE
    if pause > _LONGEST_PAUSE:
        raise SpecError(f"retry={value} has too long a first pause; the longest is 10s")
    return lambda inner: Retry(inner, int(number), pause)
