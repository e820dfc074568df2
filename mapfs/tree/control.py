"""The control directory `.mapfs/`: the only interface to a running mount.

Its files are read past the page cache, each open of one is a session of its own, and none is a page demand.
What they say comes from callables, so that this module knows neither the recorder nor FUSE.
"""

import stat
from collections.abc import Awaitable, Callable
from typing import Protocol

from mapfs.sources.base import Entry
from mapfs.tree.build import CONTROL
from mapfs.tree.nodes import FixedDirectory, Node
from mapfs.tree.tree import Tree


class Session(Protocol):
    """One open control file."""

    async def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes; may wait; nothing at the end. Can be cancelled without losing a byte."""
        ...

    async def write(self, data: bytes) -> int:
        """Takes `data`, and says how much of it. Raises OSError where there is nothing to be told."""
        ...

    def close(self) -> None:
        """The handle is gone."""
        ...


#: Opens a session; the argument tells whether the client asked not to wait (O_NONBLOCK).
Opener = Callable[[bool], Awaitable[Session]]


class ControlFile(Node):
    """A file of `.mapfs/`; every opening calls `opener`. One that is `writable` is its owner's alone."""

    def __init__(self, inode: int, parent: Node, name: bytes, opener: Opener, *, writable: bool = False) -> None:
        super().__init__(inode, parent, name)
        self.opener = opener
        self._writable = writable
        self._entry = Entry(stat.S_IFREG | (0o600 if writable else 0o444))

    def entry(self) -> Entry:
        return self._entry

    @property
    def writable(self) -> bool:
        return self._writable


def add_control(tree: Tree, files: dict[str, Opener], *, writable: frozenset[str] = frozenset()) -> None:
    """Puts `.mapfs/` with `files` into the tree, those in `writable` to be written too."""
    directory = FixedDirectory(tree.new_inode(), tree.root, CONTROL.encode())
    tree.root.children[directory.name] = directory
    tree.add(directory)
    for name, opener in files.items():
        node = ControlFile(tree.new_inode(), directory, name.encode(), opener, writable=name in writable)
        directory.children[node.name] = node
        tree.add(node)
