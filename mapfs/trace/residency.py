"""How much of an open file is in the page cache: cachestat(2), from Linux 6.5 on."""

import ctypes
from dataclasses import dataclass

_NUMBER = 451  # the same on every architecture
_libc = ctypes.CDLL(None, use_errno=True)


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Stat(ctypes.Structure):
    _fields_ = (
        ("cache", ctypes.c_uint64),
        ("dirty", ctypes.c_uint64),
        ("writeback", ctypes.c_uint64),
        ("evicted", ctypes.c_uint64),
        ("recently_evicted", ctypes.c_uint64),
    )


@dataclass(frozen=True, slots=True)
class Residency:
    """Pages of one file in the page cache, and how many of them are dirty."""

    resident: int
    dirty: int


def residency(fd: int) -> Residency | None:
    """Of the whole file behind `fd`; None where this kernel cannot tell, or this user may not know."""
    whole, found = _Range(0, 0), _Stat()
    if _libc.syscall(
        ctypes.c_long(_NUMBER), ctypes.c_int(fd), ctypes.byref(whole), ctypes.byref(found), ctypes.c_uint(0)
    ):
        return None
    return Residency(int(found.cache), int(found.dirty))
