"""Open files, by the handle that the kernel names them with.

The control plane opens and closes; pagers look a handle up once a request. The recorder is told of a file
before the first request for it can come.
"""

import itertools
from collections.abc import Callable

from mapfs.trace.facts import FileFact, printable
from mapfs.tree.nodes import FileNode

_MOST_SPEC = 4096  # characters of a spec that the trace keeps: a fact is one message, and text: may be long


class OpenFile:
    """A file while at least one handle of it is open. `id` names this version of its content in the trace."""

    __slots__ = ("handles", "id", "node")

    def __init__(self, node: FileNode) -> None:
        self.node = node
        self.id = 0
        self.handles = 0


class Files:
    """All open files. `learned` is given the fact of a file before anything refers to it."""

    def __init__(self, learned: Callable[[FileFact], object]) -> None:
        self.handles: dict[int, OpenFile] = {}
        self.new_handle = itertools.count(1).__next__
        self._learned = learned
        self._by_node: dict[int, OpenFile] = {}
        self._ids: dict[str, tuple[int, tuple[object, ...]]] = {}
        self._last_id = 0

    def open(self, node: FileNode) -> tuple[int, bool]:
        """A new handle, and whether what the page cache holds of the file may stay. Raises OSError."""
        node.acquire()
        try:
            node.entry()
        except BaseException:
            node.release()
            raise
        file = self._by_node.get(node.inode)
        if file is None:
            file = self._by_node[node.inode] = OpenFile(node)
        # a new mtime in the reply to a stat makes the kernel drop the pages too, but only once it asks
        keep = node.cached in (0, node.generation)
        node.cached = node.generation
        self.refresh(node)
        file.handles += 1
        handle = self.new_handle()
        self.handles[handle] = file
        return handle, keep

    def refresh(self, node: FileNode) -> None:
        """The attributes of `node` were read anew: if its content changed, its requests get a new id."""
        file = self._by_node.get(node.inode)
        if file is None:
            return
        path = printable(node.path())
        # the same file under the same name keeps its id when the kernel forgot its inode in between
        version = (node.version, node.size)
        known = self._ids.get(path)
        if known is not None and known[1] == version:
            file.id = known[0]
            return
        self._last_id += 1
        spec = printable(node.spec or "")[:_MOST_SPEC]
        self._learned(FileFact(self._last_id, node.inode, path, spec, node.size, node.generation))
        self._ids[path] = (self._last_id, version)
        file.id = self._last_id

    def release(self, handle: int) -> None:
        """The kernel closed `handle`; no request for it is on its way."""
        file = self.handles.pop(handle, None)
        if file is None:
            return
        file.handles -= 1
        file.node.release()
        if not file.handles:
            del self._by_node[file.node.inode]
