"""The operations that make, move and remove names, and change attributes: in writable mirrors alone.

Each translates a call into one of the tree. What takes long runs on a thread that may wait.
"""

import errno
import functools
import os
import stat
from collections.abc import Callable
from typing import Any, TypeVar

import pyfuse3
import trio

from mapfs.fuse.files import Files
from mapfs.fuse.notifier import Notifier
from mapfs.fuse.shortage import Shortage
from mapfs.fuse.translate import attributes, translated
from mapfs.sources.base import Changes, Entry
from mapfs.tree.filenodes import FileNode
from mapfs.tree.mirrored import MirrorDirectory, MirrorNode
from mapfs.tree.nodes import DirectoryNode, Node
from mapfs.tree.tree import Tree

_R = TypeVar("_R")
TASKS = 1000  # requests that pyfuse3 works on at once; control files keep theirs waiting


async def waiting(call: Callable[..., _R], *args: Any) -> _R:
    """`call(*args)` on a thread that may wait; given up if the mount ends meanwhile.

    There may be as many as pyfuse3 has tasks: a source that hangs is not to use up the threads of the others.
    """
    return await trio.to_thread.run_sync(call, *args, abandon_on_cancel=True, limiter=_limiter())


@functools.lru_cache
def _limiter() -> trio.CapacityLimiter:
    return trio.CapacityLimiter(TASKS)


def refused(number: int) -> OSError:
    """The error for what cannot be done, by its errno."""
    return OSError(number, os.strerror(number))


def resized(node: FileNode, size: int) -> None:
    """Cuts the file off, or continues it; may wait."""
    with node.pushing:  # a page that is pushed past the new end would make the kernel's file longer
        node.resize(size)


class Naming(pyfuse3.Operations):
    """The writing half of the name space. Every name is in a mirror, or the answer is EROFS."""

    def __init__(self, tree: Tree, files: Files, notifier: Notifier, shortage: Shortage) -> None:
        super().__init__()
        self.shortage = shortage
        self._tree = tree
        self._files = files
        self._notifier = notifier

    async def _attributes(self, node: Node, entry: Entry) -> pyfuse3.EntryAttributes:
        """What the kernel is told of `node`; pages of a content that is no more are dropped before."""
        if isinstance(node, FileNode):
            self._files.refresh(node)
            if node.stale and self._notifier.works:  # with the plain link the next opening drops them
                generation = node.generation
                await waiting(self._notifier.drop, node)
                node.cached = max(node.cached, generation)  # until then whoever opens it has to drop them too
        return attributes(node, entry)

    async def _told(self, node: Node, entry: Entry) -> pyfuse3.EntryAttributes:
        """The same, where the kernel is told of the node by name."""
        node.lookups += 1
        return await self._attributes(node, entry)

    def _directory(self, inode: int) -> DirectoryNode:
        node = self._tree[inode]
        if not isinstance(node, DirectoryNode):
            raise refused(errno.ENOTDIR)
        return node

    def _writable(self, inode: int) -> MirrorDirectory:
        node = self._directory(inode)
        if not isinstance(node, MirrorDirectory):
            raise refused(errno.EROFS)
        return node

    @translated
    async def setattr(
        self, inode: int, attr: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields, fh: int | None, ctx: Any
    ) -> pyfuse3.EntryAttributes:
        node = self._tree[inode]
        if not node.writable or not isinstance(node, FileNode | MirrorNode):
            raise refused(errno.EROFS)
        if fields.update_size:
            if not isinstance(node, FileNode):
                raise refused(errno.EISDIR if isinstance(node, DirectoryNode) else errno.EINVAL)
            await self._resize(node, attr.st_size)
        changes = Changes(
            mode=attr.st_mode if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            atime_ns=attr.st_atime_ns if fields.update_atime else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
        )
        if changes != Changes() and not (fields.update_size and changes == Changes(mtime_ns=changes.mtime_ns)):
            node.change(changes)
        return await self._attributes(node, node.entry())

    async def _resize(self, node: FileNode, size: int) -> None:
        if node.opened is None and node.slow:
            node.opened_as(await waiting(node.new_source))
        node.acquire(writing=True)
        try:
            await waiting(resized, node, size)
        finally:
            node.release(writing=True)

    @translated
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: Any
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        directory = self._writable(parent_inode)
        try:
            node, entry = directory.create(name, mode, (ctx.uid, ctx.gid))
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
            found, entry = directory.look_up(name)
            if not isinstance(found, FileNode):
                raise refused(errno.EISDIR if stat.S_ISDIR(entry.mode) else errno.ENXIO) from None
            told = await self._told(found, entry)
            return await self._open(found, flags, ctx.pid), told
        opened = await self._open(node, flags & ~os.O_TRUNC, ctx.pid)
        return opened, await self._told(node, entry)

    async def _open(self, node: FileNode, flags: int, tid: int) -> pyfuse3.FileInfo:
        raise NotImplementedError

    @translated
    async def mknod(self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: Any) -> pyfuse3.EntryAttributes:
        return await self._told(*self._writable(parent_inode).make(name, mode, rdev, (ctx.uid, ctx.gid)))

    @translated
    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: Any) -> pyfuse3.EntryAttributes:
        made = self._writable(parent_inode).make(name, mode | stat.S_IFDIR, 0, (ctx.uid, ctx.gid))
        return await self._told(*made)

    @translated
    async def symlink(self, parent_inode: int, name: bytes, target: bytes, ctx: Any) -> pyfuse3.EntryAttributes:
        return await self._told(*self._writable(parent_inode).symlink(name, target, (ctx.uid, ctx.gid)))

    @translated
    async def link(self, inode: int, new_parent_inode: int, new_name: bytes, ctx: Any) -> pyfuse3.EntryAttributes:
        return await self._told(*self._writable(new_parent_inode).link(self._tree[inode], new_name))

    @translated
    async def unlink(self, parent_inode: int, name: bytes, ctx: Any) -> None:
        self._writable(parent_inode).unlink(name, directory=False)

    @translated
    async def rmdir(self, parent_inode: int, name: bytes, ctx: Any) -> None:
        self._writable(parent_inode).unlink(name, directory=True)

    @translated
    async def rename(
        self, parent_inode_old: int, name_old: bytes, parent_inode_new: int, name_new: bytes, flags: int, ctx: Any
    ) -> None:
        self._writable(parent_inode_old).rename(name_old, self._writable(parent_inode_new), name_new, flags)

    @translated
    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: Any) -> None:
        raise refused(self._no_xattr(inode))

    @translated
    async def removexattr(self, inode: int, name: bytes, ctx: Any) -> None:
        raise refused(self._no_xattr(inode))

    def _no_xattr(self, inode: int) -> int:
        return errno.EOPNOTSUPP if self._tree[inode].writable else errno.EROFS

    @translated
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        directory = self._listed(fh)
        if isinstance(directory, MirrorDirectory):
            with_sync = directory.mirror.writable
            await waiting(with_sync.sync, directory.backing_path())

    def _listed(self, fh: int) -> DirectoryNode:
        raise NotImplementedError
