"""Mirrored directories: nodes made when a name is looked up, dropped when the kernel forgets them.

Two names of one file (hard links, same identity) are one node, so that they share one page cache, as they
do on a disk. A file that replaces another under the same name is a new node; whoever has the old one open
keeps its content.
"""

import errno
import os
import stat
from collections.abc import Hashable

from mapfs.sources.base import DirectorySource, Entry, WritableDirectory
from mapfs.sources.coherency import Terms
from mapfs.sources.redact import shown_spec
from mapfs.sources.spec import Spec
from mapfs.sources.wrap.inject import Rules
from mapfs.tree.mirrored import MirrorDirectory, MirrorFile, MirrorLink, MirrorNode, MirrorSpecial
from mapfs.tree.nodes import Node
from mapfs.tree.tree import Tree

_CLASSES: dict[int, type[MirrorDirectory] | type[MirrorFile] | type[MirrorLink] | type[MirrorSpecial]] = {
    stat.S_IFDIR: MirrorDirectory,
    stat.S_IFREG: MirrorFile,
    stat.S_IFLNK: MirrorLink,
}


class Mirror:
    """One directory source in the tree, and the nodes of it that are alive."""

    def __init__(self, tree: Tree, source: DirectorySource, spec: Spec, terms: Terms) -> None:
        self.tree = tree
        self.source = source
        self.prompt = source.prompt()
        self.spec = spec
        self.terms = terms
        self.alive: dict[Hashable, MirrorNode] = {}
        self.removed = False
        self.rules: dict[bytes, Rules] = {}  # what `inject` set, by backing path: it outlives the nodes

    @property
    def writable(self) -> WritableDirectory:
        """The source, where names can be made and removed in it. Raises OSError (EROFS) where they cannot."""
        if not isinstance(self.source, WritableDirectory) or self.removed:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return self.source

    def remove(self) -> None:
        """Nothing is found in it any more; what is open stays so, and the directory with it."""
        self.removed = True
        for node in self.alive.values():
            if isinstance(node, MirrorFile):
                node.removed = True
        self.close_if_unused()

    def close_if_unused(self) -> None:
        """Closes the source once it was removed and nothing of it is open."""
        if not self.removed or any(isinstance(node, MirrorFile) and node.opens for node in self.alive.values()):
            return
        if self.source in self.tree.mirrors:
            self.tree.mirrors.remove(self.source)
            self.source.close()

    def spec_of(self, path: bytes) -> str:
        """The spec that would serve `path` alone."""
        arg = os.path.join(self.spec.arg, os.fsdecode(path)) if path else self.spec.arg
        return str(shown_spec(Spec(self.spec.kind, arg, self.spec.options)))

    def take(self, parent: MirrorDirectory, name: bytes, entry: Entry) -> tuple[Node, Entry]:
        """The node of `name`, whose entry was just read: the living one of the same file, else a new one."""
        key = _key(parent.below(name), entry)
        node = self.alive.get(key)
        if node is None:
            made = _CLASSES.get(stat.S_IFMT(entry.mode), MirrorSpecial)
            node = self.alive[key] = made(self, parent, name, key)
            self.tree.add(node)
        else:
            node.called(parent, name)
        return node, node.seen(entry)

    def find(self, parent: MirrorDirectory, name: bytes) -> MirrorNode | None:
        """The living node of `name`, where there is one."""
        path = parent.below(name)
        try:
            return self.alive.get(_key(path, self.source.entry(path)))
        except OSError:
            return None

    def moved(self, old: bytes, new: bytes) -> None:
        """The directory at the backing path `old` is at `new` now, and so is what lies below it."""
        for key, node in list(self.alive.items()):
            if isinstance(node, MirrorDirectory) and isinstance(key, tuple):
                below: bytes = key[1]
                if below == old or below.startswith(old + b"/"):  # a directory is known by its path
                    del self.alive[key]
                    node.key = (key[0], new + below[len(old) :])
                    self.alive[node.key] = node


def _key(path: bytes, entry: Entry) -> Hashable:
    kind = stat.S_IFMT(entry.mode)
    if kind == stat.S_IFDIR:
        return kind, path
    return kind, entry.identity, path if entry.identity is None else b""
