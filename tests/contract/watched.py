"""A source in memory that tells what was asked of it, for tests of what is around it."""

import errno
import threading
from collections import Counter
from collections.abc import Hashable

from mapfs.errors import SourceError
from mapfs.sources.base import Buffer, Source


class Watched(Source):
    """`content`, writable. `slow`: it is never read without waiting. `failing`: errnos of the reads to come."""

    versioned = True

    def __init__(self, content: bytes, *, slow: bool = False, writable: bool = True) -> None:
        self.content = bytearray(content)
        self.slow = slow
        self.writable = writable
        self.failing: list[int] = []
        self.holds = 0.0
        self.changed = 0
        self.closed = 0
        self.flushed = 0
        self.refreshed = 0
        self.calls: Counter[tuple[str, int, int]] = Counter()
        self.gate: threading.Event | None = None
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, offset: int, size: int) -> bytes:
        self._called("read", offset, size)
        if self.gate is not None:
            assert self.gate.wait(30)
        with self._lock:
            if self.failing:
                raise SourceError("it fails", self.failing.pop(0))
            if offset + size > len(self.content):
                raise SourceError("it has no bytes there")
            return bytes(self.content[offset : offset + size])

    def try_read(self, offset: int, size: int) -> bytes | None:
        if self.slow:
            return None
        return self.read(offset, size)

    def hold(self, offset: int, size: int) -> float:
        self._called("hold", offset, size)
        return self.holds

    def version(self) -> Hashable:
        return self.changed

    def refresh(self) -> None:
        self.refreshed += 1

    def write(self, offset: int, data: Buffer) -> None:
        if not self.writable:
            raise SourceError("it is read-only", errno.EROFS)
        with self._lock:
            self.content.extend(bytes(max(0, offset - len(self.content))))
            self.content[offset : offset + len(data)] = data
            self.changed += 1

    def resize(self, size: int) -> None:
        with self._lock:
            self.content.extend(bytes(max(0, size - len(self.content))))
            del self.content[size:]
            self.changed += 1

    def flush(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        self.closed += 1

    def asked(self, what: str) -> Counter[tuple[int, int]]:
        """How often each range was read or held."""
        with self._lock:
            return Counter({(offset, size): n for (name, offset, size), n in self.calls.items() if name == what})

    def _called(self, what: str, offset: int, size: int) -> None:
        with self._lock:
            self.calls[what, offset, size] += 1
