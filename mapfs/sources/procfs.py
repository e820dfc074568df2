"""Another process, held through /proc (proc(5)): how it is opened, found to be gone, or found to be out of reach.

A descriptor of /proc/PID stands for that one process: after its end every file below it is missing (ESRCH), also
when its number was given to a new process.
"""

import errno
import os
import re
from collections.abc import Iterator

from mapfs.errors import SourceError, of_path
from mapfs.units import PAGE_SIZE

NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_MAPFS = "fuse.mapfs"


class Process:
    """The process `number`, by `fd`, a descriptor of its directory in /proc; closes it in the end."""

    def __init__(self, number: int, fd: int) -> None:
        self.number = number
        self.fd = fd
        self.what = f"process {number}"

    def another(self) -> "Process":
        """The same process, closed on its own."""
        return Process(self.number, os.dup(self.fd))

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """A descriptor of its file `name` in /proc. Raises OSError."""
        return os.open(name, flags | os.O_CLOEXEC, dir_fd=self.fd)

    def read(self, name: str) -> bytes:
        """All of its file `name` in /proc. Raises OSError."""
        fd = self.open(name)
        try:
            pieces = [os.read(fd, 64 * PAGE_SIZE)]
            while pieces[-1]:
                pieces.append(os.read(fd, 64 * PAGE_SIZE))
            return b"".join(pieces)
        finally:
            os.close(fd)

    def lives(self) -> bool:
        """Whether it has not ended; one that has ended and is not yet waited for (a zombie) counts as living."""
        try:
            os.close(self.open("stat"))
        except OSError as error:
            return error.errno not in (errno.ESRCH, errno.ENOENT)
        return True

    def refusal(self, error: OSError) -> SourceError:
        """`error`, met at one of its files in /proc, as a sentence."""
        if error.errno in (errno.ESRCH, errno.ENOENT):
            return SourceError(f"{self.what} has ended")
        if error.errno in (errno.EACCES, errno.EPERM):
            return SourceError(
                f"{self.what} is not yours to look into: {os.strerror(error.errno)}; run mapfs as its user or as root, "
                "with the right to trace it (ptrace(2), /proc/sys/kernel/yama/ptrace_scope)",
                error.errno,
            )
        return of_path(error, self.what)

    def mapfs_mounts(self) -> Iterator[tuple[int, int]]:
        """Number and st_dev of each mount of mapfs that it or this process sees. Asks no filesystem."""
        try:
            theirs = self.read("mountinfo")
        except OSError:  # what is ending has left its mounts
            theirs = b""
        with open("/proc/self/mountinfo", "rb") as ours:
            for line in {*theirs.splitlines(), *ours.read().splitlines()}:
                fields = line.split(maxsplit=3)
                if line.partition(b" - ")[2].split(maxsplit=1)[0] == _MAPFS.encode():
                    major, _, minor = fields[2].partition(b":")
                    yield int(fields[0]), os.makedev(int(major), int(minor))

    def close(self) -> None:
        """Lets it go."""
        os.close(self.fd)


def hold(number: int) -> Process:
    """The process `number`. Raises SourceError where there is none."""
    try:
        fd = os.open(f"/proc/{number}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESRCH):
            raise of_path(error, f"process {number}") from error
        raise SourceError(f"there is no process {number}; ps -e lists those that there are", errno.ESRCH) from error
    process = Process(number, fd)
    try:
        _refuse_thread(process)
    except BaseException:
        process.close()
        raise
    return process


def _refuse_thread(process: Process) -> None:
    """A thread is found in /proc too, and would end before the memory that is its process's."""
    try:
        status = process.read("status")
    except OSError as error:
        raise process.refusal(error) from error
    match = re.search(rb"^Tgid:\s*(\d+)", status, re.MULTILINE)
    if match and int(match[1]) != process.number:
        raise SourceError(f"{process.number} is a thread of process {int(match[1])}; name the process")
