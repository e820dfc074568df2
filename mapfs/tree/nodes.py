"""Nodes: what an inode number of the mount stands for.

A node knows its parent and name, and says what stat(2) shall say of it. Nodes of the fixed tree live as long
as the mount; mirrored ones as long as the kernel remembers them (FORGET). Nothing here knows of FUSE; what
cannot be done raises OSError. Used by one thread, except `FileNode.size` and `FileNode.source`, which pagers
read.
"""

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from mapfs.sources.base import DirectorySource, Entry, Source

ROOT_INODE = 1
FOREVER = 86400.0  # seconds for which the kernel need not ask again about what never changes
BRIEFLY = 1.0  # seconds for which it need not ask about what may: what NFS clients and rclone live with


class Node(ABC):
    """One inode of the mount."""

    #: Seconds for which the kernel may keep the name and the attributes.
    timeout = FOREVER
    spec: str | None = None

    def __init__(self, inode: int, parent: "Node | None", name: bytes) -> None:
        self.inode = inode
        self.parent = parent
        self.name = name
        self.lookups = 0  # how often the kernel was told of this node and has not forgotten it

    @abstractmethod
    def entry(self) -> Entry:
        """What stat(2) says of it, now."""

    def forget(self) -> None:
        """The kernel knows it no longer."""

    def path(self) -> bytes:
        """Where it is, from the root of the mount, without a leading slash."""
        parts: list[bytes] = []
        node: Node | None = self
        while node is not None and node.parent is not None:
            parts.append(node.name)
            node = node.parent
        return b"/".join(reversed(parts))


class DirectoryNode(Node):
    """A node that has names in it."""

    @abstractmethod
    def look_up(self, name: bytes) -> tuple[Node, Entry]:
        """The node called `name`, and what stat(2) says of it. Raises FileNotFoundError."""

    def child(self, name: bytes) -> Node:
        """The node called `name`. Raises FileNotFoundError."""
        return self.look_up(name)[0]

    @abstractmethod
    def names(self) -> list[bytes]:
        """The names in it, without `.` and `..`."""


class LinkNode(Node):
    """A symbolic link."""

    @abstractmethod
    def target(self) -> bytes:
        """What readlink(2) gives."""


class FileNode(Node):
    """A mappable file: a source while it is open, and the size that the kernel was told last.

    Replies to READ end where the kernel believes that the file ends, for a shorter one would make it shrink
    the file. `generation` counts the changes of the content that were noticed.
    """

    def __init__(self, inode: int, parent: Node | None, name: bytes) -> None:
        super().__init__(inode, parent, name)
        self.size = 0
        self.source: Source | None = None
        self.generation = 0
        self.cached = 0  # the generation that the kernel's page cache may hold; 0: none was opened yet
        self.version: Hashable = None
        self._opens = 0

    def acquire(self) -> Source:
        """The source, opened if need be; each call is matched by a `release`."""
        if self.source is None:
            self.source = self._open()
        self._opens += 1
        return self.source

    def release(self) -> None:
        """One open handle less; the last one closes what only open handles need."""
        self._opens -= 1
        if not self._opens:
            self._idle()

    def noticed(self, entry: Entry, version: Hashable) -> Entry:
        """Keeps the size that the kernel is about to be told, and notices a change of the content."""
        self.size = entry.size
        if version != self.version or not self.generation:
            self.generation += 1
            self.version = version
        return entry

    @abstractmethod
    def _open(self) -> Source: ...

    def _idle(self) -> None:
        """The last handle was closed."""


class FixedFile(FileNode):
    """A file whose source was opened at the mount and stays open."""

    def __init__(self, inode: int, parent: Node, name: bytes, spec: str, source: Source) -> None:
        super().__init__(inode, parent, name)
        self.spec = spec
        self.source = source
        self._served = source
        self.timeout = FOREVER if source.version() is None else BRIEFLY

    def entry(self) -> Entry:
        source = self._served
        return self.noticed(source.entry(), source.version())

    def _open(self) -> Source:
        return self._served


class FixedDirectory(DirectoryNode):
    """A directory that was named on the command line, or that a slash in a name calls for."""

    def __init__(self, inode: int, parent: "Node | None", name: bytes) -> None:
        super().__init__(inode, parent, name)
        self.children: dict[bytes, Node] = {}
        self._entry = Entry(stat.S_IFDIR | 0o555, nlink=2)

    def entry(self) -> Entry:
        return self._entry

    def look_up(self, name: bytes) -> tuple[Node, Entry]:
        try:
            node = self.children[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None
        return node, node.entry()

    def names(self) -> list[bytes]:
        return list(self.children)


@dataclass(slots=True)
class Totals:
    """What statfs(2) counts."""

    files: int = 0
    bytes: int = 0


class Tree:
    """All nodes by inode number. Inode numbers are never used twice in a mount."""

    def __init__(self) -> None:
        self._nodes: dict[int, Node] = {}
        self._last = ROOT_INODE - 1
        self.root = FixedDirectory(self.new_inode(), None, b"")
        self.add(self.root)
        self.mirrors: list[DirectorySource] = []

    def new_inode(self) -> int:
        """A number that no node has had."""
        self._last += 1
        return self._last

    def add(self, node: Node) -> None:
        """Lets `node` be found by its number."""
        self._nodes[node.inode] = node

    def __getitem__(self, inode: int) -> Node:
        try:
            return self._nodes[inode]
        except KeyError:
            raise FileNotFoundError(errno.ESTALE, os.strerror(errno.ESTALE)) from None

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self._nodes.values()))

    def discard(self, node: Node) -> None:
        """The kernel forgot `node`, and nothing else needs it."""
        self._nodes.pop(node.inode, None)

    def totals(self) -> Totals:
        """The fixed files; a mirrored directory is not walked for a statfs(2)."""
        totals = Totals()
        for node in self:
            totals.files += 1
            if isinstance(node, FixedFile) and node.source is not None:
                totals.bytes += node.source.size
        return totals

    def close(self) -> None:
        """Closes every source."""
        for node in self:
            if isinstance(node, FileNode) and node.source is not None:
                node.source.close()
                node.source = None
        for mirror in self.mirrors:
            mirror.close()
