"""`fd:N[,rw]`: a descriptor that the command inherited, as in `mapfs mount /mnt/x data=fd:3 3<data.bin`.

`fd:PID:N[,rw]` is a descriptor of another process (see `getfd`).
"""

import fcntl
import os
import stat

from mapfs.errors import SourceError, SpecError
from mapfs.sources.base import Source
from mapfs.sources.device import DeviceSource
from mapfs.sources.getfd import descriptor_of
from mapfs.sources.memfd import NamelessSource
from mapfs.sources.procfs import NUMBER, hold
from mapfs.sources.spec import Spec, is_set


class SharedSource(NamelessSource):
    """A descriptor whose file offset is another process's too: lseek(2), which would move it, is never called."""

    def seek(self, offset: int, whence: int) -> int:
        return Source.seek(self, offset, whence)


def open_fd(spec: Spec) -> Source:
    """Descriptor N, duplicated. Raises SourceError where it is not open for reading, or has no pages."""
    writable = is_set(spec, "rw")
    if ":" in spec.arg:
        return _of_process(spec.arg, writable=writable)
    if not NUMBER.fullmatch(spec.arg):
        raise SpecError(f"{spec.arg!r} is not the number of a descriptor; write fd:3 and start mapfs with 3<FILE")
    what = f"descriptor {int(spec.arg)}"
    try:
        fd = os.dup(int(spec.arg))
    except OSError as error:
        raise SourceError(f"{what} is not open; start mapfs with {int(spec.arg)}<FILE") from error
    return _served(fd, what, writable=writable, shared=True)


def _of_process(arg: str, *, writable: bool) -> Source:
    pid, _, number = arg.partition(":")
    if not (NUMBER.fullmatch(pid) and NUMBER.fullmatch(number)):
        raise SpecError(f"{arg!r} is not a process and a descriptor of it; write fd:PID:N, as in fd:1234:3")
    process = hold(int(pid))
    try:
        fd, shared = descriptor_of(process, int(number), writable=writable)
    finally:
        process.close()
    return _served(fd, f"descriptor {int(number)} of {process.what}", writable=writable, shared=shared)


def _served(fd: int, what: str, *, writable: bool, shared: bool) -> Source:
    """The source of `fd`, closed where it cannot be one. `shared`: others have the same open file description."""
    try:
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise SourceError(f"{what} is neither a file nor a block device, so it has no pages to map")
        os.pread(fd, 0, 0)
        if writable:
            _check_writing(fd, what)
        if stat.S_ISBLK(mode):
            return DeviceSource(fd, what, writable=writable)
        return (SharedSource if shared else NamelessSource)(fd, what, writable=writable)
    except OSError as error:
        os.close(fd)
        raise SourceError(f"{what} cannot be read: it was opened for writing only") from error
    except BaseException:
        os.close(fd)
        raise


def _check_writing(fd: int, what: str) -> None:
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if flags & os.O_ACCMODE != os.O_RDWR:
        raise SourceError(f"{what} cannot be written: it is not open for reading and writing; start mapfs with <>FILE")
    if flags & os.O_APPEND:
        raise SourceError(f"{what} was opened for appending, where a write takes no offset; open it without O_APPEND")
