"""All nodes of a mount, by inode number."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass

from mapfs.headroom import Headroom
from mapfs.sources.base import DirectorySource, WritableDirectory
from mapfs.tree.filenodes import FileNode, FixedFile
from mapfs.tree.nodes import ROOT_INODE, FixedDirectory, Node


@dataclass(slots=True)
class Totals:
    """What statfs(2) counts."""

    files: int = 0
    bytes: int = 0


class Tree:
    """All nodes by inode number. Inode numbers are never used twice in a mount."""

    def __init__(self) -> None:
        self._headroom = Headroom()
        self._nodes: dict[int, Node] = {}
        self._last = ROOT_INODE - 1
        self.root = FixedDirectory(self.new_inode(), None, b"")
        self.add(self.root)
        self.mirrors: list[DirectorySource] = []

    def new_inode(self) -> int:
        """A number that no node has had, for one that will be kept. Raises OSError (ENOMEM)."""
        self._headroom.need()
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

    def detached(self, node: Node) -> None:
        """`node` is in no directory any more: it goes once the kernel does not know it."""
        if node.lookups:
            node.forgotten = lambda: self.discard(node)
        else:
            self.discard(node)

    def writable(self) -> WritableDirectory | None:
        """A directory whose free space is the mount's, if there is one: the first that can be written."""
        return next((mirror for mirror in self.mirrors if isinstance(mirror, WritableDirectory)), None)

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
            if isinstance(node, FileNode):
                node.close()
        for mirror in self.mirrors:
            mirror.close()
