"""Between pyfuse3's world and the tree's: errors into errnos, entries into attributes."""

import errno
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import pyfuse3
import trio

from mapfs.errors import errno_of
from mapfs.fuse import wire
from mapfs.fuse.shortage import Shortage
from mapfs.sources.base import Entry
from mapfs.tree.nodes import Node
from mapfs.units import PAGE_SIZE

log = logging.getLogger("mapfs")
_U32, _U64 = (1 << 32) - 1, (1 << 64) - 1
_P = ParamSpec("_P")
_R = TypeVar("_R")


class _Serving(Protocol):
    """Whose methods are operations."""

    shortage: Shortage


_S = TypeVar("_S", bound=_Serving)
_Operation = Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]]


def translated(operation: _Operation[_S, _P, _R]) -> _Operation[_S, _P, _R]:
    """Turns whatever `operation` raises into the errno that the client gets; logs what nobody expected."""

    @functools.wraps(operation)
    async def wrapper(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return await operation(self, *args, **kwargs)
        except (pyfuse3.FUSEError, trio.Cancelled):
            raise
        except Exception as error:
            name = operation.__name__
            if not self.shortage.met(name, error):
                if not (isinstance(error, OSError) or hasattr(error, "errno")):
                    log.exception("%s failed", name)
                elif errno_of(error) == errno.EIO:
                    self.shortage.failed(name, error)
            raise pyfuse3.FUSEError(errno_of(error)) from error

    return wrapper


def attributes(node: Node, entry: Entry) -> pyfuse3.EntryAttributes:
    """`entry` in pyfuse3's form."""
    made = pyfuse3.EntryAttributes()
    made.st_ino = pyfuse3.InodeT(node.inode)
    made.generation = 0
    made.entry_timeout = made.attr_timeout = node.timeout
    made.st_mode = pyfuse3.ModeT(entry.mode)
    made.st_nlink = entry.nlink
    made.st_uid, made.st_gid, made.st_rdev = entry.uid, entry.gid, entry.rdev
    made.st_size, made.st_blksize = entry.size, PAGE_SIZE
    made.st_blocks = _blocks(entry)
    made.st_atime_ns, made.st_mtime_ns, made.st_ctime_ns = entry.atime_ns, entry.mtime_ns, entry.ctime_ns
    return made


def packed_entry(node: Node, entry: Entry) -> bytes:
    """`entry` as the reply to LOOKUP has it (fuse_entry_out)."""
    seconds, rest = _split(node.timeout)
    return wire.TIMEOUTS.pack(node.inode, 0, seconds, seconds, rest, rest) + _packed(node, entry)


def packed_attributes(node: Node, entry: Entry) -> bytes:
    """`entry` as the reply to GETATTR has it (fuse_attr_out)."""
    return wire.ATTR_TIMEOUT.pack(*_split(node.timeout), 0) + _packed(node, entry)


def _packed(node: Node, entry: Entry) -> bytes:
    (atime, atime_ns), (mtime, mtime_ns), (ctime, ctime_ns) = (
        divmod(time, 10**9) for time in (entry.atime_ns, entry.mtime_ns, entry.ctime_ns)
    )
    return wire.ATTR.pack(
        node.inode, entry.size, _blocks(entry), atime & _U64, mtime & _U64, ctime & _U64, atime_ns, mtime_ns, ctime_ns,
        entry.mode, entry.nlink, entry.uid, entry.gid, entry.rdev & _U32, PAGE_SIZE, 0,
    )  # fmt: skip


def _split(timeout: float) -> tuple[int, int]:
    """Seconds, and the ns beyond them."""
    return int(timeout), int(timeout % 1 * 1e9)


def _blocks(entry: Entry) -> int:
    return -(-entry.size // 512) if entry.blocks is None else entry.blocks
