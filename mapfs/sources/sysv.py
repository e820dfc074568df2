"""`sysv:KEY` or `sysv:ID`: a segment of System V shared memory (shmget(2)), as `ipcs -m` lists them.

By the package sysv_ipc, used with care: its read() of nothing gives everything, its buffer can be written even where
the segment is attached read-only (which would kill the process), outlives a detach, and its errors carry no errno.
So the buffer is taken once, made read-only, bounded by the segment, and given back before the segment is.
"""

import contextlib
import errno
import importlib
import os
import re
import stat
from collections.abc import Hashable
from typing import Any

from mapfs.errors import SourceError, SpecError
from mapfs.sources.base import Buffer, Entry, Source
from mapfs.sources.spec import Spec, is_set
from mapfs.units import parse_size

_KEY = re.compile(r"0x([0-9a-f]{1,8})", re.ASCII | re.IGNORECASE)
_ID = re.compile(r"\d{1,10}", re.ASCII)
_LAST_ID = (1 << 31) - 1
_READ, _WRITE = 0o400, 0o600


class SegmentSource(Source):
    """The bytes of an attached segment, whose size never changes; detaches it in the end, and removes it if asked.

    Thread-safe: a slice of a buffer is copied in one go, and nothing detaches while a read runs.
    """

    def __init__(self, segment: Any, what: str, *, writable: bool, removed: bool) -> None:
        self._segment = segment
        self._what = what
        self._removed = removed
        self.writable = writable
        whole = memoryview(segment)
        self._view = whole if writable else whole.toreadonly()
        self._size = len(whole)
        mode = stat.S_IFREG | segment.mode & 0o666
        self._entry = Entry(mode, self._size, uid=segment.uid, gid=segment.gid)

    @property
    def size(self) -> int:
        return self._size

    def version(self) -> Hashable:
        return self._size  # not None: others write it, and nothing tells of that

    def entry(self) -> Entry:
        return self._entry

    def read(self, offset: int, size: int) -> Buffer:
        return bytes(self._view[offset : offset + size])

    def try_read(self, offset: int, size: int) -> Buffer:
        return bytes(self._view[offset : offset + size])

    def write(self, offset: int, data: Buffer) -> None:
        if not self.writable:
            super().write(offset, data)
        if offset + len(data) > self._size:
            raise SourceError(f"{self._what} ends at {self._size} and cannot grow", errno.ENOSPC)
        self._view[offset : offset + len(data)] = memoryview(data).cast("B")

    def resize(self, size: int) -> None:
        if size != self._size:
            raise SourceError(f"{self._what} has {self._size} bytes for good (shmget(2))", errno.EINVAL)

    def close(self) -> None:
        self._view.release()
        if self._removed:
            with contextlib.suppress(_package().Error, OSError):  # somebody else was first
                self._segment.remove()
        self._segment.detach()


def open_sysv(spec: Spec) -> Source:
    """The segment with KEY, as 0x…, or ID. Raises SourceError where it cannot be attached."""
    create, removed = is_set(spec, "create"), is_set(spec, "remove")
    writable = is_set(spec, "rw") or create
    key, number = _KEY.fullmatch(spec.arg), _ID.fullmatch(spec.arg)
    if key is None and (number is None or int(number[0]) > _LAST_ID):
        raise SpecError(f"{spec.arg!r} is no System V segment; write its key as 0x1f or its ID as 42 (ipcs -m)")
    if key is not None and not int(key[1], 16):
        raise SpecError("the key 0x0 is that of every private segment (IPC_PRIVATE); write the ID (ipcs -m)")
    if create and key is None:
        raise SpecError("create makes a segment with a key, as in sysv:0x1f; the kernel chooses the ID")
    if create != ("size" in spec.options):
        raise SpecError("create and size= go together: a System V segment is made with its size, and keeps it")
    size = parse_size(spec.options["size"] or "") if create else 0
    if create and not size:
        raise SpecError("a System V segment has at least one byte; write size=4K, for instance")
    what = f"System V segment {spec.arg}"
    sysv_ipc = _package()
    try:
        if key is None:
            segment = sysv_ipc.attach(int(spec.arg), None, 0 if writable else sysv_ipc.SHM_RDONLY)
        else:
            segment = sysv_ipc.SharedMemory(
                int(key[1], 16), sysv_ipc.IPC_CREAT if create else 0, _WRITE if writable else _READ, size
            )
    except (sysv_ipc.Error, ValueError, MemoryError, OSError) as error:
        raise _refusal(error, what, size, writable=writable) from error
    return _served(segment, what, writable=writable, removed=removed)


def _package() -> Any:
    """sysv_ipc, which is optional and has no annotations. Raises SourceError where it is missing."""
    try:
        return importlib.import_module("sysv_ipc")
    except ImportError as error:
        raise SourceError("sysv: needs the package sysv_ipc; install it with pip install 'mapfs[sysv]'") from error


def _served(segment: Any, what: str, *, writable: bool, removed: bool) -> Source:
    try:
        if removed and os.geteuid() not in (0, segment.uid, segment.cuid):
            raise SourceError(f"{what} belongs to another user, who alone may remove it; leave remove out")
        return SegmentSource(segment, what, writable=writable, removed=removed)
    except BaseException:
        segment.detach()
        raise


def _refusal(error: Exception, what: str, size: int, *, writable: bool) -> SourceError:
    """An error of sysv_ipc as a sentence."""
    sysv_ipc = _package()
    if isinstance(error, sysv_ipc.PermissionsError):
        rights = "read and written" if writable else "read"
        return SourceError(f"{what} may not be {rights} by this user; ipcs -m shows who may", errno.EACCES)
    if isinstance(error, sysv_ipc.ExistentialError) or (isinstance(error, ValueError) and not size):
        return SourceError(f"there is no {what}; ipcs -m lists what there is", errno.ENOENT)
    if isinstance(error, ValueError):
        return SourceError(f"{what} exists with less than {size} bytes, or so many cannot be had", errno.EINVAL)
    if isinstance(error, MemoryError):
        return SourceError(f"{what} of {size} bytes cannot be had; see the limits by ipcs -lm", errno.ENOMEM)
    return SourceError(f"{what} cannot be attached: {error}", getattr(error, "errno", None) or errno.ENOSPC)
