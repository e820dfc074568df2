"""Pushing ahead: a file whose demands run forward gets its next pages before they are demanded (`prefetch=`).

Each thread that demands pages of the file is followed by itself. Once its demands have run forward for a while, one is
answered only when a window of pages behind it was pushed: else the thread would demand the very next page, and every
page would cost a request. That wait is the window's, a millisecond or so with `auto`, and spent by threads of this
module, so that nobody else waits for it. From then on a window is pushed while the thread goes through the one before.
Between two windows one page is left out: that it is demanded says how far the thread has come, as the kernel's own
read-ahead has it from a flag of a page. Windows double as long as the thread goes on behind them, and begin anew where
it does not: then what was pushed was not wanted, and it takes more demands in a row until the next. The same where the
evidence beyond the requests saw that most of it was passed by (`streams`, `passed`).

A source that has to be waited for is another matter: its demand is answered at once, and the window is read meanwhile.

A push waits for the lock of a page whose READ is in flight. So a demand is held back only where nothing is pushed to
its file but a window behind the demand: what is in flight in there is answered by somebody else, and no two threads
wait for each other.
"""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mapfs.fuse import wire
from mapfs.fuse.demand import Demand, checked
from mapfs.fuse.notifier import Notifier
from mapfs.fuse.pressure import memory_is_short
from mapfs.fuse.push import put, put_by
from mapfs.fuse.splice import Splicer
from mapfs.fuse.streams import Stream
from mapfs.sources.base import Buffer, Source
from mapfs.sources.coherency import Coherency
from mapfs.trace.facts import HeldBackFact, PassedBy
from mapfs.tree.filenodes import FileNode
from mapfs.units import PAGE_SIZE, page_count

_FIRST = 128 << 10  # bytes of the first window
_STREAMS = 64  # threads that are followed in one file
_PIECE = 512 << 10  # bytes that one thread pushes of a window, at the least
_LOOK_EVERY = 1.0  # seconds between two looks at the memory

Answer = Callable[[Demand, Buffer], None]


@dataclass(frozen=True, slots=True)
class _Held:
    """A demand that waits, with its answer."""

    demand: Demand
    data: Buffer
    answer: Answer


@dataclass(slots=True, eq=False)
class _Window:
    """Pages that are being pushed. Then `held` is answered, and `then` is pushed."""

    stream: Stream
    pages: range
    waits: bool = False  # whether a source that takes time is waited for: then no demand is held
    held: _Held | None = None
    then: range = range(0)
    pieces: int = 0  # that are not done
    missing: int | None = None  # the first page that could not be pushed


class Follower:
    """Follows the demands of one file, at most `limit` bytes ahead. Called by pagers."""

    def __init__(self, ahead: "Ahead", node: FileNode, limit: int) -> None:
        self.node = node
        self._ahead = ahead
        self._limit = max(1, limit // PAGE_SIZE)
        self._streams: dict[int, Stream] = {}
        self._lock = threading.Lock()
        self._pushed: _Window | None = None  # there is one at a time

    def takes(self, demand: Demand, data: Buffer, answer: Answer) -> bool:
        """Whether `demand`, to be answered with `data`, is answered later, by `answer`, behind a window."""
        with self._lock:
            stream, end = self._reached(demand)
            if stream is None:
                return False
            held, pushed = _Held(demand, data, answer), self._pushed
            if pushed is not None:
                if pushed.stream is not stream or pushed.pages.start < end or pushed.held or pushed.waits:
                    return False
                pushed.held, pushed.then = held, self._behind(stream)  # it was quicker than that window
                return True
            if stream.end > end:
                window = _Window(stream, self._behind(stream))
                return self._push(window)
            window = _Window(stream, self._window(stream, end), held=held)
            stream.next = stream.end = window.pages.stop
            window.then = self._behind(stream)
            return self._push(window)

    def waited(self, demand: Demand) -> None:
        """`demand` was answered by a source that takes time."""
        if demand.opcode != wire.READ:
            return
        with self._lock:
            stream, end = self._reached(demand)
            if stream is not None and self._pushed is None:
                window = _Window(stream, self._window(stream, end), waits=True)
                stream.next = stream.end = window.pages.stop
                self._push(window)

    def done(self, window: _Window, failed: int | None) -> None:
        """A piece of `window` was pushed, or could not be: the page that it begins with."""
        with self._lock:
            if failed is not None:
                window.missing = failed if window.missing is None else min(failed, window.missing)
            window.pieces -= 1
            if window.pieces:
                return
            self._pushed = None
            stream = window.stream
            if window.missing is None or window.waits:
                self._push(_Window(stream, window.then))
            else:  # it is not in memory: it is read while nobody is held up
                stream.end = min(stream.end, window.pages.stop)
                self._push(_Window(stream, range(window.missing, window.pages.stop), waits=True))
        if window.held is not None:
            window.held.answer(window.held.demand, window.held.data)

    def passed(self, found: PassedBy) -> bool:
        """Evidence saw what a thread left untouched. Whether it is held back for that."""
        with self._lock:
            stream = self._streams.get(found.tid)
            if stream is None or not stream.hold_back(found.first):
                return False
            if self._pushed is not None and self._pushed.stream is stream:
                self._pushed.then, stream.end = range(0), 0
            return True

    def _push(self, window: _Window) -> bool:
        """Begins with it, where it has pages; whether a demand is held for it."""
        if not window.pages:
            return False
        self._pushed = window
        self._ahead.push(self, window)
        return window.held is not None

    def _reached(self, demand: Demand) -> tuple[Stream | None, int]:
        """The stream of `demand`, if it has come to where something is to be pushed; and the page behind the demand."""
        first = demand.offset // PAGE_SIZE
        end = page_count(demand.offset + demand.size)
        stream = self._streams.pop(demand.tid, None)
        if stream is None:
            reached, stream = False, Stream(end, end)
            if len(self._streams) >= _STREAMS:
                self._streams.pop(next(iter(self._streams)))  # the one that was silent for longest
        else:
            reached = stream.demands(first, end)
        self._streams[demand.tid] = stream
        if not reached or self.node.writers or not self._ahead.room:
            return None, end
        return stream, end

    def _window(self, stream: Stream, start: int) -> range:
        """The next window, from the page `start` on; empty at the end of the file."""
        size = stream.grow(start, max(1, _FIRST // PAGE_SIZE), self._limit)
        return range(start, max(start, min(page_count(self.node.size), start + size)))

    def _behind(self, stream: Stream) -> range:
        """The next window, behind the page that is waited for."""
        window = self._window(stream, stream.next + 1)
        stream.end = max(stream.end, window.stop)
        return window


def _at_hand(source: Source, offset: int, size: int) -> bool:
    """Whether the backing has these bytes in memory, as far as its first and last page tell."""
    last = (offset + size - 1) // PAGE_SIZE * PAGE_SIZE
    near, far = (source.try_read(at, min(PAGE_SIZE, offset + size - at)) for at in (offset, last))
    return near is not None and far is not None


class Ahead:
    """Pushes windows, in one mount. `default` is the limit, bytes, of files whose spec does not say; 0: none. `tell` is
    told of what is held back.
    """

    def __init__(self, notifier: Notifier, default: int, tell: Callable[[HeldBackFact], object]) -> None:
        self._notifier = notifier
        self._default = default
        self._tell = tell
        self._followers: dict[int, Follower] = {}  # by inode
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._own = threading.local()
        self._looked = 0.0
        self._room = True

    def opened(self, node: FileNode) -> None:
        """A handle of `node` was made."""
        limit = node.terms.prefetch if node.terms.prefetch is not None else self._default
        if limit and node.ahead is None and node.terms.coherency is not Coherency.PASSTHROUGH:
            if not self._threads:
                self._start()
            node.ahead = self._followers[node.inode] = Follower(self, node, limit)

    def released(self, node: FileNode) -> None:
        """A handle of `node` went."""
        if not node.opens:
            node.ahead = None
            self._followers.pop(node.inode, None)

    def passed(self, found: PassedBy) -> None:
        """The recorder saw that most of what was pushed for a thread was touched by nobody. It may be late, or be told
        of a file that nobody has open any more.
        """
        follower = self._followers.get(found.inode)
        if follower is not None and follower.passed(found):
            self._tell(HeldBackFact(follower.node.trace_id, 1, found.pushed, found.untouched))

    @property
    def room(self) -> bool:
        """Whether there is memory to spare, as it was at most a second ago."""
        now = time.monotonic()
        if now - self._looked > _LOOK_EVERY:
            self._looked = now
            self._jobs.put(self._look)
        return self._room

    def push(self, follower: Follower, window: _Window) -> None:
        """Has the pages of `window` pushed, and says so. Does not wait."""
        node = follower.node
        offset, end = window.pages.start * PAGE_SIZE, min(window.pages.stop * PAGE_SIZE, node.size)
        whole = window.waits or node.source is None or node.source.backing_fd is None
        # a server is asked once, one interpreter makes bytes no faster, and one CPU is the client's
        parts = 1 if whole else max(1, len(os.sched_getaffinity(0)) - 1)
        step = max(_PIECE, page_count(-(-(end - offset) // parts)) * PAGE_SIZE)
        pieces = [(at, min(step, end - at)) for at in range(offset, end, step)]
        window.pieces = len(pieces)
        for piece in pieces:
            self._jobs.put(partial(self._piece, follower, window, *piece))

    def _start(self) -> None:
        """As many threads as there are CPUs, or as can be started. Raises RuntimeError where that is none."""
        for number in range(len(os.sched_getaffinity(0))):
            thread = threading.Thread(target=self._run, name=f"ahead-{number}", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                if not self._threads:
                    raise
                break
            self._threads.append(thread)

    def _run(self) -> None:
        while True:
            self._jobs.get()()

    def _splicer(self) -> Splicer:
        """That of this thread."""
        if not hasattr(self._own, "splicer"):
            self._own.splicer = Splicer()
        made: Splicer = self._own.splicer
        return made

    def _look(self) -> None:
        self._room = not memory_is_short()

    def _piece(self, follower: Follower, window: _Window, offset: int, size: int) -> None:
        pushed = False
        if follower.node.source is not None:
            with contextlib.suppress(Exception):  # whatever the source raises: whoever demands the page is told
                pushed = self._fill(follower.node, offset, size, waits=window.waits)
        follower.done(window, None if pushed else offset // PAGE_SIZE)

    def _fill(self, node: FileNode, offset: int, size: int, *, waits: bool) -> bool:
        generation = node.generation
        with node.using() as source:
            if not waits and self._spliced(node, source, generation, offset, size):
                return True
            found = source.try_read(offset, size)
            if found is None and waits and not source.hold(offset, size) > 0:  # slow on purpose: to be seen waiting
                found = source.read(offset, size)
            return found is not None and put(self._notifier, node, generation, offset, checked(found, size)) is None

    def _spliced(self, node: FileNode, source: Source, generation: int, offset: int, size: int) -> bool:
        """Pushes what the source's descriptor has in memory; False where that cannot be done."""
        fd, splicer = source.backing_fd, self._splicer()
        if node.terms.coherency is Coherency.LIVE:  # what is served of it is remembered, and so has to be read
            return False
        if fd is None or not splicer.most or not _at_hand(source, offset, size):
            return False
        for at in range(offset, offset + size, splicer.most):
            part = min(splicer.most, offset + size - at)
            store = partial(self._notifier.store_from, splicer, node, at, part, fd)
            if put_by(self._notifier, node, generation, at, part, store) is not None:
                break
        return True
