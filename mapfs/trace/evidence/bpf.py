"""bpf(2): small programs that the kernel runs at its tracepoints, the ring that they write samples into, and values
that they share with user space.

A sample costs the thread in whose course it is taken half of what one of perf_event_open(2) costs, and all CPUs write
into one ring. Everything hangs on descriptors: nothing is left behind however a process ends.
"""

import ctypes
import mmap
import os
import platform
import struct

from mapfs.errors import EvidenceError
from mapfs.trace.evidence import perf

_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
_MAP_CREATE, _PROG_LOAD = 0, 5
_ARRAY, _RINGBUF, _MMAPABLE = 2, 27, 1 << 10
_TRACEPOINT = 5  # a type of programs
_MAP = struct.Struct("=IIIII")  # type, key and value size, entries, flags
_PROGRAM = struct.Struct("=IIQQIIQII16s")  # type, instructions, license, log, kernel version, flags, name
_ATTR_SIZE = 128
_LOG_SIZE = 1 << 16
_INSTRUCTION = struct.Struct("=BBhi")
_POSITION = struct.Struct("@Q")
_HEADER = 8  # bytes before each record in a ring: its length, and where it is
_BUSY = 1 << 31  # in a length: it is being written

_libc = ctypes.CDLL(None, use_errno=True)


def ring_of(size: int) -> int:
    """The descriptor of a new ring of `size` bytes, a power of two of pages. Raises OSError."""
    return _bpf(_MAP_CREATE, _MAP.pack(_RINGBUF, 0, 0, size, 0))


def values_of(count: int) -> int:
    """The descriptor of `count` new numbers of 64 bits, all 0. Raises OSError."""
    return _bpf(_MAP_CREATE, _MAP.pack(_ARRAY, 4, 8 * count, 1, _MMAPABLE))


def load(program: bytes) -> int:
    """The descriptor of a program for tracepoints. Raises OSError, with what the verifier said as its file name."""
    code = ctypes.create_string_buffer(program, len(program))
    terms, log = ctypes.create_string_buffer(b"GPL"), ctypes.create_string_buffer(_LOG_SIZE)
    where = ctypes.addressof(code), ctypes.addressof(terms), ctypes.addressof(log)
    try:
        return _bpf(
            _PROG_LOAD,
            _PROGRAM.pack(
                _TRACEPOINT,
                len(program) // _INSTRUCTION.size,
                where[0],
                where[1],
                1,
                len(log),
                where[2],
                0,
                0,
                b"mapfs",
            ),
        )
    except OSError as error:
        said = log.value.decode(errors="replace").strip()
        raise OSError(error.errno, error.strerror, said or None) from error


def _bpf(command: int, attr: bytes) -> int:
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(0, f"bpf(2) is not known on {platform.machine()}")
    buffer = ctypes.create_string_buffer(attr, _ATTR_SIZE)
    made = _libc.syscall(ctypes.c_long(number), ctypes.c_long(command), buffer, ctypes.c_long(_ATTR_SIZE))
    if made < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(made)


def instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One, of which `target` and `source` are numbers of registers (linux/bpf.h, struct bpf_insn)."""
    return _INSTRUCTION.pack(code, source << 4 | target, offset, value)


def wide(target: int, value: int, source: int = 0) -> bytes:
    """Two: a number of 64 bits into a register; with `source` a map, or a place in its value."""
    low = value & 0xFFFFFFFF
    signed = low - (1 << 32) if low >> 31 else low
    return instruction(0x18, target, source, 0, signed) + instruction(0, 0, 0, 0, value >> 32)


class Values:
    """Numbers that programs and processes share; the descriptor is its own, as that of a `PerfRing`. Raises OSError."""

    def __init__(self, fd: int, count: int) -> None:
        self.fd = fd
        self.size = 8 * count
        with perf.owning(fd):
            self._memory = mmap.mmap(fd, mmap.PAGESIZE)

    def __getitem__(self, number: int) -> int:
        return int(_POSITION.unpack_from(self._memory, 8 * number)[0])

    def __setitem__(self, number: int, value: int) -> None:
        _POSITION.pack_into(self._memory, 8 * number, value)

    def close(self) -> None:
        """They live as long as somebody has them."""
        self._memory.close()
        os.close(self.fd)


class SampleRing:
    """A ring, mapped: records of `record` bytes each. It is read as a `PerfRing` is. Raises OSError."""

    def __init__(self, fd: int, size: int, record: int) -> None:
        self.fd = fd
        self.size = size
        self.cut = False
        self._length = struct.Struct(f"@I{_HEADER - 4 + record}x")
        with perf.owning(fd):
            self._read = mmap.mmap(fd, mmap.PAGESIZE)
            self._written = mmap.mmap(fd, mmap.PAGESIZE + 2 * size, prot=mmap.PROT_READ, offset=mmap.PAGESIZE)

    def head(self) -> int:
        """How far programs have reserved room, bytes since the beginning."""
        return int(_POSITION.unpack_from(self._written)[0])

    def tail(self) -> int:
        """How far it was read."""
        return int(_POSITION.unpack_from(self._read)[0])

    def copy(self, tail: int, head: int) -> bytes:
        """The records between, with their headers, up to one that is still being written."""
        start = mmap.PAGESIZE + tail % self.size  # its memory is mapped twice, one after the other
        data = self._written[start : start + head - tail]
        self.cut = False
        for number, (length,) in enumerate(self._length.iter_unpack(data)):
            if length & _BUSY:
                self.cut = True
                return data[: number * self._length.size]
        return data

    def consumed(self, head: int) -> None:
        """What is before `head` may be overwritten."""
        _POSITION.pack_into(self._read, 0, head)

    def close(self) -> None:
        """The kernel frees it once nobody has it."""
        self._read.close()
        self._written.close()
        os.close(self.fd)


def remedy(error: OSError) -> EvidenceError:
    """Why programs cannot be had, and what helps."""
    if error.filename:
        return EvidenceError(f"the kernel's verifier refused a program: {error.filename}", "tell the developers")
    if os.geteuid() == 0:
        return EvidenceError(f"bpf(2) fails: {error.strerror}", "it takes CAP_BPF and CAP_PERFMON, and no lockdown(7)")
    return EvidenceError("bpf(2) is not permitted", "run as root")
