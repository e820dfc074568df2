"""`coherency=live`: what changes underneath an open file is seen in its mappings within the file's interval.

Each open file that is live has a thread, which compares what was served with what there is (`wrap.served`): at each
interval, and at once where inotify(7) tells of a write. Changed pages alone are pushed into the page cache, or
dropped where somebody has the file open for writing: a push could overwrite what was stored and not yet written
back. A new size is told to the kernel by asking it for the file's attributes.

A file that nobody has open is not watched; it is compared when it is opened again.
"""

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from inotify_simple import INotify, flags  # type: ignore[import-untyped] # it ships no types

from mapfs.errors import reason_of
from mapfs.fuse.notifier import Notifier
from mapfs.sources.coherency import Coherency
from mapfs.tree.filenodes import FileNode
from mapfs.units import PAGE_SIZE

_SOON = 0.02  # seconds between two looks that inotify calls for
_RUN = 256  # pages that are pushed at once


@dataclass(eq=False)
class _Watch:
    node: FileNode
    called: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    wd: int = -1
    warned: bool = False


class Watcher:
    """Watches the live files of one mount that are open. `mountpoint` is where their sizes are asked for."""

    def __init__(self, notifier: Notifier, mountpoint: str, warn: Callable[[str], None]) -> None:
        self._notifier = notifier
        self._mountpoint = mountpoint
        self._warn = warn
        self._lock = threading.Lock()
        self._watches: dict[FileNode, _Watch] = {}
        self._inotify: INotify | None = None
        self._by_wd: dict[int, list[_Watch]] = {}
        self._closed = False

    def opened(self, node: FileNode) -> None:
        """`node` has a handle: it is watched until its last one goes."""
        if node.terms.coherency is not Coherency.LIVE:
            return
        with self._lock:
            if node in self._watches or self._closed:
                return
            watch = self._watches[node] = _Watch(node)
            self._ask_for_events(watch)
            watch.thread = threading.Thread(target=self._run, args=(watch,), name="watch", daemon=True)
            watch.thread.start()

    def released(self, node: FileNode) -> None:
        """A handle of `node` went."""
        watch = self._watches.get(node)
        if watch is not None and not node.opens:
            with self._lock:
                self._drop(watch)

    def close(self) -> None:
        """Ends all threads; they are not waited for, since the kernel may keep one waiting for a page."""
        with self._lock:
            self._closed = True
            for watch in list(self._watches.values()):
                self._drop(watch)
            if self._inotify is not None:
                with contextlib.suppress(OSError):
                    self._inotify.close()

    @property
    def count(self) -> int:
        """Files that are watched now."""
        return len(self._watches)

    def check(self, node: FileNode) -> None:
        """Compares what was served of `node` with what there is, and tells the kernel. May wait."""
        with node.using() as source:
            if source.refreshes:
                source.refresh()
            self._check_size(node)
            if source.versioned:
                if node.changed_whole():
                    self._notifier.drop(node)
                return
            served = node.served
            assert served is not None, "a live file remembers what it served"
            for first, data in _runs(served.changes()):
                self._replace(node, first * PAGE_SIZE, data)

    # the threads

    def _run(self, watch: _Watch) -> None:
        node = watch.node
        interval = node.terms.interval
        due = time.monotonic() + interval
        while True:
            called = watch.called.wait(max(0.0, due - time.monotonic()))
            if self._watches.get(node) is not watch:
                return
            watch.called.clear()
            began = time.monotonic()
            try:
                self.check(node)
            except Exception as error:  # whatever the source raises; the next look may fare better
                if not watch.warned and self._watches.get(node) is watch:
                    watch.warned = True
                    self._warn(
                        f"{os.fsdecode(node.path())} cannot be compared: {reason_of(error)}; it goes on as it is"
                    )
            took = time.monotonic() - began
            due = max(began + interval, time.monotonic() + took / 4)
            if called:
                watch.called.wait(0)
                time.sleep(_SOON)  # a program that writes all the time calls no more often

    def _check_size(self, node: FileNode) -> None:
        source = node.source
        if source is None or source.size == node.size:
            return
        self._notifier.drop_attributes(node)
        with contextlib.suppress(OSError):
            os.stat(os.path.join(os.fsencode(self._mountpoint), node.path()))

    def _replace(self, node: FileNode, offset: int, data: bytes) -> None:
        """Pages whose content is `data` now."""
        with node.pushing:
            if not node.writers and offset + len(data) <= node.size:
                self._notifier.store(node, offset, data)
                return
        self._notifier.drop(node, offset, len(data))

    # inotify

    def _ask_for_events(self, watch: _Watch) -> None:
        """Where the backing is a file that inotify knows, it tells of a write at once; stores through a mapping it
        never tells of, so the file is looked at all the same.
        """
        source = watch.node.source
        if source is None or source.backing_fd is None:
            return
        try:
            if self._inotify is None:
                self._inotify = INotify()
                threading.Thread(target=self._read_events, args=(self._inotify,), name="inotify", daemon=True).start()
            watch.wd = self._inotify.add_watch(f"/proc/self/fd/{source.backing_fd}", flags.MODIFY)
        except OSError:  # too many watches, or none to be had: the interval is what remains
            return
        self._by_wd.setdefault(watch.wd, []).append(watch)

    def _read_events(self, inotify: INotify) -> None:
        poller = select.poll()
        poller.register(inotify.fileno(), select.POLLIN)
        while not self._closed:
            try:
                poller.poll(1000)
                wanted = {event.wd for event in inotify.read(timeout=0)}
            except (OSError, ValueError):
                return  # closed
            with self._lock:
                for wd in wanted:
                    for watch in self._by_wd.get(wd, []):
                        watch.called.set()

    def _drop(self, watch: _Watch) -> None:
        self._watches.pop(watch.node, None)
        watch.called.set()
        same = self._by_wd.get(watch.wd, [])
        if watch in same:
            same.remove(watch)
            if not same and self._inotify is not None:
                del self._by_wd[watch.wd]
                with contextlib.suppress(OSError):
                    self._inotify.rm_watch(watch.wd)


def _runs(changes: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Pages that follow one another, together."""
    first, pieces = 0, list[bytes]()
    for page, content in changes:
        if pieces and (page != first + len(pieces) or len(pieces) == _RUN):
            yield first, b"".join(pieces)
            pieces = []
        if not pieces:
            first = page
        pieces.append(content)
    if pieces:
        yield first, b"".join(pieces)
