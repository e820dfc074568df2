"""Another process for the tests: it holds memory, files and descriptors, and does what it is told.

Run as a program of its own, which needs nothing of mapfs: a line of JSON in, `[what, arguments...]`, a line out.
"""

import ctypes
import json
import mmap
import os
import sys
from collections.abc import Callable
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.sbrk.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.sbrk.argtypes = [ctypes.c_long]
kept: list[Any] = []


def map_file(fd: int, size: int, flags: int = mmap.MAP_PRIVATE) -> int:
    """The address of a mapping that stays."""
    address = libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, fd, 0)
    assert address not in (None, ctypes.c_void_p(-1).value), os.strerror(ctypes.get_errno())
    return int(address)


def ready() -> None:
    """Nothing: it has come to its loop."""


def memory(path: str) -> int:
    """The address of anonymous memory with what the file holds."""
    with open(path, "rb") as file:
        content = file.read()
    address = map_file(-1, len(content), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    ctypes.memmove(address, content, len(content))
    return address


def mapped(path: str) -> int:
    """The address of the file, mapped."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return map_file(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def memfd(path: str) -> int:
    """A descriptor of a memfd with what the file holds."""
    fd = os.memfd_create("other")
    with open(path, "rb") as file:
        os.write(fd, file.read())
    return fd


def opened(path: str, flags: int) -> int:
    """A descriptor of the file."""
    return os.open(path, flags)


def deleted(path: str) -> int:
    """A descriptor of the file, which has no name any more."""
    fd = os.open(path, os.O_RDWR)
    os.unlink(path)
    return fd


def poke(address: int, text: str) -> None:
    """Stores text in its memory."""
    ctypes.memmove(address, text.encode(), len(text))


def unmap(address: int, size: int) -> None:
    """Takes memory away."""
    assert libc.munmap(address, size) == 0


def grow(size: int) -> None:
    """Makes the heap larger: sbrk(2) moves its end."""
    assert libc.sbrk(size) != ctypes.c_void_p(-1).value


def pipe() -> list[int]:
    """Both ends of a pipe."""
    return list(os.pipe())


def shared(name: str, path: str) -> None:
    """Makes the object by shm_open(3)."""
    fd = libc.shm_open(name.encode(), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    with open(path, "rb") as file:
        os.write(fd, file.read())
    os.close(fd)


def segment(key: int, path: str) -> int:
    """Makes a System V segment, stays attached to it, and gives its ID."""
    import sysv_ipc  # type: ignore[import-not-found,unused-ignore]  # it has no annotations

    with open(path, "rb") as file:
        content = file.read()
    made = sysv_ipc.SharedMemory(key, sysv_ipc.IPC_CREX, 0o600, len(content))
    made.write(content)
    kept.append(made)
    return int(made.id)


def segment_bytes(offset: int, size: int) -> str:
    """What it sees in its segment, in hex."""
    return str(kept[-1].read(size, offset).hex())


def rebegin() -> None:
    """Runs this program anew in the same process: execve(2)."""
    os.execv(sys.executable, [sys.executable, __file__])  # noqa: S606 -- what is tested is that no process is started


DOES: tuple[Callable[..., object], ...] = (
    ready, memory, mapped, memfd, opened, deleted, poke, unmap, grow, pipe, shared, segment, segment_bytes, rebegin,
)  # fmt: skip

if __name__ == "__main__":
    told = {one.__name__: one for one in DOES}
    unbuffered = os.fdopen(0, "rb", buffering=0)  # what was read ahead would be lost by execve(2)
    for line in iter(unbuffered.readline, b""):
        name, *arguments = json.loads(line)
        print(json.dumps(told[name](*arguments)), flush=True)
