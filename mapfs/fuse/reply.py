"""Answering a request: one writev(2) to the device."""

import errno
import os

from mapfs.fuse import wire
from mapfs.sources.base import Buffer

GONE = (errno.ENODEV, errno.ECONNABORTED, errno.EBADF)  # the connection is over
NOTHING = (errno.EINTR, errno.ENOENT)  # this request is over, or there was none


def send(device: int, unique: int, data: Buffer, number: int = 0) -> None:
    """Answers the request `unique` with `data`, or with the errno `number`. Raises OSError."""
    try:
        os.writev(device, (wire.reply_header(unique, len(data), number), data))
    except OSError as error:
        passable(error)


def passable(error: OSError) -> None:
    """An answer that nobody waits for any more is no failure. Raises `error` if it is anything else."""
    if error.errno not in NOTHING and error.errno not in GONE:
        raise error
