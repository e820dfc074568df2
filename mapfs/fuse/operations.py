"""pyfuse3's operations: each translates a call into one of the tree, and the error into an errno.

No policy is made here. An exception that leaves an operation would end the whole mount (pyfuse3), so
`translated` lets none through but FUSEError. `naming` has the operations that change names.
"""

import errno
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyfuse3
import trio

from mapfs.errors import SourceError, lack_of
from mapfs.fuse import wire
from mapfs.fuse.clients import may_command
from mapfs.fuse.demand import Answers, Demand, checked, perform
from mapfs.fuse.files import Files
from mapfs.fuse.listing import Listings
from mapfs.fuse.live import Watcher
from mapfs.fuse.naming import Naming, refused, resized, waiting
from mapfs.fuse.notifier import Notifier
from mapfs.fuse.shortage import Shortage
from mapfs.fuse.translate import translated
from mapfs.sources.base import Buffer, Entry
from mapfs.sources.coherency import Coherency
from mapfs.trace.facts import printable
from mapfs.trace.processes import Threads
from mapfs.trace.ring import Ring
from mapfs.tree.control import ControlFile, Session
from mapfs.tree.filenodes import FileNode
from mapfs.tree.nodes import DirectoryNode, LinkNode, Node
from mapfs.tree.tree import Tree
from mapfs.units import PAGE_SIZE, page_count

_SPEC = b"user.mapfs.spec"
_PLAIN_WAIT = 1.0  # seconds


class Operations(Naming):
    """The name space of one mount, and, for the plain link, its reads and writes."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(
        self,
        tree: Tree,
        files: Files,
        threads: Threads,
        answers: Answers,
        ring: Ring,
        notifier: Notifier,
        watcher: Watcher,
        opening: Callable[[int], None],
        opened: Callable[[FileNode], None],
        released: Callable[[FileNode], None],
        shortage: Shortage,
    ) -> None:
        super().__init__(tree, files, notifier, shortage)
        self.sessions: dict[int, Session] = {}
        self._threads = threads
        self._answers = answers
        self._ring = ring
        self._watcher = watcher
        self._opening = opening
        self.opened = opened
        self.released = released
        self.listings = Listings(files.new_handle)

    # names and attributes

    async def _look_up(self, directory: DirectoryNode, name: bytes) -> tuple[Node, Entry]:
        if not directory.slow:
            return directory.look_up(name)
        return directory.take(name, await waiting(directory.fetch, name))

    @translated
    async def lookup(self, parent_inode: int, name: bytes, ctx: Any) -> pyfuse3.EntryAttributes:
        return await self._told(*await self._look_up(self._directory(parent_inode), name))

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
        if node.slow:
            return await self._attributes(node, await waiting(node.entry))
        return await self._attributes(node, node.entry())

    @translated
    async def readlink(self, inode: int, ctx: Any) -> bytes:
        node = self._tree[inode]
        if not isinstance(node, LinkNode):
            raise refused(errno.EINVAL)
        return node.target()

    @translated
    async def opendir(self, inode: int, ctx: Any) -> int:
        directory = self._directory(inode)
        return self.listings.add(directory, await _names_in(directory))

    @translated
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        listing = self.listings[fh]
        directory = listing.directory
        if listing.due(start_id):
            listing.read(await _names_in(directory))
        listing.given()
        names, given = listing.names or [], False
        for position in range(start_id, len(names)):
            try:
                node, entry = await self._look_up(directory, names[position])
            except OSError as error:
                listing.incomplete()
                if lack_of(error) is None:  # removed since the directory was opened, or hidden
                    continue
                if given:  # the kernel asks for the rest, and is told then
                    break
                raise
            made = await self._attributes(node, entry)
            if not pyfuse3.readdir_reply(token, names[position], made, position + 1):
                if not node.lookups:
                    node.forget()
                break
            node.lookups += 1
            given = True

    @translated
    async def releasedir(self, fh: int) -> None:
        self.listings.remove(fh)

    def _listed(self, fh: int) -> DirectoryNode:
        return self.listings[fh].directory

    @translated
    async def statfs(self, ctx: Any) -> pyfuse3.StatvfsData:
        made = pyfuse3.StatvfsData()
        writable = self._tree.writable()
        if writable is not None:
            there = await waiting(writable.statvfs)
            for name in ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail"):
                setattr(made, name, getattr(there, name))
        else:
            totals = self._tree.totals()
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
            raise refused(errno.ENODATA)
        return spec.encode(errors="surrogateescape")

    @translated
    async def listxattr(self, inode: int, ctx: Any) -> Sequence[bytes]:
        return [_SPEC] if self._tree[inode].spec is not None else []

    # open files

    @translated
    async def open(self, inode: int, flags: int, ctx: Any) -> pyfuse3.FileInfo:
        node = self._tree[inode]
        if isinstance(node, ControlFile):
            return await self._open_control(node, flags, ctx)
        if not isinstance(node, FileNode):
            raise refused(errno.EISDIR if isinstance(node, DirectoryNode) else errno.EINVAL)
        return await self._open(node, flags, ctx.pid)

    async def _open_control(self, node: ControlFile, flags: int, ctx: Any) -> pyfuse3.FileInfo:
        if flags & os.O_ACCMODE != os.O_RDONLY and not node.writable:
            raise refused(errno.EROFS)
        if node.writable and not may_command(ctx.uid, ctx.pid):
            raise refused(errno.EACCES)
        handle = self._files.new_handle()
        self.sessions[handle] = await node.opener(bool(flags & os.O_NONBLOCK))
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(handle), direct_io=True, keep_cache=False)

    def opening(self, tid: int) -> None:
        """The thread `tid` waits for a file to be opened."""
        self._opening(tid)
        self._threads.recheck(tid)

    async def _open(self, node: FileNode, flags: int, tid: int) -> pyfuse3.FileInfo:
        self.opening(tid)
        writing = flags & os.O_ACCMODE != os.O_RDONLY or bool(flags & os.O_TRUNC)
        live = node.terms.coherency is Coherency.LIVE
        if node.removed:
            raise refused(errno.ENOENT)
        if writing and not node.writable:
            raise refused(errno.EROFS)
        if node.opened is None and node.slow:
            node.opened_as(await waiting(node.new_source))
        elif node.opened is not None and node.opened.refreshes and node.terms.coherency is not Coherency.FIXED:
            try:
                await waiting(node.opened.refresh)
            except SourceError as error:
                self.shortage.unopened(printable(node.path()), error)
                raise
        if writing and not node.pushing.acquire(blocking=False):
            await waiting(node.pushing.acquire)  # pages that are being pushed are not to overwrite what is stored next
        idle = not node.opens
        try:
            if node.removed:  # in the meantime
                raise refused(errno.ENOENT)
            handle, keep = self._files.open(node, writing=writing)
        finally:
            if writing:
                node.pushing.release()
        try:
            self.opened(node)
            if flags & os.O_TRUNC:
                await waiting(resized, node, 0)
            if live and idle:
                await waiting(self._watcher.check, node)
        except BaseException:
            self._files.release(handle)
            self.released(node)
            raise
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
        return bytes(await self._performed(Demand(0, 0, file, off, size, 0, time.monotonic_ns())))

    @translated
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Used by the plain link alone, too."""
        session = self.sessions.get(fh)
        if session is not None:
            return await session.write(buf)
        file = self._files.handles[fh]
        await self._performed(Demand(0, 0, file, off, len(buf), 0, time.monotonic_ns(), opcode=wire.WRITE, data=buf))
        return len(buf)

    async def _performed(self, demand: Demand) -> Any:
        source = demand.file.node.source
        assert source is not None, "a handle keeps its source open"
        try:
            data: Buffer | None = None
            if demand.opcode == wire.READ:
                data = source.try_read(demand.offset, demand.size)
                if data is None:
                    await trio.sleep(source.hold(demand.offset, demand.size))
                else:
                    data = checked(data, demand.size)
            if data is None:
                data = await waiting(perform, demand)
        except Exception as error:
            raise pyfuse3.FUSEError(self._answers.record(demand, error)) from error
        else:
            self._answers.record(demand, None)
        finally:
            self._ring.rouse()
        return data

    @translated
    async def flush(self, fh: int) -> None:
        """The kernel has written back what there was before it asks this (close(2))."""

    @translated
    async def fsync(self, fh: int, datasync: bool) -> None:
        file = self._files.handles.get(fh)
        if file is None or not file.node.writers:
            return
        try:
            await waiting(self._flushed, file.node)
        except Exception as error:
            demand = Demand(0, 0, file, 0, 0, 0, time.monotonic_ns(), opcode=wire.WRITE)
            number = self._answers.record(demand, error)
            self._ring.rouse()
            raise pyfuse3.FUSEError(number) from error

    @staticmethod
    def _flushed(node: FileNode) -> None:
        with node.using() as source:
            source.flush()

    @translated
    async def release(self, fh: int) -> None:
        session = self.sessions.pop(fh, None)
        if session is not None:
            session.close()
        elif (file := self._files.handles.get(fh)) is not None:
            self._files.release(fh)
            self.released(file.node)


async def _names_in(directory: DirectoryNode) -> list[bytes]:
    return await waiting(directory.names) if directory.slow else directory.names()
