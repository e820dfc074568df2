"""Replies to the kernel's requests, written to the device: one call of the system each."""

import errno
import mmap
import os
from functools import partial
from io import FileIO

from mapfs.fuse import wire
from mapfs.sources.base import Buffer
from mapfs.units import PAGE_SIZE

GONE = (errno.ENODEV, errno.ECONNABORTED, errno.EBADF)  # the connection is over
NOTHING = (errno.EINTR, errno.ENOENT)  # this request is over, or there was none
_AT = PAGE_SIZE - wire.REPLY.size


def send(device: int, unique: int, data: Buffer, number: int = 0) -> None:
    """Answers the request `unique` with `data`, or with the errno `number`. Raises OSError if the device fails."""
    try:
        os.writev(device, (wire.reply_header(unique, len(data), number), data))
    except OSError as error:
        passable(error)


def passable(error: OSError) -> None:
    """An answer that nobody waits for any more is no failure. Raises `error` if it is anything else."""
    if error.errno not in NOTHING and error.errno not in GONE:
        raise error


class Sheet:
    """Where one thread has sources put the bytes of a reply: behind room for its header, so that both are written by
    one write(2), and at the beginning of a page, so that the kernel copies whole pages. Used again for each reply.
    """

    ROOM = 1 << 20  # bytes: the largest READ of a kernel that was not told otherwise

    def __init__(self, device: int) -> None:
        memory = mmap.mmap(-1, PAGE_SIZE + self.ROOM, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._all = memoryview(memory)
        #: The room for a body of one page, and that with its header, as most replies are.
        self.page, self.one = self.room(PAGE_SIZE), self.whole(PAGE_SIZE)
        #: head(length, 0, unique) puts the header in its place, write(whole) gives the reply. Raises OSError.
        self.head = partial(wire.REPLY.pack_into, self._all, _AT)
        self.write = FileIO(device, "w", closefd=False).write

    def room(self, size: int) -> memoryview:
        """For a body of `size` bytes."""
        return self._all[PAGE_SIZE : PAGE_SIZE + size]

    def whole(self, size: int) -> memoryview:
        """The reply with such a body."""
        return self._all[_AT : PAGE_SIZE + size]
