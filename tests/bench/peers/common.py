"""What the peers in Python have in common."""

import os
import sys
import time
from collections.abc import Callable

NAME = "pages"
FOREVER = 86400.0  # seconds that an attribute is valid


class Backing:
    """The file that is served, and the log."""

    def __init__(self) -> None:
        """Of the command line."""
        self.mountpoint, path, *log = sys.argv[1:]
        self._fd = os.open(path, os.O_RDONLY)
        self._log = os.open(log[0], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if log else None
        self.size = os.fstat(self._fd).st_size
        self.read: Callable[[int, int], bytes] = self._read_quietly if self._log is None else self._read_and_log

    def _read_quietly(self, offset: int, size: int) -> bytes:
        return os.pread(self._fd, size, offset)

    def _read_and_log(self, offset: int, size: int) -> bytes:
        data = os.pread(self._fd, size, offset)
        assert self._log is not None
        os.write(self._log, f"{time.time():.9f} read {size} bytes at {offset}\n".encode())
        return data
