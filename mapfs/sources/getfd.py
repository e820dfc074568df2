"""A descriptor of another process: a memfd, a deleted file, a block device.

It is opened anew through /proc/PID/fd/N, so that nothing is shared with the process but the file. Where the file may
not be opened (its name or mode forbids it), the descriptor itself is duplicated by pidfd_getfd(2). Both ask for the
right to trace the process (ptrace(2), "Ptrace access mode checking").
"""

import ctypes
import errno
import os
import re
import stat

from mapfs.errors import SourceError
from mapfs.sources.procfs import Process

_SYS_PIDFD_GETFD = 438  # the same number on every architecture
_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def descriptor_of(process: Process, number: int, *, writable: bool) -> tuple[int, bool]:
    """Descriptor `number` of `process`, and whether its offset and flags are shared with the process.

    Raises SourceError where it is not there, may not be had, has no pages, lies in a mapfs mount, or is to be
    `writable` and was opened for reading only.
    """
    what = f"descriptor {number} of {process.what}"
    try:
        flags, mount = _described(process, number)
        if any(mount == one for one, _ in process.mapfs_mounts()):
            raise SourceError(f"{what} lies in a mapfs mount, which could wait for itself; serve what is behind it")
        # only now: what /proc says of a descriptor asks no filesystem, and this does
        mode = os.stat(f"fd/{number}", dir_fd=process.fd).st_mode
    except OSError as error:
        raise _refusal(error, process, what) from error
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        raise SourceError(f"{what} is neither a file nor a block device, so it has no pages to map")
    if writable and flags & os.O_ACCMODE != os.O_RDWR:
        raise SourceError(f"{what} cannot be written: it is not open for reading and writing; leave rw out")
    try:
        return process.open(f"fd/{number}", (os.O_RDWR if writable else os.O_RDONLY) | os.O_NONBLOCK), False
    except OSError as first:
        try:
            return _duplicated(process, number), True
        except OSError:
            raise _refusal(first, process, what) from first


def _described(process: Process, number: int) -> tuple[int, int]:
    """The flags of open(2) and the number of the mount, as /proc/PID/fdinfo has them. Raises OSError."""
    text = process.read(f"fdinfo/{number}")
    flags = re.search(rb"^flags:\s*([0-7]+)", text, re.MULTILINE)
    mount = re.search(rb"^mnt_id:\s*(\d+)", text, re.MULTILINE)
    return int(flags[1], 8) if flags else os.O_RDONLY, int(mount[1]) if mount else -1


def _duplicated(process: Process, number: int) -> int:
    """By pidfd_getfd(2). Raises OSError."""
    pidfd = os.pidfd_open(process.number)
    try:
        if not process.lives():  # the number may be another process's by now
            raise ProcessLookupError
        fd = int(_syscall(ctypes.c_long(_SYS_PIDFD_GETFD), ctypes.c_int(pidfd), ctypes.c_int(number), ctypes.c_uint(0)))
    finally:
        os.close(pidfd)
    if fd < 0:
        wrong = ctypes.get_errno()
        raise OSError(wrong, os.strerror(wrong))
    return fd


def _refusal(error: OSError, process: Process, what: str) -> SourceError:
    if isinstance(error, FileNotFoundError) and process.lives():
        there = f"/proc/{process.number}/fd"
        return SourceError(f"{what} is not open; ls -l {there} lists what is", errno.ENOENT)
    return process.refusal(error)
