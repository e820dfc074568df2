"""The spool: rounds that were taken out of the rings and wait to become events, in their order.

The rings are small, and what overflows there is lost. So the recorder takes what they have when it is there, and while
it lags keeps it as it is: in memory, then in a file beside the trace that has no name, so that nothing is left behind
however it ends. What was read of the file is given back to the file system at once.
"""

import ctypes
import os
import tempfile
from collections import deque
from typing import NamedTuple

import msgspec

from mapfs.errors import reason_of
from mapfs.trace import rounds
from mapfs.trace.rounds import Round
from mapfs.trace.sinks import warn

MEMORY = 32 << 20  # bytes of rounds in memory
FILE = 4 << 30  # and in the file: requests with all evidence of them take 200 to 300
_FREE = 1 << 28  # bytes that are left to others on its file system
_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # fallocate(2)
_libc = ctypes.CDLL(None, use_errno=True)


class _Extent(NamedTuple):
    """Where a round is in the file, bytes; and the round that takes its place where it cannot be read."""

    at: int
    size: int
    instead: Round


class Spool:
    """`directory` is where the file may be; None: there is none. Nothing here raises: what cannot be written is kept in
    memory, and the spool is `full`.
    """

    def __init__(self, directory: str | None, *, memory: int = MEMORY, file: int = FILE) -> None:
        self._directory = directory
        self._bounds = memory, file
        self._memory: deque[Round] = deque()  # the oldest
        self._extents: deque[_Extent] = deque()  # the next ones
        self._late: deque[Round] = deque()  # the newest, which could not be written
        self._in_memory = 0  # bytes
        self._fd = -1
        self._given = 0  # bytes of the file, from its beginning, that were given back
        self._block = 1  # bytes that its file system gives back at once
        self._end = 0  # of the file, where the next round goes
        self._until = 1  # of the round that was taken last

    def __len__(self) -> int:
        return len(self._memory) + len(self._extents) + len(self._late)

    @property
    def full(self) -> bool:
        """Whether the rings had better be left to overflow, which is counted."""
        if self._late:
            return True
        return self._in_memory >= self._bounds[0] and (self._directory is None or self._in_file >= self._bounds[1])

    @property
    def fill(self) -> float:
        """How full it is, 0 to 1."""
        memory, file = self._bounds
        bound = memory + (file if self._directory is not None else 0)
        return 1.0 if self._late else min(1.0, (self._in_memory + self._in_file) / bound)

    def put(self, one: Round) -> None:
        """Keeps a round, the newest."""
        if not self._extents and not self._late and self._in_memory < self._bounds[0]:
            self._memory.append(one)
        elif not self._late and self._write(one):
            return
        else:
            self._late.append(one)
        self._in_memory += one.size

    def take(self) -> Round | None:
        """The oldest round; None where there is none."""
        if self._memory:
            one = self._memory.popleft()
            self._in_memory -= one.size
        elif self._extents:
            one = self._read()
        elif self._late:
            one = self._late.popleft()
            self._in_memory -= one.size
        else:
            return None
        while self._late and self._write(self._late[0]):
            self._in_memory -= self._late.popleft().size
        self._until = one.until
        return one

    def close(self) -> None:
        """What is still in it is gone."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._given = self._end = 0

    @property
    def _in_file(self) -> int:
        """Bytes that the file takes: what was read, too, until it is given back."""
        return self._end - self._given

    def _write(self, one: Round) -> bool:
        if self._directory is None or self._in_file >= self._bounds[1]:
            return False
        try:
            if self._fd < 0:
                with tempfile.TemporaryFile(dir=self._directory, prefix=".mapfs-spool-") as file:
                    self._fd = os.dup(file.fileno())
            free = os.fstatvfs(self._fd)
            if free.f_bavail * free.f_frsize < _FREE:
                return False
            self._block = max(1, free.f_frsize)
            data, written = rounds.encode(one), 0
            while written < len(data):
                written += os.pwrite(self._fd, memoryview(data)[written:], self._end + written)
        except OSError:
            return False
        # how many samples were in it is not known then, but that there were some
        lost_samples = one.lost_samples + (1 if one.samples else 0)
        instead = Round(
            one.moment, one.until, lost_samples=lost_samples, blind=True, missed=one.moment, ending=one.ending,
            failed=one.failed,
        )  # fmt: skip
        self._extents.append(_Extent(self._end, len(data), instead))
        self._end += len(data)
        return True

    def _read(self) -> Round:
        extent = self._extents.popleft()
        try:
            data = os.pread(self._fd, extent.size, extent.at)
            one = rounds.decode(data)
        except (OSError, msgspec.DecodeError) as error:  # the disk
            warn(f"what waited to be written to the trace cannot be read: {reason_of(error)}")
            one = extent.instead
            one.lost = one.until - self._until
        if self._extents:
            self._give_back(extent.at + extent.size)
        else:
            self.close()
        return one

    def _give_back(self, end: int) -> None:
        """All that was read is before `end`. Whole blocks go back; where that cannot be done, the end of the file will
        give back everything.
        """
        end -= end % self._block
        if end > self._given and _punch(self._fd, self._given, end - self._given):
            self._given = end


def _punch(fd: int, at: int, size: int) -> bool:
    """Whether the file system has these bytes again."""
    long = ctypes.c_longlong
    done: int = _libc.fallocate(fd, ctypes.c_int(_KEEP_SIZE | _PUNCH_HOLE), long(at), long(size))
    return done == 0
