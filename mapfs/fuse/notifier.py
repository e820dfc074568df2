"""Telling the kernel what nobody asked for: drop these pages, here are others, this name is gone.

The kernel waits for the lock of a page whose READ is in flight, and writes a dirty page back before it drops it,
which takes answers of the pagers. So these calls may wait, and come from threads that may: never from a pager,
never from the trio thread. Each call that concerns pages is recorded like a request. With the plain link the
kernel cannot be told (pyfuse3 has it drop a file whose mtime changed), and the calls do nothing.
"""

import errno
import os
import time

from mapfs.errors import SourceError
from mapfs.fuse import wire
from mapfs.fuse.splice import Splicer
from mapfs.sources.base import Buffer
from mapfs.trace import events
from mapfs.trace.ring import Ring
from mapfs.tree.filenodes import FileNode
from mapfs.tree.nodes import Node
from mapfs.units import PAGE_SIZE

_UNKNOWN = errno.ENOENT  # the kernel knows no such inode, or name, or has no such page
_GONE = (errno.ENODEV, errno.ECONNABORTED, errno.EBADF, errno.ENOTCONN)  # the mount is over
_MOST = 1 << 20  # bytes of one push


class Notifier:
    """Writes notifications of one mount to the device; thread-safe."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._device: int | None = None

    def open(self, device: int) -> None:
        """The own link has the device."""
        self._device = device

    @property
    def works(self) -> bool:
        """Whether the kernel can be told: with the plain link it cannot."""
        return self._device is not None

    def drop(self, node: FileNode, offset: int = 0, size: int = 0) -> bool:
        """Takes pages out of the page cache, dirty ones written back before; `size` 0: to the end of the file."""
        began = time.monotonic_ns()
        done = self._tell(wire.NOTIFY_INVALIDATE, wire.INVALIDATE_OUT.pack(node.inode, offset, size))
        if done:
            self._record(node, events.DROP, began, offset, size or max(0, node.size - offset))
        return done

    def drop_attributes(self, node: Node) -> bool:
        """Has the kernel ask again for size and times."""
        return self._tell(wire.NOTIFY_INVALIDATE, wire.INVALIDATE_OUT.pack(node.inode, -1, 0))

    def store(self, node: FileNode, offset: int, data: Buffer) -> bool:
        """Puts pages into the page cache. The caller sees to it that nobody may have stored something there."""
        began = time.monotonic_ns()
        view = memoryview(data)
        for at in range(0, len(view), _MOST):
            piece = view[at : at + _MOST]
            head = wire.STORE_OUT.pack(node.inode, offset + at, len(piece), 0)
            if not self._tell(wire.NOTIFY_STORE, head, piece):
                return False
        self._record(node, events.PUSH, began, offset, len(view))
        return True

    def store_from(self, splicer: Splicer, node: FileNode, offset: int, size: int, fd: int) -> bool:
        """The same with what `fd` has there, at most `splicer.most` bytes. False where it has fewer, too."""
        if self._device is None:
            return False
        began = time.monotonic_ns()
        head = wire.STORE_OUT.pack(node.inode, offset, size, 0)
        header = wire.REPLY.pack(wire.REPLY.size + len(head) + size, wire.NOTIFY_STORE, 0)
        try:
            if not splicer.move(self._device, header + head, fd, offset, size):
                return False
        except OSError as error:
            if error.errno == _UNKNOWN or error.errno in _GONE:
                return False
            raise SourceError(f"the kernel refused a notification: {error.strerror}") from error
        self._record(node, events.PUSH, began, offset, size)
        return True

    def drop_name(self, parent: Node, name: bytes) -> bool:
        """Has the kernel look `name` up again."""
        return self._tell(
            wire.NOTIFY_INVALIDATE_ENTRY, wire.INVALIDATE_ENTRY_OUT.pack(parent.inode, len(name), 0), name + b"\0"
        )

    def _tell(self, code: int, *parts: Buffer) -> bool:
        """False where the kernel does not know what is meant, or the mount is over."""
        if self._device is None:
            return False
        try:
            os.writev(self._device, wire.notification(code, *parts))
        except OSError as error:
            if error.errno == _UNKNOWN or error.errno in _GONE:
                return False
            raise SourceError(f"the kernel refused a notification: {error.strerror}") from error
        return True

    def _record(self, node: FileNode, op: int, began: int, offset: int, size: int) -> None:
        if not node.trace_id or not size:
            return
        start = offset // PAGE_SIZE * PAGE_SIZE
        self._ring.append(began, time.monotonic_ns() - began, start, 0, size + offset - start, node.trace_id, 0, 0, op)
        self._ring.rouse()
