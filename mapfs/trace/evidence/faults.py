"""Tier faults (T1): the page faults of the processes of this user, without root.

A process that opens a file of the mount is blocked in OPEN, so the daemon attaches perf_event_open's software events to
all of its threads before it can map anything; what it starts later inherits them (`Attacher`). A sample has the address
that was touched. The same events tell of each mmap(2), so that an address becomes a page by what the process had mapped
at that moment (`Maps`). All samples of a CPU go into two rings that are made before: minor faults, with the side band,
and major ones.
"""

import bisect
import contextlib
import errno
import mmap
import os
import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from mapfs.trace.evidence import perf
from mapfs.trace.evidence.perf import PerfRing, Shared
from mapfs.trace.evidence.sample import EXEC, EXITED, FORKED, TOUCHED_MAJOR, TOUCHED_MINOR, Sample
from mapfs.trace.evidence.tasks import task_of, time_of
from mapfs.units import PAGE_SIZE

MINOR, MAJOR = "minor", "major"
_CONFIG = {MINOR: perf.FAULTS_MINOR, MAJOR: perf.FAULTS_MAJOR}
_KIND = {MINOR: TOUCHED_MINOR, MAJOR: TOUCHED_MAJOR}
_SAMPLE_TYPE = perf.TID | perf.TIME | perf.ADDR
_LARGEST, _SMALLEST = 1 << 19, 1 << 15  # bytes a ring; kernel.perf_event_mlock_kb and RLIMIT_MEMLOCK bound all of them
_SAMPLED = struct.Struct("=IIQQ")  # pid, tid, time, address
#: pid, tid, address, length, offset in bytes, major, minor, inode, its generation, rights, flags
_MMAP2 = struct.Struct("=IIQQQIIQQII")
_SIDE_BAND = frozenset((perf.MMAP2, perf.COMM, perf.FORK, perf.EXIT))
_Touch = tuple[int, int, int, int]  # the kind of a sample, pid, tid, address
_MOST_PROCESSES = 10_000  # that are remembered to be watched


def open_rings() -> list[tuple[str, PerfRing]]:
    """Two rings a CPU, with their roles, for events of other processes to write into: as large as this user may have
    them. Raises EvidenceError.
    """
    flags = perf.INHERIT | perf.USER_ONLY | perf.MAPS | perf.TASKS
    pid, cpu, size = os.getpid(), perf.online_cpus()[0], _LARGEST
    while True:
        try:
            rings = _rings(max(size, mmap.PAGESIZE))
            try:  # as it will be asked for of others
                os.close(
                    perf.open_event(
                        perf.SOFTWARE, perf.FAULTS_MINOR, _SAMPLE_TYPE, flags, pid=pid, cpu=cpu, form=perf.FORMAT_LOST
                    )
                )
            except OSError:
                perf.close_rings(rings)
                raise
            return rings
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOMEM) or size <= _SMALLEST:
                raise perf.remedy(error) from error
        size //= 2


def _rings(size: int) -> list[tuple[str, PerfRing]]:
    made: list[tuple[str, PerfRing]] = []
    try:
        for cpu in perf.online_cpus():
            for role in (MINOR, MAJOR):
                fd = perf.open_event(perf.SOFTWARE, perf.DUMMY, _SAMPLE_TYPE, perf.USER_ONLY, pid=os.getpid(), cpu=cpu)
                made.append((role, PerfRing(fd, size)))
    except OSError:
        perf.close_rings(made)
        raise
    return made


class Attacher:
    """The daemon's half: watches processes from the moment at which they open a file. Called by one thread."""

    def __init__(self, rings: Sequence[tuple[str, Shared]]) -> None:
        cpus = perf.online_cpus()
        assert [role for role, _ in rings] == [MINOR, MAJOR] * len(cpus)
        self._rings = [(cpus[number // 2], role, ring.fd) for number, (role, ring) in enumerate(rings)]
        self._known: OrderedDict[tuple[int, int], None] = OrderedDict()

    def has(self, pid: int, started: int) -> bool:
        """Whether the process is attached to."""
        return (pid, started) in self._known

    def attach(self, pid: int, started: int) -> list[int]:
        """Watches the process, of all whose threads none can map anything yet, as long as somebody keeps the
        descriptors. None at all: it is watched, or cannot be: another user's, or there are too few descriptors.
        """
        if (pid, started) in self._known:
            return []
        self._known[pid, started] = None
        if len(self._known) > _MOST_PROCESSES:
            self._known.popitem(last=False)
        fds: list[int] = []
        try:
            attached: set[int] = set()
            while more := _threads(pid) - attached:  # a thread that was not attached to may have started another
                for tid in more:
                    self._attach(tid, fds)
                attached |= more
        except OSError as error:
            perf.close_all(fds)
            if error.errno in (errno.EMFILE, errno.ENFILE):
                del self._known[pid, started]  # there may be more descriptors the next time
            return []
        return fds

    def _attach(self, tid: int, fds: list[int]) -> None:
        for cpu, role, ring in self._rings:
            extra = perf.MAPS | perf.TASKS if role == MINOR else 0
            flags = perf.INHERIT | perf.USER_ONLY | extra
            try:
                fd = perf.open_event(
                    perf.SOFTWARE, _CONFIG[role], _SAMPLE_TYPE, flags, pid=tid, cpu=cpu, form=perf.FORMAT_LOST
                )
            except ProcessLookupError:
                return  # it ended meanwhile
            fds.append(fd)
            perf.set_output(fd, ring)
            perf.enable(fd)


def _threads(pid: int) -> set[int]:
    with contextlib.suppress(FileNotFoundError):
        return set(map(int, os.listdir(f"/proc/{pid}/task")))
    return set()


@dataclass(slots=True)
class _Space:
    """What a process has mapped of the mount: ranges of addresses that do not overlap, in their order."""

    starts: list[int] = field(default_factory=list)
    ranges: list[tuple[int, int, int, bool]] = field(default_factory=list)  # end, inode, first page, private

    def copy(self) -> "_Space":
        """For a forked child, without what is private: there its parent's copies are, as far as it had stored."""
        kept = [number for number, one in enumerate(self.ranges) if not one[3]]
        return _Space([self.starts[number] for number in kept], [self.ranges[number] for number in kept])

    def map(self, start: int, end: int, inode: int, page: int, *, private: bool) -> None:
        """`inode` 0: something else is there now. `private`: stores of the process make copies."""
        at = bisect.bisect_left(self.starts, start)
        if at and self.ranges[at - 1][0] > start:
            at -= 1
        kept: list[tuple[int, int, int, int, bool]] = []
        until = at
        while until < len(self.starts) and self.starts[until] < end:
            was, (was_end, was_inode, was_page, was_private) = self.starts[until], self.ranges[until]
            if was < start:
                kept.append((was, start, was_inode, was_page, was_private))
            if was_end > end:
                kept.append((end, was_end, was_inode, was_page + (end - was) // PAGE_SIZE, was_private))
            until += 1
        if inode:
            kept.append((start, end, inode, page, private))
        kept.sort()
        self.starts[at:until] = [one[0] for one in kept]
        self.ranges[at:until] = [one[1:] for one in kept]

    def page(self, address: int) -> tuple[int, int] | None:
        """The inode and the page at `address`, or None."""
        at = bisect.bisect_right(self.starts, address) - 1
        if at < 0 or address >= self.ranges[at][0]:
            return None
        _, inode, page, _ = self.ranges[at]
        return inode, page + (address - self.starts[at]) // PAGE_SIZE


class Maps:
    """The recorder's half: makes samples of pages of what the rings hold. `device` is the mount's st_dev."""

    def __init__(self, device: int) -> None:
        self._device = (os.major(device), os.minor(device))
        self._spaces: dict[int, _Space] = {}
        self._rows: list[tuple[int, _Touch | perf.Row]] = []  # that are too young
        self._heirs: dict[int, set[int]] = {}  # by the pid that was attached to: it, and what came of it, alive
        self._roots: dict[int, int] = {}  # the other way round
        self._over: list[int] = []

    def watch(self, pid: int) -> None:
        """Events were attached to this process."""
        self._heirs.setdefault(pid, set()).add(pid)
        self._roots[pid] = pid

    def over(self) -> list[int]:
        """Of which of them nobody is left, since this was asked last."""
        over, self._over = self._over, []
        return over

    def clear(self) -> None:
        """Records are missing: what is mapped where is not known any more, until it is mapped anew."""
        self._spaces.clear()

    def add(self, taken: list[tuple[str, bytes]]) -> None:
        """What the rings held."""
        rows = self._rows
        header, sampled = perf.HEADER.unpack_from, _SAMPLED.unpack_from  # as many as they are, without a call for each
        for role, data in taken:
            at, kind = 0, _KIND[role]
            while at < len(data):
                what, misc, size = header(data, at)
                if what == perf.SAMPLE:
                    pid, tid, time_ns, address = sampled(data, at + perf.HEADER.size)
                    rows.append((time_ns, (kind, pid, tid, address)))
                elif what in _SIDE_BAND:
                    row = perf.Row(what, misc, data[at + perf.HEADER.size : at + size])
                    rows.append((time_of(row.body), row))
                at += size
        rows.sort(key=itemgetter(0))

    def take(self, limit: int) -> list[Sample]:
        """The samples up to the moment `limit`, ns, in the order of time. Younger ones are kept: what was mapped before
        they were made may be in a ring that was read too early.
        """
        ready = bisect.bisect_right(self._rows, limit, key=itemgetter(0))
        rows, self._rows = self._rows[:ready], self._rows[ready:]
        return list(self._resolved(rows))

    def horizon(self, most: int) -> int:
        """The moment up to which there are `most`, ns."""
        return self._rows[most][0] if len(self._rows) > most else 1 << 63

    @property
    def waiting(self) -> int:
        """How many are kept."""
        return len(self._rows)

    def _resolved(self, found: list[tuple[int, _Touch | perf.Row]]) -> Iterator[Sample]:
        for time_ns, row in found:
            if isinstance(row, tuple):
                kind, pid, tid, address = row
                space = self._spaces.get(pid)
                where = space.page(address) if space else None
                if where:
                    yield Sample(time_ns, kind, pid, tid, where[0], where[1], where[1])
            elif row.type == perf.MMAP2:
                self._map(row.body)
            elif (task := task_of(row)) is not None:
                self._task(task)
                yield task

    def _map(self, body: bytes) -> None:
        pid, _, address, length, offset, major, minor, inode, _, rights, flags = _MMAP2.unpack_from(body)
        ours = (major, minor) == self._device
        space = self._spaces.get(pid)
        if space is None:
            if not ours:
                return
            space = self._spaces[pid] = _Space()
        private = bool(flags & mmap.MAP_PRIVATE and rights & mmap.PROT_WRITE)
        space.map(address, address + length, inode if ours else 0, offset // PAGE_SIZE, private=private)

    def _task(self, task: Sample) -> None:
        if task.kind == EXEC and task.inode:
            self._spaces.pop(task.pid, None)
        elif task.kind == FORKED and task.pid != task.inode:
            if space := self._spaces.get(task.inode):
                self._spaces[task.pid] = space.copy()
            if root := self._roots.get(task.inode):
                self._roots[task.pid] = root
                self._heirs[root].add(task.pid)
        elif task.kind == EXITED and task.pid == task.tid:
            self._spaces.pop(task.pid, None)
            root = self._roots.pop(task.pid, 0)
            self._heirs.get(root, set()).discard(task.pid)
            if root and not self._heirs[root]:
                del self._heirs[root]
                self._over.append(root)
