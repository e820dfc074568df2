"""Nodes: what an inode number of the mount stands for.

A node knows its parent and name, and says what stat(2) shall say of it. Nodes of the fixed tree live as long
as the mount, or until they are removed; mirrored ones as long as the kernel remembers them (FORGET). Nothing
here knows of FUSE; what cannot be done raises OSError. Used by one thread, the control plane's.
"""

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable

from mapfs.sources.base import Entry

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
        self.forgotten: Callable[[], None] | None = None  # of what was taken out of the tree
        self.lookups = 0  # how often the kernel was told of this node and has not forgotten it

    @abstractmethod
    def entry(self) -> Entry:
        """What stat(2) says of it, now."""

    @property
    def writable(self) -> bool:
        """Whether it may be changed at all."""
        return False

    @property
    def slow(self) -> bool:
        """Whether to ask it for its entry or its names takes time, since a server is asked."""
        return False

    def forget(self) -> None:
        """The kernel knows it no longer."""
        if self.forgotten is not None:
            self.forgotten()

    def remove(self) -> None:
        """It is served no longer: what is open goes on, nothing is opened any more."""

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
    def fetch(self, name: bytes) -> Entry | None:
        """What stat(2) says of `name`, where it has to be asked for. Raises FileNotFoundError. Thread-safe."""

    @abstractmethod
    def take(self, name: bytes, entry: Entry | None) -> tuple[Node, Entry]:
        """The node called `name`, whose entry was fetched, and what stat(2) says of it now."""

    def look_up(self, name: bytes) -> tuple[Node, Entry]:
        """The node called `name`, and what stat(2) says of it. Raises FileNotFoundError."""
        return self.take(name, self.fetch(name))

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


class FixedDirectory(DirectoryNode):
    """A directory that was named on the command line, or that a slash in a name calls for."""

    def __init__(self, inode: int, parent: "Node | None", name: bytes) -> None:
        super().__init__(inode, parent, name)
        self.children: dict[bytes, Node] = {}
        self._entry = Entry(stat.S_IFDIR | 0o555, nlink=2)

    def entry(self) -> Entry:
        return self._entry

    def put(self, node: Node) -> None:
        """Lets `node` be found in it by its name."""
        self.children[node.name] = node

    def take_out(self, name: bytes) -> None:
        """Lets nothing be found by `name` any more."""
        del self.children[name]

    def fetch(self, name: bytes) -> None:
        """Nothing has to be asked for."""

    def take(self, name: bytes, entry: Entry | None) -> tuple[Node, Entry]:
        node = self.children.get(name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return node, node.entry()

    def names(self) -> list[bytes]:
        return list(self.children)
