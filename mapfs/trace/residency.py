"""What of an open file is in the page cache: cachestat(2) counts, mincore(2) says which pages.

cachestat is there from Linux 6.5 on. Both tell only whoever owns the file, may write it, or is root: mincore says of
everybody else's file that all of it is resident, so it is not asked where cachestat refuses.
"""

import ctypes
import mmap
import os
from dataclasses import dataclass

from mapfs.units import PAGE_SIZE, page_count

_CACHESTAT = 451  # the same on every architecture
_WINDOW = 1 << 30  # bytes that are looked at together: one that has no page in the cache costs one call
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p


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


def residency(fd: int, offset: int = 0, length: int = 0) -> Residency | None:
    """Of `length` bytes at `offset` of the file behind `fd`, of all of it where `length` is 0; None where this kernel
    cannot tell, or this user may not know.
    """
    asked, found = _Range(offset, length), _Stat()
    if _libc.syscall(
        ctypes.c_long(_CACHESTAT), ctypes.c_int(fd), ctypes.byref(asked), ctypes.byref(found), ctypes.c_uint(0)
    ):
        return None
    return Residency(int(found.cache), int(found.dirty))


def resident_pages(fd: int) -> list[range] | None:
    """The pages of the file behind `fd` that are in the page cache and up to date, as runs; None where it cannot be
    known. Time grows with what is resident, and with a call for each GiB. Raises OSError where it cannot be mapped.
    """
    size = os.fstat(fd).st_size
    runs: list[range] = []
    for offset in range(0, size, _WINDOW):
        length = min(_WINDOW, size - offset)
        counted = residency(fd, offset, length)
        if counted is None:
            return None
        if counted.resident:
            _add_runs(runs, offset // PAGE_SIZE, _mincore(fd, offset, length))
    return runs


def _mincore(fd: int, offset: int, length: int) -> bytes:
    """A byte a page, 1 where it is resident. The mapping that this takes touches no page."""
    at = _libc.mmap(
        None, ctypes.c_size_t(length), mmap.PROT_READ, mmap.MAP_SHARED, ctypes.c_int(fd), ctypes.c_int64(offset)
    )
    if at in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        pages = (ctypes.c_ubyte * page_count(length))()
        if _libc.mincore(ctypes.c_void_p(at), ctypes.c_size_t(length), pages):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return bytes(page & 1 for page in pages)
    finally:
        _libc.munmap(ctypes.c_void_p(at), ctypes.c_size_t(length))


def _add_runs(runs: list[range], first: int, pages: bytes) -> None:
    at = pages.find(1)
    while at >= 0:
        end = pages.find(0, at)
        end = len(pages) if end < 0 else end
        if runs and runs[-1].stop == first + at:
            runs[-1] = range(runs[-1].start, first + end)
        else:
            runs.append(range(first + at, first + end))
        at = pages.find(1, end)
