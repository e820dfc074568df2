"""From the page cache of a file to the device without a copy in between (splice(2)): a third less work for a push.

The pipe holds one message at a time: its head, then pages of the file, which the kernel copies once, into the cache of
the mount. One of these belongs to one thread.
"""

import contextlib
import fcntl
import os

from mapfs.units import PAGE_SIZE

_WANTED = 1 << 20  # bytes of the pipe: what everybody may have (/proc/sys/fs/pipe-max-size)
_LEAST = 16 * PAGE_SIZE  # below that, calls cost more than the copy


class Splicer:
    """Moves messages; `most` bytes of a file in each, 0: it cannot be done here."""

    def __init__(self) -> None:
        self._pipe: tuple[int, int] | None = None
        self.most = 0
        self._open()

    def _open(self) -> None:
        ours, theirs = self._pipe = os.pipe2(os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # the user has too many pages in pipes (pipe(7))
            fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, _WANTED)
        room = fcntl.fcntl(ours, fcntl.F_GETPIPE_SZ) - PAGE_SIZE  # the head takes one
        self.most = room if room >= _LEAST else 0

    def move(self, device: int, head: bytes, fd: int, offset: int, size: int) -> bool:
        """Writes `head` and `size` bytes of `fd`, at most `most`, to the device as one message. False: the file has
        fewer, and nothing was written. Raises OSError.
        """
        assert self._pipe is not None
        ours, theirs = self._pipe
        whole = False
        try:
            os.write(theirs, head)
            left = size
            while left:
                moved = os.splice(fd, theirs, left, offset)
                if not moved:
                    return False
                left, offset = left - moved, offset + moved
            whole = os.splice(ours, device, len(head) + size) == len(head) + size
        finally:
            if not whole:  # what is left in the pipe would come before the next message
                os.close(ours)
                os.close(theirs)
                self._open()
        return True
