"""The account of the page cache: requests and samples, in the order of time, become events.

A request says that a page was not there. What a thread did just before and after says more: by a page fault or by
read(2), for which of its pages it waited, and how long in all. Samples without a request say who got pages that were
there, and the account knows who had brought them in: SHARED, AHEAD, or JOINED for a thread that came while the page was
on its way. An event is handed on when all of this is known, or after some patience: then it says what it can.

A fault, as tier kernel shows it, of one thread: perhaps MAPPED (neighbours that the cache has), FAULT on the page, the
request, and once it is answered the retry: MAPPED around the page, or FAULT on it again where the kernel maps no
neighbours (stores). read(2) shows TAKEN when it has its pages.
"""

from collections import deque
from collections.abc import Callable

from mapfs.trace.events import AHEAD, COLD, DROP, JOINED, PUSH, READ, REFAULT, VIA_FAULT, VIA_READ, WRITE
from mapfs.trace.evidence import pages as why
from mapfs.trace.evidence import sample as kinds
from mapfs.trace.evidence.gains import Gains
from mapfs.trace.evidence.item import Item, of_eviction, of_pages, of_request
from mapfs.trace.evidence.names import Names
from mapfs.trace.evidence.pages import Pages
from mapfs.trace.evidence.passing import Passing
from mapfs.trace.evidence.sample import Sample
from mapfs.trace.evidence.waits import Wait, Waits
from mapfs.trace.facts import FileFact
from mapfs.trace.ring import DIRECT, Record
from mapfs.units import PAGE_SIZE, page_span

_PATIENCE = 200_000_000  # ns for a thread that was answered to go on, which may have to wait for a CPU
_SHORT = 50_000_000  # ns, where a thread that goes on is not seen in most cases
_ABREAST = 100_000_000  # ns by which a thread may fault before another whose request for the same page comes first
_SWEEP = 64  # requests of a thread that no fault explains, between two looks for those that were handed on
_QUEUED = 1_000_000_000  # ns that a request may have waited until mapfs took it


class Account:
    """`kernel`: the samples are of the tier kernel, so that evictions show and no fault goes unseen."""

    def __init__(self, names: Names, daemon: int, *, kernel: bool) -> None:
        self._names = names
        self._daemon = daemon
        self._kernel = kernel
        self._patience = _PATIENCE if kernel else _SHORT
        self._queue: deque[Item] = deque()
        self._pages: dict[int, Pages] = {}  # by inode
        self._inodes: dict[int, int] = {}  # by file
        self._waits = Waits()
        self.passing = Passing()
        self._gains = Gains(names)
        self._unsettled: dict[int, list[Item]] = {}  # by tid: requests that no fault explains yet
        self._seen: dict[int, int] = {}  # by tid: the time of its last sample
        self._evicted: tuple[int, int, int, Item] | None = None  # inode, next page, tid, item
        self._doubted = self._blind = 0  # moments: before them samples are missing, or evictions
        self._joined = 0  # the moment up to which everything came in
        self._ending = False
        self._handlers: dict[int, Callable[[Sample], None]] = {
            kinds.FAULT: self._fault,
            kinds.MAPPED: self._mapped,
            kinds.TAKEN: self._taken,
            kinds.EVICTED: self._evict,
            kinds.TOUCHED_MINOR: self._touched,
            kinds.TOUCHED_MAJOR: self._touched,
            kinds.EXEC: self._executed,
            kinds.FORKED: names.forked,
            kinds.EXITED: self._exited,
        }

    # what comes in, in the order of time

    def known(self, fact: FileFact) -> None:
        """A file, or a new version of one, or a new inode of one."""
        self._inodes[fact.id] = fact.inode
        pages = self._pages.get(fact.inode)
        if pages is None:
            self._pages[fact.inode] = Pages(fact.id)
        elif pages.file != fact.id:
            pages.file = fact.id
            pages.doubt_all()
            if not self._kernel:  # which drops them, and shows that it does
                pages.clear()

    def ending(self) -> None:
        """What leaves the cache from now on, and what has left it just now, does so because the mount ends."""
        self._ending = True

    def missed(self, until: int) -> None:
        """Requests or samples from before the moment `until`, ns, are missing, perhaps of those that come next: that a
        thread did nothing is not known any more.
        """
        self._waits.clear()
        self._doubted = until
        self.passing.clear()
        for pages in self._pages.values():
            pages.doubt_all()

    def lost(self, until: int) -> None:
        """Evictions are missing, too: what the cache has is not known any more."""
        self.missed(until)
        self._blind = until
        for pages in self._pages.values():
            pages.clear()

    def sample(self, one: Sample) -> None:
        """A sample of any tier."""
        self._handlers[one.kind](one)

    def request(self, record: Record, cls: str | None, refaults: int) -> None:
        """A request that was answered."""
        item = of_request(record, cls, refaults)
        self._queue.append(item)
        inode = self._inodes.get(record.file)
        answered = record.time_ns + record.wait_ns
        if inode is None or not record.size or answered <= self._blind:
            return
        pages, span = self._pages[inode], page_span(record.offset, record.size)
        if record.op == READ:
            self._read(item, inode, pages, span, answered)
        elif record.errno:
            return
        elif record.op == WRITE and record.tid and not record.flags & DIRECT:
            first, end = -(-record.offset // PAGE_SIZE), (record.offset + record.size) // PAGE_SIZE
            if first < end:  # of a page that is written in part, the kernel asks for the rest
                pages.bring(first, end - 1, record.thread, why.WRITTEN)
        elif record.op == PUSH:
            pages.bring(span.start, span.stop - 1, 0, why.PUSHED)
            # what touched them first came in before, or is missing
            if not self._kernel or record.time_ns <= max(self._joined, self._doubted):
                pages.doubt(span.start, span.stop - 1)
        elif record.op == DROP and not self._kernel:
            pages.evict(span.start, span.stop - 1)

    def settled(self, now: int) -> list[Item]:
        """The events of which all is known at `now`, ns, in their order."""
        self._joined, queue, done = now, self._queue, []
        while queue and (not queue[0].open or queue[0].until < now):
            done.append(item := queue.popleft())
            item.open = False
            if self._evicted and self._evicted[3] is item:
                self._evicted = None
        return done

    @property
    def oldest(self) -> int | None:
        """When the oldest event began that is not settled, ns; None: there is none."""
        return self._queue[0].time_ns if self._queue else None

    # requests

    def _read(self, item: Item, inode: int, pages: Pages, span: range, answered: int) -> None:
        tid = item.tid
        wait = self._waits.get(tid) if tid else None
        if wait is not None and wait.inode == inode and wait.page in span and wait.since <= item.time_ns:
            item.via, item.demanded = VIA_FAULT, wait.page
            if item.errno:
                self._waits.remove(tid)
                return
            wait.item = item
        else:
            wait = None
        if item.errno or (item.flags & DIRECT and wait is None):
            return
        doubted = wait is None and item.time_ns <= self._doubted
        kind = why.AHEAD if self._kernel and not doubted else why.UNKNOWN
        if not self._kernel and len(span) == 1:
            kind = why.DEMANDED
        if wait is not None and len(span) == 1:
            pages.demanded(wait.page, item.thread, self._names.process(item.thread))
        else:
            pages.bring(span.start, span.stop - 1, item.thread, kind, anew=True)
            if wait is not None:
                self._has(pages, wait.page, wait.page, item)
        if wait is not None and pages.pushes and item.time_ns > self._doubted:
            self.passing.demanded(tid, inode, span, pages)
        since = wait.since - _ABREAST if wait else item.time_ns - _QUEUED
        self._join(inode, pages, span, item, (since, answered))
        if not tid or doubted:
            return
        item.open, item.until = True, answered + self._patience
        if self._kernel and wait is None and item.time_ns < self._seen.get(tid, 0) < answered:
            self._unasked(item)  # its thread went on without it
            return
        if wait is None:
            unsettled = self._unsettled.setdefault(tid, [])
            unsettled.append(item)
            if not len(unsettled) % _SWEEP:  # where samples are missing there may be thousands
                unsettled[:] = [one for one in unsettled if one.open]

    def _join(self, inode: int, pages: Pages, span: range, request: Item, between: tuple[int, int]) -> None:
        """Who else waited for these pages had joined this request. A thread whose page is mapped meanwhile, by another
        thread of its process, leaves no further trace: then only `wait_ns` is known, up to the answer.
        """
        answered = between[1]
        for tid, wait in self._waits.others(inode, span, request.tid, *between):
            key = self._names.key(wait.pid, tid, wait.since)
            pages.get(self._names.process(key), wait.page, wait.page)
            wait.item = item = of_pages(
                wait.since, request.file, wait.page, wait.page, key, tid, cls=JOINED, via=VIA_FAULT, by=request.thread
            )
            item.wait_ns, item.open, item.until = answered - wait.since, True, answered + self._patience
            self._queue.append(item)

    def _has(self, pages: Pages, first: int, last: int, item: Item) -> None:
        """The thread of a request has what it demanded."""
        for page in range(first, last + 1):
            pages.becomes(page, item.thread, why.DEMANDED)
        pages.get(self._names.process(item.thread), first, last)

    @staticmethod
    def _unasked(item: Item) -> None:
        """Nobody waits for this request, unless it was handed on: the kernel, or madvise(2), reads ahead."""
        if item.open and item.cls in (COLD, REFAULT):
            item.cls = AHEAD
        item.open = False

    # samples of the tier kernel

    def _fault(self, one: Sample) -> None:
        pages = self._faulted(one)
        if pages is None:
            return
        pages.touch(one.first, one.first)
        if pages.has(one.first):
            self._got(one, pages, VIA_FAULT)
        else:
            self._waits.add(one.tid, Wait(one.time_ns, one.pid, one.inode, one.first))

    def _mapped(self, one: Sample) -> None:
        pages = self._faulted(one)
        if pages is not None:
            pages.touch(one.first, one.last)
            self._got(one, pages, VIA_FAULT)

    def _faulted(self, one: Sample) -> Pages | None:
        """A thread faults, or tries again: what it waited for is over, and it has its page if that is among these.
        It is in no read(2) that waits for what was requested before.
        """
        tid, pages = one.tid, self._pages.get(one.inode)
        self._seen[tid] = one.time_ns
        wait = self._waits.remove(tid)
        if wait is not None and wait.item is not None and pages is not None:
            among = wait.inode == one.inode and one.first <= wait.page <= one.last
            if among and pages.has(wait.page):
                wait.item.total_ns = one.time_ns - wait.since
        if tid in self._unsettled:
            for item in self._unsettled.pop(tid):
                self._unasked(item)
        return pages

    def _taken(self, one: Sample) -> None:
        pages = self._pages.get(one.inode)
        self._seen[one.tid] = one.time_ns
        if pages is None:
            return
        pages.touch(one.first, one.last)
        for item in self._unsettled.pop(one.tid, ()):
            span = page_span(item.offset, item.size)
            first, last = max(span.start, one.first), min(span.stop - 1, one.last)
            if self._inodes.get(item.file) != one.inode or first > last:
                self._unasked(item)
                continue
            if not item.open:  # it was handed on, and said neither that it was demanded nor that it was not
                pages.demanded_untold(first, last, item.thread)
                continue
            item.via, item.demanded, item.open = VIA_READ, first, False
            if pages.pushes and item.time_ns > self._doubted:
                self.passing.demanded(one.tid, one.inode, span, pages)
            self._has(pages, first, last, item)
        # what was wanted is told, what was had is what the cache has without a gap
        last = pages.together(one.first, one.last)
        if last >= one.first:
            self._got(one._replace(last=last), pages, VIA_READ)

    def _evict(self, one: Sample) -> None:
        pages = self._pages.get(one.inode)
        if pages is None:
            return
        pages.evict(one.first, one.last)
        if self._ending or one.pid == self._daemon:  # the end, or a drop, which is an event itself
            return
        if self._evicted is not None:
            inode, page, tid, item = self._evicted
            if (inode, page, tid) == (one.inode, one.first, one.tid):
                item.size += (one.last - one.first + 1) * PAGE_SIZE
                self._evicted = (inode, one.last + 1, tid, item)
                return
        key = self._names.key(one.pid, one.tid, one.time_ns)
        item = of_eviction(one.time_ns, pages.file, one.first, one.last, key, one.tid)
        self._queue.append(item)
        self._evicted = (one.inode, one.last + 1, one.tid, item)

    # samples of the tier faults

    def _touched(self, one: Sample) -> None:
        pages = self._pages.get(one.inode)
        if pages is None:
            return
        for item in self._unsettled.pop(one.tid, ()) if one.kind == kinds.TOUCHED_MAJOR else ():
            if not item.open:
                continue
            item.open = False
            span = page_span(item.offset, item.size)
            if self._inodes.get(item.file) == one.inode and one.first in span:
                item.via, item.demanded = VIA_FAULT, one.first
                for page in span:
                    pages.becomes(page, item.thread, why.AHEAD)
                self._has(pages, one.first, one.first, item)
        self._got(one, pages, VIA_FAULT)

    # who has what

    def _got(self, one: Sample, pages: Pages, via: str) -> None:
        if one.time_ns > self._blind:
            self._queue += self._gains.of(one, pages, via)

    def _exited(self, one: Sample) -> None:
        self._waits.remove(one.tid)
        for item in self._unsettled.pop(one.tid, ()):
            item.open = False
        self._seen.pop(one.tid, None)
        process = self._names.exited(one)
        if process is not None:
            self._gains.gone(process)

    def _executed(self, one: Sample) -> None:
        """A process that becomes another program has no page any more."""
        self._names.executed(one)
        if one.inode:
            self._gains.executed(one.pid)
