"""pyfuse3's operations: each translates a call into one of the tree, and the error into an errno.

No policy is made here. An exception that leaves an operation would end the whole mount (pyfuse3), so
`translated` lets none through but FUSEError.
"""

import errno
import functools
import logging
import os
import stat
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec, TypeVar

import pyfuse3
import trio

from mapfs.errors import errno_of
from mapfs.fuse.demand import Answers, Demand, checked
from mapfs.fuse.files import Files, OpenFile
from mapfs.sources.base import Buffer, Entry
from mapfs.trace.processes import Threads
from mapfs.trace.ring import Ring
from mapfs.tree.control import ControlFile, Session
from mapfs.tree.nodes import DirectoryNode, FileNode, LinkNode, Node, Tree
from mapfs.units import PAGE_SIZE, page_count

log = logging.getLogger("mapfs")
_SPEC = b"user.mapfs.spec"
_PLAIN_WAIT = 1.0  # seconds
_P = ParamSpec("_P")
_R = TypeVar("_R")


def translated(operation: Callable[_P, Coroutine[Any, Any, _R]]) -> Callable[_P, Coroutine[Any, Any, _R]]:
    """Turns whatever `operation` raises into the errno that the client gets; logs what nobody expected."""

    @functools.wraps(operation)
    async def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return await operation(*args, **kwargs)
        except (pyfuse3.FUSEError, trio.Cancelled):
            raise
        except Exception as error:
            if not isinstance(error, OSError) and not hasattr(error, "errno"):
                log.exception("%s failed", operation.__name__)
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
    made.st_blocks = -(-entry.size // 512) if entry.blocks is None else entry.blocks
    made.st_atime_ns, made.st_mtime_ns, made.st_ctime_ns = entry.atime_ns, entry.mtime_ns, entry.ctime_ns
    return made


class Operations(pyfuse3.Operations):
    """The name space of one mount, and, for the plain link, its reads."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(self, tree: Tree, files: Files, threads: Threads, answers: Answers, ring: Ring) -> None:
        super().__init__()
        self.sessions: dict[int, Session] = {}
        self._tree = tree
        self._files = files
        self._threads = threads
        self._answers = answers
        self._ring = ring
        self._listings: dict[int, tuple[DirectoryNode, list[bytes]]] = {}

    # names and attributes

    def _attributes(self, node: Node, entry: Entry) -> pyfuse3.EntryAttributes:
        if isinstance(node, FileNode):
            self._files.refresh(node)
        return attributes(node, entry)

    def _directory(self, inode: int) -> DirectoryNode:
        node = self._tree[inode]
        if not isinstance(node, DirectoryNode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return node

    @translated
    async def lookup(self, parent_inode: int, name: bytes, ctx: Any) -> pyfuse3.EntryAttributes:
        node, entry = self._directory(parent_inode).look_up(name)
        node.lookups += 1
        return self._attributes(node, entry)

    @translated
    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for inode, count in inode_list:
            try:
                node = self._tree[inode]
            except FileNotFoundError:
                continue
            node.lookups -= count
            if node.lookups <= 0:
                node.lookups = 0
                node.forget()

    @translated
    async def getattr(self, inode: int, ctx: Any) -> pyfuse3.EntryAttributes:
        node = self._tree[inode]
        return self._attributes(node, node.entry())

    @translated
    async def readlink(self, inode: int, ctx: Any) -> bytes:
        node = self._tree[inode]
        if not isinstance(node, LinkNode):
            raise OSError(errno.EINVAL, "not a symbolic link")
        return node.target()

    @translated
    async def opendir(self, inode: int, ctx: Any) -> int:
        handle = self._files.new_handle()
        directory = self._directory(inode)
        self._listings[handle] = (directory, directory.names())
        return handle

    @translated
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        directory, names = self._listings[fh]
        for position in range(start_id, len(names)):
            try:
                node, entry = directory.look_up(names[position])
            except OSError:  # removed since the directory was opened, or hidden
                continue
            made = self._attributes(node, entry)
            if not pyfuse3.readdir_reply(token, names[position], made, position + 1):
                if not node.lookups:
                    node.forget()
                break
            node.lookups += 1

    @translated
    async def releasedir(self, fh: int) -> None:
        self._listings.pop(fh, None)

    @translated
    async def statfs(self, ctx: Any) -> pyfuse3.StatvfsData:
        totals = self._tree.totals()
        made = pyfuse3.StatvfsData()
        made.f_bsize = made.f_frsize = PAGE_SIZE
        made.f_blocks = page_count(totals.bytes)
        made.f_bfree = made.f_bavail = 0
        made.f_files = totals.files
        made.f_ffree = made.f_favail = 0
        made.f_namemax = 255
        return made

    @translated
    async def getxattr(self, inode: int, name: bytes, ctx: Any) -> bytes:
        spec = self._tree[inode].spec
        if name != _SPEC or spec is None:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        return spec.encode(errors="surrogateescape")

    @translated
    async def listxattr(self, inode: int, ctx: Any) -> Sequence[bytes]:
        return [_SPEC] if self._tree[inode].spec is not None else []

    # open files

    @translated
    async def open(self, inode: int, flags: int, ctx: Any) -> pyfuse3.FileInfo:
        node = self._tree[inode]
        if flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if isinstance(node, ControlFile):
            session = await node.opener(bool(flags & os.O_NONBLOCK))
            handle = self._files.new_handle()
            self.sessions[handle] = session
            return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(handle), direct_io=True, keep_cache=False)
        if not isinstance(node, FileNode):
            raise OSError(errno.EISDIR if stat.S_ISDIR(node.entry().mode) else errno.EINVAL, "not a file")
        self._threads.recheck(ctx.pid)
        handle, keep = self._files.open(node)
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(handle), keep_cache=keep)

    @translated
    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Used by the plain link alone: the own link answers READ itself (`pager`)."""
        session = self.sessions.get(fh)
        if session is not None:
            # libfuse tells nobody of an interruption: a reader that waits must get an answer, or it cannot be killed
            with trio.move_on_after(_PLAIN_WAIT):
                return await session.read(off, size)
            raise OSError(errno.EAGAIN, "nothing has happened yet")
        file = self._files.handles[fh]
        size = max(0, min(size, file.node.size - off))
        demand = Demand(0, 0, file, off, size, 0, time.monotonic_ns())
        try:
            data = await self._bytes(file, off, size)
        except Exception as error:
            raise pyfuse3.FUSEError(self._answers.record(demand, error)) from error
        else:
            self._answers.record(demand, None)
        finally:
            self._ring.rouse()
        return data

    @staticmethod
    async def _bytes(file: OpenFile, offset: int, size: int) -> bytes:
        source = file.node.source
        assert source is not None, "a handle keeps its source open"
        data: Buffer | None = source.try_read(offset, size)
        if data is None:
            data = await trio.to_thread.run_sync(source.read, offset, size, abandon_on_cancel=True)
        return bytes(checked(data, size))

    @translated
    async def flush(self, fh: int) -> None:
        """Nothing is buffered here."""

    @translated
    async def fsync(self, fh: int, datasync: bool) -> None:
        """Nothing is buffered here."""

    @translated
    async def release(self, fh: int) -> None:
        session = self.sessions.pop(fh, None)
        if session is not None:
            session.close()
        else:
            self._files.release(fh)


async def _refused(*_: Any, **__: Any) -> Any:
    """Whatever would change something: every mount is read-only."""
    raise pyfuse3.FUSEError(errno.EROFS)


for _name in (
    "setattr", "create", "mknod", "mkdir", "symlink", "link", "unlink", "rmdir", "rename", "setxattr", "removexattr",
):  # fmt: skip
    setattr(Operations, _name, _refused)
