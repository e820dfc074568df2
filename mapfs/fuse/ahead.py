"""Pushing ahead: a file whose demands run forward gets its next pages before they are demanded (`prefetch=`).

Each thread that demands pages of the file is followed by itself. Once its demands have run forward for a while, one is
answered only when a window of pages behind it was pushed: else the thread would demand the very next page, and every
page would cost a request. That wait is the window's, a millisecond or so with `auto`, and spent by threads of this
module, so that nobody else waits for it. Windows double as long as the thread goes on behind them, and begin anew where
it does not: then what was pushed was not wanted, and it takes more demands in a row until the next.

A source that has to be waited for is another matter: its demand is answered at once, and the window is read meanwhile.

A push waits for the lock of a page whose READ is in flight, so a demand is held back only while nothing is pushed to
its file: what is in flight is then answered by somebody else, and no two threads wait for each other.
"""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from mapfs.fuse import wire
from mapfs.fuse.demand import Demand, checked
from mapfs.fuse.notifier import Notifier
from mapfs.fuse.pressure import memory_is_short
from mapfs.fuse.push import put, put_by
from mapfs.fuse.splice import Splicer
from mapfs.sources.base import Buffer, Source
from mapfs.sources.coherency import Coherency
from mapfs.tree.filenodes import FileNode
from mapfs.units import PAGE_SIZE

_FIRST = 128 << 10  # bytes of the first window
_RUN, _LONGEST_RUN = 4, 64  # demands in a row before something is pushed: at first, and after much that was in vain
_NEAR = 32  # pages by which a demand may lie behind the last one, or its window, and still be the next
_STREAMS = 64  # threads that are followed in one file
_PIECE = 512 << 10  # bytes that one thread pushes of a window
_LOOK_EVERY = 1.0  # seconds between two looks at the memory

Answer = Callable[[Demand, Buffer], None]


@dataclass(slots=True)
class _Stream:
    """How one thread goes through a file. In pages."""

    last: int  # where its last demand ended
    next: int  # where the next one is expected: there, or behind the window
    run: int = 0
    needed: int = _RUN
    window: int = 0  # the size of the last one that was pushed, 0: none


@dataclass(slots=True)
class _Window:
    """What is being pushed; `demand` is answered with `data` when the last piece is done."""

    pieces: int
    demand: Demand | None
    data: Buffer
    answer: Answer
    lock: threading.Lock = field(default_factory=threading.Lock)


class Follower:
    """Follows the demands of one file, at most `limit` bytes ahead. Called by pagers."""

    def __init__(self, ahead: "Ahead", node: FileNode, limit: int) -> None:
        self._ahead = ahead
        self._node = node
        self._limit = max(1, limit // PAGE_SIZE)
        self._streams: dict[int, _Stream] = {}
        self._lock = threading.Lock()
        self.busy = False

    def takes(self, demand: Demand, data: Buffer, answer: Answer) -> bool:
        """Whether `demand`, to be answered with `data`, is answered later, by `answer`, behind a window."""
        window = self._next(demand)
        if window is None:
            return False
        self._ahead.push(self, self._node, window, demand, data, answer)
        return True

    def waited(self, demand: Demand) -> None:
        """`demand` was answered by a source that takes time."""
        window = self._next(demand) if demand.opcode == wire.READ else None
        if window is not None:
            self._ahead.push(self, self._node, window, None, b"", _no_answer)

    def _next(self, demand: Demand) -> range | None:
        """The pages to push behind `demand`, where there are any, and nothing is pushed to the file now."""
        first = demand.offset // PAGE_SIZE
        end = -(-(demand.offset + demand.size) // PAGE_SIZE)
        with self._lock:
            stream = self._streams.pop(demand.tid, None)
            if stream is None:
                stream = _Stream(end, end)
                if len(self._streams) >= _STREAMS:
                    self._streams.pop(next(iter(self._streams)))  # the one that was silent for longest
            elif stream.last <= first <= stream.next + _NEAR:
                stream.run += 1
                if stream.window and first >= stream.next:  # else its pages are not there yet
                    stream.needed = max(_RUN, stream.needed // 2)
            else:
                if stream.window:  # it did not get to the end of what was pushed
                    stream.needed = min(_LONGEST_RUN, stream.needed * 2)
                stream.run = stream.window = stream.next = 0
            self._streams[demand.tid] = stream
            stream.last, stream.next = end, max(stream.next, end)
            last = -(-self._node.size // PAGE_SIZE)
            if self.busy or stream.run < stream.needed or not end == stream.next < last:
                return None
            if self._node.writers or not self._ahead.room:
                return None
            stream.window = min(self._limit, stream.window * 2 or max(1, _FIRST // PAGE_SIZE))
            stream.next = min(last, end + stream.window)
            self.busy = True
            return range(end, stream.next)


def _at_hand(source: Source, offset: int, size: int) -> bool:
    """Whether the backing has these bytes in memory, as far as its first and last page tell."""
    last = (offset + size - 1) // PAGE_SIZE * PAGE_SIZE
    near, far = (source.try_read(at, min(PAGE_SIZE, offset + size - at)) for at in (offset, last))
    return near is not None and far is not None


def _no_answer(_: Demand, __: Buffer) -> None:
    """Of a demand that was answered before."""


class Ahead:
    """Pushes windows, in one mount. `default` is the limit, bytes, of files whose spec does not say; 0: none."""

    def __init__(self, notifier: Notifier, default: int) -> None:
        self._notifier = notifier
        self._default = default
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
            node.ahead = Follower(self, node, limit)

    def released(self, node: FileNode) -> None:
        """A handle of `node` went."""
        if not node.opens:
            node.ahead = None

    @property
    def room(self) -> bool:
        """Whether there is memory to spare, as it was at most a second ago."""
        now = time.monotonic()
        if now - self._looked > _LOOK_EVERY:
            self._looked = now
            self._jobs.put(self._look)
        return self._room

    def push(
        self, follower: Follower, node: FileNode, pages: range, demand: Demand | None, data: Buffer, answer: Answer
    ) -> None:
        """Has `pages` pushed, and answers `demand` then. Does not wait."""
        offset, end = pages.start * PAGE_SIZE, min(pages.stop * PAGE_SIZE, node.size)
        step = _PIECE if demand is not None else end - offset  # a server is asked once
        pieces = [(at, min(step, end - at)) for at in range(offset, end, step)]
        window = _Window(len(pieces), demand, data, answer)
        for piece in pieces:
            self._jobs.put(lambda piece=piece: self._piece(follower, node, window, *piece))  # type: ignore[misc]

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

    def _piece(self, follower: Follower, node: FileNode, window: _Window, offset: int, size: int) -> None:
        if node.source is not None:
            with contextlib.suppress(Exception):  # whatever the source raises: whoever demands the page is told
                self._fill(node, window, offset, size)
        with window.lock:
            window.pieces -= 1
            last = not window.pieces
        if last:
            follower.busy = False
            if window.demand is not None:
                window.answer(window.demand, window.data)

    def _fill(self, node: FileNode, window: _Window, offset: int, size: int) -> None:
        generation = node.generation
        with node.using() as source:
            if window.demand is not None and self._spliced(node, source, generation, offset, size):
                return
            found = source.try_read(offset, size)
            if found is None and window.demand is None:
                if source.hold(offset, size) > 0:  # slow on purpose: each demand is to be seen waiting
                    return
                found = source.read(offset, size)
            if found is not None:
                put(self._notifier, node, generation, offset, checked(found, size))

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
