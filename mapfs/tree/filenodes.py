"""Files of the mount: a source while it is open, and what the kernel was told of it last.

Who changes a file matters. What comes through the mount the kernel knows: its page cache has it. What the backing
became by itself it does not: then `generation` goes up, and the pages have to be dropped. `changing` stands around
each change of the first sort, so that the new mtime is not taken for one of the second.
"""

import contextlib
import itertools
import threading
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Protocol

from mapfs.sources.base import Buffer, Changes, Entry, Source
from mapfs.sources.coherency import Coherency, Terms
from mapfs.sources.wrap.base import Wrapper
from mapfs.sources.wrap.cow import CopyOnWrite
from mapfs.sources.wrap.faults import parse as parse_fault
from mapfs.sources.wrap.inject import Injected, Rules
from mapfs.sources.wrap.rules import Pages
from mapfs.sources.wrap.served import Digests, Served
from mapfs.tree.nodes import BRIEFLY, FOREVER, Node
from mapfs.units import page_count

_turn = itertools.count(1).__next__  # of looks at files, in the order in which they began


class Follows(Protocol):
    """What pagers tell of demands that were answered; `fuse.ahead` pushes what they will ask for next."""

    def takes(self, demand: Any, data: Buffer, answer: Callable[[Any, Buffer], None]) -> bool:
        """Whether `demand` will be answered with `data` later, by `answer`."""

    def waited(self, demand: Any) -> None:
        """`demand` was answered by a source that takes time."""


class FileNode(Node):
    """A mappable file. Pagers read `size` and `source`, and write by `write`; the rest is the control plane's.

    Replies to READ end where the kernel believes that the file ends, for a shorter one would make it shrink
    the file. `generation` counts the changes of the content that did not come through the mount.
    """

    def __init__(self, inode: int, parent: Node | None, name: bytes, terms: Terms) -> None:
        Node.__init__(self, inode, parent, name)  # a mirrored file has another base between
        self.terms = terms
        self.timeout = FOREVER if terms.coherency is Coherency.FIXED else BRIEFLY
        self.size = 0
        self.source: Source | None = None
        self.served: Served | None = None
        self.generation = 0
        self.cached = 0  # the generation that the kernel's page cache may hold; 0: none was opened yet
        self.version: Hashable = None
        self.opens = 0
        self.writers = 0
        self.removed = False
        self.passed_through = False  # the kernel maps its backing itself, while it is open
        self.trace_id = 0  # what the trace calls this version of it
        self.ahead: Follows | None = None  # where its demands are followed, to push what comes next
        self.pushing = threading.Lock()  # held while pages are pushed: nobody may begin to write meanwhile
        self._digests = Digests() if terms.coherency is Coherency.LIVE else None
        self._rules: Rules | None = None
        self._opened: Source | None = None
        self._lock = threading.Lock()
        self._looked = 0  # the turn of the look whose size and version these are
        self._changing = 0
        self._changes = 0
        self._uses = 0
        self._unused: list[Source] = []  # to be closed once nobody uses the node's source

    # opening

    @abstractmethod
    def new_source(self) -> Source:
        """Opens what it is made of, which may take long where the file is `slow`; for `opened_as`."""

    def opened_as(self, source: Source) -> None:
        """Lets `source`, which was just opened, be the node's, unless another is by now."""
        if self._opened is None:
            self._set(source)
        else:
            source.close()

    @abstractmethod
    def _idle(self) -> None:
        """The last handle was closed."""

    def acquire(self, *, writing: bool = False) -> Source:
        """The source, opened if need be; each call is matched by a `release`. Raises OSError or SourceError."""
        try:
            if self._opened is None:
                self._set(self.new_source())
            if writing:
                self._make_writable()
        except BaseException:
            self.unused()
            raise
        self.writers += writing
        self.opens += 1
        assert self.source is not None
        return self.source

    def release(self, *, writing: bool = False) -> None:
        """One open handle less; the last one closes what only open handles need."""
        self.opens -= 1
        self.writers -= writing
        self.unused()

    def unused(self) -> None:
        """Closes what only open handles need, where there is none: a source that was opened for one that never was."""
        if not self.opens:
            self._idle()

    def _make_writable(self) -> None:
        """For sources that are opened for reading first."""

    def _set(self, source: Source | None) -> None:
        """Lets `source` be what the file is made of, with what the mount puts around it."""
        layered, served = source, None
        if layered is not None and self._digests is not None:
            layered = served = Served(layered, self._digests)
        self._opened, self.served = source, served
        if layered is not None and self._rules is not None:
            layered = Injected(layered, self._rules)
        self.source = layered

    @property
    def opened(self) -> Source | None:
        """The source as its spec has it, without what the mount puts around it."""
        return self._opened

    @property
    def rules(self) -> list[str]:
        """What `inject` set, as text."""
        return self._rules.describe() if self._rules is not None else []

    @property
    def overlay(self) -> CopyOnWrite | None:
        """The overlay that keeps what is written, if the spec asks for one."""
        source = self._opened
        while isinstance(source, Wrapper):
            if isinstance(source, CopyOnWrite):
                return source
            source = source.inner
        return None

    def remove(self) -> None:
        self.removed = True
        if not self.opens:
            self.close()

    def inject(self, texts: Sequence[str], *, clear: bool = False) -> list[str]:
        """Lets further rules hold for what is asked for from now on; all that hold. Raises SpecError, and then adds
        none.
        """
        rules = self._rules if self._rules is not None else Rules()
        for text in texts:
            parse_fault(text)
        if clear:
            rules.clear()
        for text in texts:
            rules.add(text)
        self._hold(rules)
        return rules.describe()

    def _hold(self, rules: Rules) -> None:
        """Puts `rules`, if there are any, around the source."""
        self._rules = rules if rules.describe() else None
        self._set(self._opened)

    def runs(self, pages: str) -> list[range]:
        """The pages that a list such as `3+5-9` names, as far as the file has them. Raises SpecError."""
        end = page_count(self.size)
        found = Pages.parse(pages).ranges
        return [range(first, end if last is None else min(last + 1, end)) for first, last in found if first < end]

    @contextlib.contextmanager
    def using(self) -> Iterator[Source]:
        """Around a call of the source that may take long: what is closed meanwhile is closed afterwards, for a
        handle can go while a demand that was given up is still being read.
        """
        with self._lock:
            source = self.source
            assert source is not None, "a handle keeps its source open"
            self._uses += 1
        try:
            yield source
        finally:
            with self._lock:
                self._uses -= 1
                unused, self._unused = ([], self._unused) if self._uses else (self._unused, [])
            for one in unused:
                one.close()

    def close(self) -> None:
        """Gives the source back, as soon as nobody uses it."""
        source = self._opened
        self._set(None)
        if source is not None:
            with self._lock:
                if self._uses:
                    self._unused.append(source)
                    return
            source.close()

    # attributes

    def looked_at(self, look: Callable[[], tuple[Entry, Hashable]], *, unopened: bool = False) -> Entry:
        """The entry that `look` reads, with the version of the content; notices what the backing became by itself.
        `unopened`: it was read when no source was open.
        """
        before, turn = self._changes, _turn()
        entry, version = look()
        with self._lock:
            # who looked later was quicker, and saw what is newer
            late = turn < self._looked or (unopened and self.source is not None)
            if not late and (not self.generation or not (self._changing or self._changes != before)):
                self._looked, self.size = turn, entry.size
                self._judge(version)
        return entry

    def _judge(self, version: Hashable) -> None:
        if version != self.version or not self.generation:
            # of a live file the watcher sees to the pages, one by one; those passed through are the backing's own
            own = self.terms.coherency not in (Coherency.FIXED, Coherency.LIVE) and not self.passed_through
            if own or not self.generation:
                self.generation += 1
            self.version = version

    def changed_whole(self) -> bool:
        """Whether the content of a live file whose source notices every change is another; from then on it is not."""
        source, digests = self.source, self._digests
        assert source is not None, "watched while it is open"
        assert digests is not None, "watched because it is live"
        version = source.version()
        with digests.lock:
            before, digests.version = digests.version, version
            if before in (None, version):
                return False
            digests.forget()
        return True

    @property
    def stale(self) -> bool:
        """Whether the page cache may hold pages of a content that is no more."""
        return self.cached not in (0, self.generation)

    # changes that come through the mount

    @contextlib.contextmanager
    def changing(self) -> Iterator[Source]:
        """Around a change of content or times that the kernel asked for. Gives the source."""
        source = self.source
        assert source is not None, "what is changed is open"
        with self._lock:
            if not self._changing and self.generation:
                self._judge(source.version())
            self._changing += 1
        try:
            yield source
        finally:
            with self._lock:
                self._changing -= 1
                self._changes += 1
                if not self._changing:
                    self.version = source.version()

    def write(self, offset: int, data: Buffer) -> None:
        """Stores `data`; the file grows where it ends behind the end."""
        with self.changing() as source:
            source.write(offset, data)
            with self._lock:
                self.size = max(self.size, offset + len(data))

    def resize(self, size: int) -> None:
        """Cuts the file off, or continues it with zeroes."""
        with self.changing() as source:
            source.resize(size)
            self.size = size

    def allocate(self, mode: int, offset: int, size: int) -> None:
        """fallocate(2)."""
        with self.changing() as source:
            source.allocate(mode, offset, size)
            self.size = source.size

    def change(self, changes: Changes) -> None:
        """Mode, owner or times, of an open file."""
        with self.changing() as source:
            source.change(changes)


class FixedFile(FileNode):
    """A file whose source was opened at the mount, or added later, and stays open."""

    def __init__(self, inode: int, parent: Node, name: bytes, spec: str, source: Source, terms: Terms) -> None:
        super().__init__(inode, parent, name, terms)
        self.spec = spec
        self._set(source)
        self._first: Entry | None = None

    @property
    def writable(self) -> bool:
        return self._opened is not None and self._opened.writable

    def entry(self) -> Entry:
        return self.looked_at(self._look)

    def _look(self) -> tuple[Entry, Hashable]:
        source = self.source
        assert source is not None
        if self.terms.coherency is not Coherency.FIXED or source.writable:
            return source.entry(), source.version()
        if self._first is None:
            self._first = source.entry()
        return self._first, None

    def new_source(self) -> Source:
        raise AssertionError("its source is open from the beginning")

    def _idle(self) -> None:
        if self.removed:
            self.close()
