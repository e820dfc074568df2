"""`file:PATH[,rw]`: a regular file. Opened once; what replaces it under the same name is not seen (see `dir:`)."""

import os
import stat

from mapfs.errors import SourceError, of_path
from mapfs.sources.backing import DescriptorSource
from mapfs.sources.base import Source
from mapfs.sources.spec import Spec, is_set


def open_file(spec: Spec) -> Source:
    """The file at `spec.arg`. Raises SourceError where it is missing, unreadable or no regular file."""
    what = f"file {spec.arg!r}"
    writable = is_set(spec, "rw")
    try:
        # opened by mistake, a FIFO must not wait for its other end, nor a terminal become that of the daemon
        flags = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        fd = os.open(spec.arg, (os.O_RDWR if writable else os.O_RDONLY) | flags)
    except IsADirectoryError:
        raise SourceError(f"{spec.arg!r} is a directory; mirror it with dir:{spec.arg}") from None
    except OSError as error:
        raise of_path(error, what) from error
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return DescriptorSource(fd, what, writable=writable)
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise SourceError(f"{spec.arg!r} is a directory; mirror it with dir:{spec.arg}")
    if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
        raise SourceError(f"{spec.arg!r} is a device; write device:{spec.arg}")
    raise SourceError(f"{spec.arg!r} is not a regular file, so it has no pages to map")
