"""Names and attributes that are at hand: answered by the pager that read the request, as a page in memory is.

The way through libfuse and trio takes three threads their turns, several times as long as the answer. A program that
starts asks for hundreds of names, one after another. Whatever would have to wait for a disk or a server, or goes beyond
looking (`operations` has the whole of it), is left to that way, and so is everything while the trio thread is at work.

The kernel keeps what a directory has in it (FOPEN_CACHE_DIR), unless that has just changed, and forgets it when the
directory is opened and is not what it was then.
"""

import errno
import os
import time
from collections.abc import Callable
from typing import Protocol

from mapfs.fuse import wire
from mapfs.fuse.files import Files
from mapfs.fuse.listing import Listings
from mapfs.fuse.translate import packed_attributes, packed_entry
from mapfs.fuse.turn import Turn
from mapfs.sources.base import Entry
from mapfs.sources.coherency import Coherency
from mapfs.tree.filenodes import FileNode
from mapfs.tree.mirrored import MirrorDirectory, MirrorFile, MirrorLink, MirrorNode
from mapfs.tree.nodes import FixedDirectory, Node
from mapfs.tree.tree import Tree

_SETTLED = 2_000_000_000  # ns after which a further change is certain to have another time
#: What names are answered with, besides answers: all else is for `operations` to find out, and to tell of.
_TOLD = frozenset({errno.ENOENT, errno.ENOTDIR})


class Handles(Protocol):
    """What is done around a handle that is made or goes; `Operations` has it."""

    listings: Listings

    def opening(self, tid: int) -> None:
        """The thread opens a file."""

    def opened(self, node: FileNode) -> None:
        """A handle was made."""

    def released(self, node: FileNode) -> None:
        """A handle went."""


class Prompt:
    """Answers for one mount. Called by the pager that leads. `seen` tells whether `handles.opening` has nothing to find
    out about a thread.
    """

    def __init__(self, turn: Turn, tree: Tree, files: Files, handles: Handles, seen: Callable[[int], bool]) -> None:
        self._seen = seen
        self._turn = turn
        self._tree = tree
        self._files = files
        self._handles = handles
        self._answers: dict[int, Callable[[wire.Request, memoryview], bytes | None]] = {
            wire.LOOKUP: self._look_up,
            wire.GETATTR: self._attributes,
            wire.READLINK: self._read_link,
            wire.OPEN: self._open,
            wire.RELEASE: self._release,
            wire.OPENDIR: self._open_directory,
            wire.RELEASEDIR: self._release_directory,
        }

    def answer(self, message: memoryview, opcode: int) -> tuple[bytes, int] | None:
        """The body of the reply, and its errno; None where the request is to go the long way. Never raises."""
        answer = self._answers.get(opcode)
        if answer is None or not self._turn.take():
            return None
        try:
            body = answer(wire.Request._make(wire.REQUEST.unpack_from(message)[:7]), message[wire.REQUEST.size :])
        except OSError as error:
            return (b"", error.errno) if error.errno in _TOLD else None
        except Exception:  # it comes again, where somebody is told of it
            return None
        finally:
            self._turn.give_back()
        return None if body is None else (body, 0)

    # each gives the body of the reply, or None, and then has changed nothing that shows

    def _look_up(self, request: wire.Request, body: memoryview) -> bytes | None:
        directory, name = self._tree[request.nodeid], bytes(body[:-1])
        node: Node
        if isinstance(directory, MirrorDirectory):
            mirror = directory.mirror
            if mirror.prompt is None or mirror.removed:
                return None
            node, entry = directory.take(name, mirror.prompt.entry(directory.below(name)))
        elif isinstance(directory, FixedDirectory):
            node = directory.children[name]
            found = self._entry(node)
            if found is None:
                return None
            entry = found
        else:
            return None
        if not self._current(node):
            return None
        reply = packed_entry(node, entry)
        node.lookups += 1
        return reply

    def _attributes(self, request: wire.Request, body: memoryview) -> bytes | None:
        node = self._tree[request.nodeid]
        entry = self._entry(node)
        return packed_attributes(node, entry) if entry is not None and self._current(node) else None

    def _read_link(self, request: wire.Request, body: memoryview) -> bytes | None:
        node = self._tree[request.nodeid]
        if not isinstance(node, MirrorLink) or node.mirror.prompt is None or node.mirror.removed:
            return None
        return node.mirror.prompt.readlink(node.backing_path())

    def _open(self, request: wire.Request, body: memoryview) -> bytes | None:
        node, flags = self._tree[request.nodeid], wire.OPEN_IN.unpack_from(body)[0]
        if flags & (os.O_ACCMODE | os.O_TRUNC) != os.O_RDONLY or not isinstance(node, MirrorFile):
            return None
        prompt = node.mirror.prompt
        if prompt is None or node.removed or node.mirror.removed:
            return None
        if node.terms.coherency not in (Coherency.FIXED, Coherency.OPEN):
            return None
        if not self._seen(request.pid) or (node.opened is not None and not node.opened_at_hand):
            return None
        self._handles.opening(request.pid)
        if node.opened is None:
            node.opened_as(node.open_in(prompt))
            node.opened_at_hand = True
        handle, keep = self._files.open(node)
        try:
            self._handles.opened(node)
        except BaseException:
            self._close(handle, node)
            raise
        return wire.OPEN_OUT.pack(handle, wire.OPEN_KEEP_CACHE if keep else 0, 0)

    def _release(self, request: wire.Request, body: memoryview) -> bytes | None:
        handle = wire.HANDLE.unpack_from(body)[0]
        file = self._files.handles.get(handle)
        if file is None or not isinstance(file.node, MirrorFile) or not file.node.opened_at_hand:
            return None
        node, source = file.node, file.node.opened
        if node.opens == 1 and source is not None and (source.writable or not source.entry().nlink):
            return None  # the last close(2) of what was written, or of what has no name, may take its time
        self._close(handle, node)
        return b""

    def _close(self, handle: int, node: FileNode) -> None:
        self._files.release(handle)
        self._handles.released(node)

    def _open_directory(self, request: wire.Request, body: memoryview) -> bytes | None:
        node = self._tree[request.nodeid]
        if not isinstance(node, MirrorDirectory) or node.mirror.prompt is None or node.mirror.removed:
            return None
        entry = node.mirror.prompt.listed(node.backing_path())
        version = entry.identity, entry.mtime_ns, entry.ctime_ns
        flags = wire.OPEN_KEEP_CACHE if node.listed == version else 0
        settled = time.time_ns() - max(entry.mtime_ns, entry.ctime_ns) > _SETTLED
        if settled:
            flags |= wire.OPEN_CACHE_DIR
        handle = self._handles.listings.add(node)
        node.listed = version if settled else None
        return wire.OPEN_OUT.pack(handle, flags, 0)

    def _release_directory(self, request: wire.Request, body: memoryview) -> bytes | None:
        return b"" if self._handles.listings.remove(wire.HANDLE.unpack_from(body)[0]) else None

    def _entry(self, node: Node) -> Entry | None:
        if isinstance(node, FixedDirectory):
            return node.entry()
        if isinstance(node, MirrorFile) and node.opened is not None and not node.opened_at_hand:
            return None
        if isinstance(node, MirrorNode) and node.mirror.prompt is not None:
            return node.entry_in(node.mirror.prompt)
        return None

    def _current(self, node: Node) -> bool:
        """Whether the kernel has no page of `node` that is to be dropped first."""
        if isinstance(node, FileNode):
            self._files.refresh(node)
            return not node.stale
        return True
