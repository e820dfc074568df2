"""The nodes of a mirrored directory: what is found at a path of its source, and what can be done to it."""

import errno
import os
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from mapfs.sources.base import Changes, DirectorySource, Entry, Source, WritableDirectory
from mapfs.tree.filenodes import FileNode
from mapfs.tree.nodes import BRIEFLY, DirectoryNode, LinkNode, Node

if TYPE_CHECKING:
    from mapfs.tree.mirror import Mirror

RENAME_EXCHANGE = 2  # renameat2(2)


class MirrorNode(Node):
    """A node whose attributes are those of a path in a directory source."""

    timeout = BRIEFLY

    def __init__(self, mirror: "Mirror", parent: Node, name: bytes, key: Hashable) -> None:
        super().__init__(mirror.tree.new_inode(), parent, name)
        self.mirror = mirror
        self.key = key
        self.aliases: dict[tuple[Node | None, bytes], bool] = {
            (parent, name): True
        }  # names by which the kernel was told of it, the first one first

    def called(self, parent: "MirrorDirectory", name: bytes) -> None:
        """It was found by this name."""
        self.aliases[parent, name] = True
        self.parent, self.name = parent, name

    def uncalled(self, parent: "MirrorDirectory", name: bytes) -> None:
        """It has this name no more."""
        self.aliases.pop((parent, name), None)
        if (self.parent, self.name) == (parent, name) and self.aliases:
            self.parent, self.name = next(reversed(self.aliases))

    @property
    def writable(self) -> bool:
        return isinstance(self.mirror.source, WritableDirectory)

    @property
    def slow(self) -> bool:
        return self.mirror.source.slow

    def backing_path(self) -> bytes:
        """Its path in the directory source."""
        assert isinstance(self.parent, MirrorDirectory)
        return self.parent.below(self.name)

    def entry(self) -> Entry:
        return self.entry_in(self.mirror.source)

    def entry_in(self, source: DirectorySource) -> Entry:
        """The same of another source of the same directory, such as the mirror's prompt one."""
        if self.mirror.removed:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return source.entry(self.backing_path())

    def seen(self, entry: Entry) -> Entry:
        """What `entry()` would say, where the entry of its path was just read for other reasons."""
        return entry

    def change(self, changes: Changes) -> None:
        """Changes mode, owner or times."""
        self.mirror.writable.change(self.backing_path(), changes)

    def forget(self) -> None:
        if self.key is not None:  # the root of a mirror belongs to the fixed tree
            if self.mirror.alive.get(self.key) is self:
                del self.mirror.alive[self.key]
            self.mirror.tree.discard(self)


class MirrorDirectory(MirrorNode, DirectoryNode):
    """A mirrored directory; the root of a mirror has no backing path but `b""`."""

    def __init__(self, mirror: "Mirror", parent: Node, name: bytes, key: Hashable = None) -> None:
        super().__init__(mirror, parent, name, key)
        self.listed: Hashable = None  # the version of it whose names the kernel may have kept

    @property
    def spec(self) -> str:  # type: ignore[override] # it moves with the directory
        return self.mirror.spec_of(self.backing_path())

    def backing_path(self) -> bytes:
        return self.parent.below(self.name) if isinstance(self.parent, MirrorDirectory) else b""

    def below(self, name: bytes) -> bytes:
        """The backing path of `name` in it."""
        path = self.backing_path()
        return path + b"/" + name if path else name

    def fetch(self, name: bytes) -> Entry:
        self._refuse_removed()
        return self.mirror.source.entry(self.below(name))

    def take(self, name: bytes, entry: Entry | None) -> tuple[Node, Entry]:
        assert entry is not None, "fetched"
        return self.mirror.take(self, name, entry)

    def _refuse_removed(self) -> None:
        if self.mirror.removed:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def remove(self) -> None:
        self.mirror.remove()

    def names(self) -> list[bytes]:
        self._refuse_removed()
        return self.mirror.source.names(self.backing_path())

    # what changes names

    def create(self, name: bytes, mode: int, owner: tuple[int, int]) -> tuple["MirrorFile", Entry]:
        """A new regular file, open: its source is there until its last handle goes."""
        source = self.mirror.writable.create(self.below(name), mode, owner)
        entry = source.entry()
        node, _ = self.take(name, entry)
        assert isinstance(node, MirrorFile)
        node.opened_as(source)
        return node, entry

    def make(self, name: bytes, mode: int, rdev: int, owner: tuple[int, int]) -> tuple[Node, Entry]:
        """mkdir(2) and mknod(2)."""
        self.mirror.writable.make(self.below(name), mode, rdev, owner)
        return self.look_up(name)

    def symlink(self, name: bytes, target: bytes, owner: tuple[int, int]) -> tuple[Node, Entry]:
        """symlink(2)."""
        self.mirror.writable.symlink(self.below(name), target, owner)
        return self.look_up(name)

    def link(self, node: Node, name: bytes) -> tuple[Node, Entry]:
        """One more name for `node`. Raises OSError (EXDEV) where it is of another mirror."""
        writable = self.mirror.writable
        if not isinstance(node, MirrorNode) or node.mirror is not self.mirror:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        writable.link(node.backing_path(), self.below(name))
        return self.look_up(name)

    def unlink(self, name: bytes, *, directory: bool) -> None:
        """unlink(2) and rmdir(2)."""
        writable, path, node = self.mirror.writable, self.below(name), self.mirror.find(self, name)
        if directory:
            writable.rmdir(path)
        else:
            writable.unlink(path)
        if node is not None:
            node.uncalled(self, name)
            if directory and self.mirror.alive.get(node.key) is node:
                del self.mirror.alive[node.key]  # one that is made under the same name is another

    def rename(self, name: bytes, into: "MirrorDirectory", new: bytes, flags: int) -> None:
        """renameat2(2). Raises OSError (EXDEV) between two mirrors."""
        mirror = self.mirror
        writable = mirror.writable
        if into.mirror is not mirror:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        old, path = self.below(name), into.below(new)
        moved, replaced = mirror.find(self, name), mirror.find(into, new)
        writable.rename(old, path, flags)
        if moved is replaced:  # two names of one file: rename(2) leaves both
            return
        if replaced is not None:
            replaced.uncalled(into, new)
            if flags & RENAME_EXCHANGE:
                replaced.called(self, name)
            elif isinstance(replaced, MirrorDirectory):
                mirror.alive.pop(replaced.key, None)
        if moved is not None:
            moved.uncalled(self, name)
            moved.called(into, new)
        if isinstance(moved, MirrorDirectory) or isinstance(replaced, MirrorDirectory):
            self._follow(old, path, exchange=bool(flags & RENAME_EXCHANGE))

    def _follow(self, old: bytes, new: bytes, *, exchange: bool) -> None:
        if not exchange:
            self.mirror.moved(old, new)
            return
        aside = old + b"//"  # no path has an empty part
        for one, other in ((old, aside), (new, old), (aside, new)):
            self.mirror.moved(one, other)


class MirrorFile(MirrorNode, FileNode):
    """A mirrored file, its source open while a handle is."""

    def __init__(self, mirror: "Mirror", parent: MirrorDirectory, name: bytes, key: Hashable) -> None:
        FileNode.__init__(self, mirror.tree.new_inode(), parent, name, mirror.terms)
        self.mirror = mirror
        self.key = key
        self.aliases: dict[tuple[Node | None, bytes], bool] = {(parent, name): True}
        self.opened_at_hand = False  # its source is open, of a file of the mirror's own filesystem, with nothing around
        rules = mirror.rules.get(self.backing_path())
        if rules is not None:
            self._hold(rules)

    @property
    def spec(self) -> str:  # type: ignore[override] # it moves with the file
        parent, name = next(iter(self.aliases), (self.parent, self.name))
        assert isinstance(parent, MirrorDirectory)
        return self.mirror.spec_of(parent.below(name))

    def entry_in(self, source: DirectorySource) -> Entry:
        """Of the open source, if there is one: the name may belong to another file by now, or to none."""
        if self.source is not None:
            return self.looked_at(self._look)
        entry = MirrorNode.entry_in(self, source)
        if entry.identity is not None and isinstance(self.key, tuple) and entry.identity != self.key[1]:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), self.name)
        return self.seen(entry)

    def seen(self, entry: Entry) -> Entry:
        if self.source is not None:
            return self.looked_at(self._look)
        return self.looked_at(lambda: (entry, entry.version), unopened=True)

    def _look(self) -> tuple[Entry, Hashable]:
        source = self.source
        assert source is not None, "looked at while it is open"
        return source.entry(), source.version()

    def change(self, changes: Changes) -> None:
        if self.source is not None:
            FileNode.change(self, changes)
            return
        MirrorNode.change(self, changes)
        if changes.mtime_ns is not None:  # the content is what it was
            self.version = self.mirror.source.entry(self.backing_path()).version

    def inject(self, texts: Sequence[str], *, clear: bool = False) -> list[str]:
        held = FileNode.inject(self, texts, clear=clear)
        self.mirror.rules.pop(self.backing_path(), None)
        if self._rules is not None:
            self.mirror.rules[self.backing_path()] = self._rules  # the kernel may forget the node
        return held

    def new_source(self) -> Source:
        return self.open_in(self.mirror.source)

    def open_in(self, directory: DirectorySource) -> Source:
        """Opens the file by another source of the same directory."""
        source = directory.open(self.backing_path())
        identity = source.entry().identity
        if identity is not None and isinstance(self.key, tuple) and identity != self.key[1]:
            source.close()  # replaced since it was looked up: the kernel looks it up anew after ESTALE
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), self.name)
        return source

    def _make_writable(self) -> None:
        assert self.source is not None, "opened before"
        self.source.make_writable()

    def _idle(self) -> None:
        self.close()
        self.opened_at_hand = False
        if self.removed:
            self.mirror.close_if_unused()


class MirrorLink(MirrorNode, LinkNode):
    """A mirrored symbolic link."""

    def target(self) -> bytes:
        return self.mirror.source.readlink(self.backing_path())


class MirrorSpecial(MirrorNode):
    """A FIFO, socket or device node: shown as it is, served by the kernel, never by mapfs."""
