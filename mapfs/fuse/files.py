"""Open files, by the handle that the kernel names them with.

The control plane opens and closes; pagers look a handle up once a request. The recorder is told of a file
before the first request for it can come.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from mapfs.headroom import Headroom
from mapfs.trace.facts import FileFact, printable
from mapfs.trace.plan import version_text
from mapfs.tree.filenodes import FileNode

_MOST_SPEC = 4096  # characters of a spec that the trace keeps: a fact is one message, and text: may be long


class OpenFile:
    """A file while at least one handle of it is open. `id` names this version of its content in the trace."""

    __slots__ = ("generation", "handles", "id", "node", "size")

    def __init__(self, node: FileNode) -> None:
        self.node = node
        self.id = 0
        self.generation = 0
        self.size = 0
        self.handles = 0


@dataclass(slots=True)
class _Known:
    """What was told of a path last; `version` is that of the content, as it is now."""

    id: int
    inode: int
    version: tuple[object, ...]


class Files:
    """All open files. `learned` is given the fact of a file before anything refers to it."""

    def __init__(self, learned: Callable[[FileFact], object]) -> None:
        self._headroom = Headroom()
        self.handles: dict[int, OpenFile] = {}
        self._last_handle = 0
        self._learned = learned
        self._writing: set[int] = set()  # handles
        self._by_node: dict[int, OpenFile] = {}
        self._known: dict[str, _Known] = {}
        self._last_id = 0

    def new_handle(self) -> int:
        """A number that no handle has had, of a file or a directory. Raises OSError (ENOMEM)."""
        self._headroom.need()
        self._last_handle += 1
        return self._last_handle

    def open(self, node: FileNode, *, writing: bool = False) -> tuple[int, bool]:
        """A new handle, and whether what the page cache holds of the file may stay. Raises OSError."""
        try:
            handle = self.new_handle()
        except OSError:
            node.unused()
            raise
        node.acquire(writing=writing)
        try:
            node.entry()
        except BaseException:
            node.release(writing=writing)
            raise
        file = self._by_node.get(node.inode)
        if file is None:
            file = self._by_node[node.inode] = OpenFile(node)
        keep = not node.stale
        node.cached = node.generation
        self.refresh(node)
        file.handles += 1
        self.handles[handle] = file
        if writing:
            self._writing.add(handle)
        return handle, keep

    def opened(self) -> list[FileNode]:
        """The nodes that have a handle now."""
        return [file.node for file in list(self._by_node.values())]

    def refresh(self, node: FileNode) -> None:
        """The attributes of `node` were read anew: if the backing changed by itself, its requests get a new id."""
        file = self._by_node.get(node.inode)
        if file is None or (file.id and (file.generation, file.size) == (node.generation, node.size)):
            return
        path, version = printable(node.path()), (node.version, node.size)
        known = self._known.get(path)
        if file.id and file.generation == node.generation:
            told = file.id  # it grew or shrank through the mount
        elif known is not None and known.version == version:
            told = known.id  # the same file, whose inode the kernel forgot in between
        else:
            self._last_id += 1
            told = self._last_id
        if known is None or (known.id, known.inode, known.version) != (told, node.inode, version):
            spec = printable(node.spec or "")[:_MOST_SPEC]
            fact = FileFact(told, node.inode, path, spec, node.size, node.generation, time.monotonic_ns())
            self._learned(msgspec.structs.replace(fact, version=version_text(node.version)))
        node.trace_id = told
        file.id, file.generation, file.size = told, node.generation, node.size
        self._known[path] = _Known(told, node.inode, version)

    def release(self, handle: int) -> None:
        """The kernel closed `handle`; no request for it is on its way."""
        file = self.handles.pop(handle, None)
        if file is None:
            return
        writing = handle in self._writing
        self._writing.discard(handle)
        file.handles -= 1
        node = file.node
        if writing:
            known = self._known.get(printable(node.path()))
            if known is not None and known.id == file.id:
                known.version = (node.version, node.size)  # what was written through the mount is no other content
        node.release(writing=writing)
        if not file.handles:
            del self._by_node[node.inode]
