"""perf_event_open(2): events of the kernel, and the rings into which it writes samples of them.

Everything hangs on descriptors, so nothing is left behind however a process ends. A ring is read by whoever maps it;
the kernel keeps what it holds, and when it is full it drops the newest samples and says how many (PERF_RECORD_LOST).
"""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import platform
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from mapfs.errors import EvidenceError
from mapfs.trace.barrier import Barrier

SOFTWARE, TRACEPOINT = 1, 2  # attr.type
FAULTS_MINOR, FAULTS_MAJOR, DUMMY = 5, 6, 9  # attr.config of SOFTWARE
TID, TIME, ADDR = 1 << 1, 1 << 2, 1 << 3  # attr.sample_type
COMM, EXIT, FORK, SAMPLE, MMAP2 = 3, 4, 7, 9, 10  # types of records
FORMAT_LOST = 1 << 4  # attr.read_format (Linux 6.0)
COMM_EXEC = 1 << 13  # a flag of a COMM record: by execve(2)

# flags of struct perf_event_attr
_DISABLED, INHERIT, _EXCLUDE_KERNEL, _EXCLUDE_HV = 1 << 0, 1 << 1, 1 << 5, 1 << 6
MAPS, _COMM, _TASK = 1 << 8 | 1 << 17 | 1 << 23, 1 << 9 | 1 << 24, 1 << 13
TASKS = _COMM | _TASK
USER_ONLY = _EXCLUDE_KERNEL | _EXCLUDE_HV
_SAMPLE_ID_ALL, _USE_CLOCKID = 1 << 18, 1 << 25
_CLOCK_MONOTONIC = 1

_NUMBERS = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "s390x": 331}
_CLOEXEC = 1 << 3
_ATTR_SIZE = 136
_ENABLE, _DISABLE, _SET_OUTPUT = 0x2400, 0x2401, 0x2405  # _IO('$', n)
_HEAD = struct.Struct("@Q")
_LOST = struct.Struct("@QQ")  # what read(2) gives: the count, and the lost
_HEAD_AT, _TAIL_AT = 1024, 1032  # in the first page: data_head, data_tail
HEADER = struct.Struct("=IHH")  # type, misc, size of a record

_libc = ctypes.CDLL(None, use_errno=True)


def open_event(kind: int, config: int, sample: int, flags: int, *, pid: int, cpu: int, form: int = 0) -> int:
    """A descriptor of an event that is not enabled yet; times are of CLOCK_MONOTONIC. `form` is what read(2) of it
    gives. Raises OSError.
    """
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"perf_event_open is not known on {platform.machine()}")
    attr = bytearray(_ATTR_SIZE)
    flags |= _DISABLED | _SAMPLE_ID_ALL | _USE_CLOCKID
    struct.pack_into("=IIQQQQQ", attr, 0, kind, _ATTR_SIZE, config, 1, sample, form, flags)
    struct.pack_into("=i", attr, 92, _CLOCK_MONOTONIC)
    buffer = (ctypes.c_char * _ATTR_SIZE).from_buffer(attr)
    long = ctypes.c_long
    fd = _libc.syscall(long(number), buffer, long(pid), long(cpu), long(-1), long(_CLOEXEC))
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(fd)


def set_output(fd: int, ring: int) -> None:
    """The samples of `fd` go into the ring of the event `ring`, which is on the same CPU. Raises OSError."""
    fcntl.ioctl(fd, _SET_OUTPUT, ring)


def enable(fd: int) -> None:
    """Samples come from now on."""
    fcntl.ioctl(fd, _ENABLE, 0)


def disable(fd: int) -> None:
    """Samples nothing from here on; what it has can still be read."""
    fcntl.ioctl(fd, _DISABLE, 0)


def online_cpus() -> list[int]:
    """The CPUs that the kernel runs things on."""
    with open("/sys/devices/system/cpu/online") as file:
        found: list[int] = []
        for part in file.read().strip().split(","):
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    return found


@contextlib.contextmanager
def owning(fd: int) -> Iterator[None]:
    """Around what maps a descriptor that was handed over: closes it where that fails."""
    try:
        yield
    except BaseException:
        os.close(fd)
        raise


class PerfRing:
    """The ring of one event, mapped. `size` in bytes, a power of two of pages; the same for whoever maps it. The
    descriptor is its own: it closes it, too where it cannot be mapped. Raises OSError.
    """

    cut = False

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        with owning(fd):
            self.memory = mmap.mmap(fd, mmap.PAGESIZE + size)

    def close(self) -> None:
        """The kernel frees it once nobody has it."""
        self.memory.close()
        os.close(self.fd)

    def head(self) -> int:
        """How far the kernel has written, bytes since the beginning."""
        return int(_HEAD.unpack_from(self.memory, _HEAD_AT)[0])

    def tail(self) -> int:
        """How far it was read."""
        return int(_HEAD.unpack_from(self.memory, _TAIL_AT)[0])

    def copy(self, tail: int, head: int) -> bytes:
        """The records between."""
        first, last = tail % self.size, head % self.size
        page = mmap.PAGESIZE
        if first < last:
            return self.memory[page + first : page + last]
        return self.memory[page + first : page + self.size] + self.memory[page : page + last]

    def consumed(self, head: int) -> None:
        """What is before `head` may be overwritten."""
        _HEAD.pack_into(self.memory, _TAIL_AT, head)


class Shared(Protocol):
    """Memory that the kernel, the daemon and the recorder share: `size` bytes of it, by a descriptor."""

    fd: int
    size: int

    def close(self) -> None:
        """It lives as long as somebody has it."""


class Readable(Shared, Protocol):
    """A ring, as a reader sees it: see PerfRing. `cut`: what was copied last ends before one that was being written."""

    cut: bool

    def head(self) -> int:
        """How far it was written."""

    def tail(self) -> int:
        """How far it was read."""

    def copy(self, tail: int, head: int) -> bytes:
        """What is between, or the part of it that is whole."""

    def consumed(self, head: int) -> None:
        """It was read up to `head`."""


def take(rings: Sequence[Readable], barrier: Barrier) -> list[bytes]:
    """What the kernel has written into each of `rings` and was not taken yet: whole records."""
    spans = [(ring.tail(), ring.head()) for ring in rings]
    if all(tail == head for tail, head in spans):
        return [b""] * len(rings)
    barrier.run()  # the heads were read before the records are (perf_event.h, data_head)
    taken = [ring.copy(tail, head) if tail != head else b"" for ring, (tail, head) in zip(rings, spans, strict=True)]
    barrier.run()  # and these before the kernel may overwrite them
    for ring, (tail, _), data in zip(rings, spans, taken, strict=True):
        if data:
            ring.consumed(tail + len(data))
    return taken


@dataclass(frozen=True, slots=True)
class Row:
    """One record: its type and flags, its bytes without the header."""

    type: int
    misc: int
    body: bytes


def rows(data: bytes) -> Iterator[Row]:
    """The records in what was taken."""
    at = 0
    while at < len(data):
        kind, misc, size = HEADER.unpack_from(data, at)
        yield Row(kind, misc, data[at + HEADER.size : at + size])
        at += size


class LostCount:
    """Of the samples of an event, opened with FORMAT_LOST, that found no room in a ring. The kernel writes LOST
    records too, but the last of them only before the next sample, which may never come.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._ever = 0

    def more(self) -> int:
        """How many since this was asked last."""
        ever = int(_LOST.unpack(os.read(self.fd, _LOST.size))[1])
        missing, self._ever = ever - self._ever, ever
        return missing


def close_rings(rings: Iterable[tuple[str, Shared]]) -> None:
    """Closes rings that have roles."""
    for _, ring in rings:
        ring.close()


def close_all(fds: Iterable[int]) -> None:
    """Closes descriptors."""
    for fd in fds:
        os.close(fd)


def remedy(error: OSError) -> EvidenceError:
    """Why samples cannot be had, and what helps."""
    if error.errno in (errno.EACCES, errno.EPERM):
        try:
            with open("/proc/sys/kernel/perf_event_paranoid") as file:
                level = int(file.read())
        except OSError:
            level = 2
        if level > 2:
            return EvidenceError(f"kernel.perf_event_paranoid is {level}", "sysctl kernel.perf_event_paranoid=2")
        if os.geteuid() == 0:
            return EvidenceError("perf_event_open is not permitted", "it takes CAP_PERFMON and CAP_IPC_LOCK")
        return EvidenceError("perf_event_open is not permitted", "run as root, or with CAP_PERFMON and CAP_IPC_LOCK")
    if error.errno == errno.ENOSYS:
        return EvidenceError("there is no perf_event_open here", "a container needs seccomp to allow it")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return EvidenceError("there are too few descriptors", "raise ulimit -n")
    return EvidenceError(f"perf_event_open fails: {error.strerror}", "look at dmesg")
