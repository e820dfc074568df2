"""Mirrored directories: nodes made when a name is looked up, dropped when the kernel forgets them.

Two names of one file (hard links, same identity) are one node, so that they share one page cache, as they
do on a disk. A file that replaces another under the same name is a new node; whoever has the old one open
keeps its content.
"""

import errno
import os
import stat
from collections.abc import Hashable

from mapfs.sources.base import DirectorySource, Entry, Source
from mapfs.sources.spec import Spec
from mapfs.tree.nodes import BRIEFLY, DirectoryNode, FileNode, LinkNode, Node, Tree


class Mirror:
    """One directory source in the tree, and the nodes of it that are alive."""

    def __init__(self, tree: Tree, source: DirectorySource, kind: str, root: str) -> None:
        self.tree = tree
        self.source = source
        self.kind = kind
        self.root = root
        self.alive: dict[Hashable, MirrorNode] = {}

    def spec_of(self, path: bytes) -> str:
        """The spec that would serve `path` alone."""
        arg = os.path.join(self.root, os.fsdecode(path)) if path else self.root
        return str(Spec(self.kind, arg))

    def look_up(self, parent: "MirrorDirectory", name: bytes) -> tuple[Node, Entry]:
        """The node of `name` in `parent`, the living one of the same file, else a new one; and its entry."""
        path = parent.below(name)
        entry = self.source.entry(path)
        kind = stat.S_IFMT(entry.mode)
        key = (kind, path) if kind == stat.S_IFDIR else (kind, entry.identity, path if entry.identity is None else b"")
        node = self.alive.get(key)
        if node is None:
            made = _CLASSES.get(kind, MirrorSpecial)
            node = self.alive[key] = made(self, parent, name, key)
            self.tree.add(node)
        else:
            node.parent, node.name = parent, name
        return node, node.seen(entry)


class MirrorNode(Node):
    """A node whose attributes are those of a path in a directory source."""

    timeout = BRIEFLY

    def __init__(self, mirror: Mirror, parent: Node, name: bytes, key: Hashable) -> None:
        super().__init__(mirror.tree.new_inode(), parent, name)
        self.mirror = mirror
        self.key = key

    def backing_path(self) -> bytes:
        """Its path in the directory source."""
        assert isinstance(self.parent, MirrorDirectory)
        return self.parent.below(self.name)

    def entry(self) -> Entry:
        return self.mirror.source.entry(self.backing_path())

    def seen(self, entry: Entry) -> Entry:
        """What `entry()` would say, where the entry of its path was just read for other reasons."""
        return entry

    def forget(self) -> None:
        if self.key is not None:  # the root of a mirror belongs to the fixed tree
            self.mirror.alive.pop(self.key, None)
            self.mirror.tree.discard(self)


class MirrorDirectory(MirrorNode, DirectoryNode):
    """A mirrored directory; the root of a mirror has no backing path but `b""`."""

    def __init__(self, mirror: Mirror, parent: Node, name: bytes, key: Hashable = None) -> None:
        super().__init__(mirror, parent, name, key)
        self.spec = mirror.spec_of(self.backing_path())

    def backing_path(self) -> bytes:
        return self.parent.below(self.name) if isinstance(self.parent, MirrorDirectory) else b""

    def below(self, name: bytes) -> bytes:
        """The backing path of `name` in it."""
        path = self.backing_path()
        return path + b"/" + name if path else name

    def look_up(self, name: bytes) -> tuple[Node, Entry]:
        return self.mirror.look_up(self, name)

    def names(self) -> list[bytes]:
        return self.mirror.source.names(self.backing_path())


class MirrorFile(MirrorNode, FileNode):
    """A mirrored file, its source open while a handle is."""

    def __init__(self, mirror: Mirror, parent: MirrorDirectory, name: bytes, key: Hashable) -> None:
        super().__init__(mirror, parent, name, key)
        self.spec = mirror.spec_of(parent.below(name))

    def entry(self) -> Entry:
        """Of the open source, if there is one: the name may belong to another file by now, or to none."""
        return self._noticed(self.source.entry() if self.source is not None else super().entry())

    def seen(self, entry: Entry) -> Entry:
        return self._noticed(self.source.entry() if self.source is not None else entry)

    def _noticed(self, entry: Entry) -> Entry:
        return self.noticed(entry, (entry.mtime_ns, entry.size))

    def _open(self) -> Source:
        source = self.mirror.source.open(self.backing_path())
        identity = source.entry().identity
        if identity is not None and isinstance(self.key, tuple) and identity != self.key[1]:
            source.close()  # replaced since it was looked up: the kernel looks it up anew after ESTALE
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), self.name)
        return source

    def _idle(self) -> None:
        if self.source is not None:
            source, self.source = self.source, None
            source.close()


class MirrorLink(MirrorNode, LinkNode):
    """A mirrored symbolic link."""

    def target(self) -> bytes:
        return self.mirror.source.readlink(self.backing_path())


class MirrorSpecial(MirrorNode):
    """A FIFO, socket or device node: shown as it is, served by the kernel, never by mapfs."""


_CLASSES: dict[int, type[MirrorDirectory] | type[MirrorFile] | type[MirrorLink] | type[MirrorSpecial]] = {
    stat.S_IFDIR: MirrorDirectory,
    stat.S_IFREG: MirrorFile,
    stat.S_IFLNK: MirrorLink,
}
