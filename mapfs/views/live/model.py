"""What is known of a mount from its events alone: counts, and the pages of each file. No terminal, no thread, no
clock.

Told of each event in order. Memory is bounded, however long it runs: the files and processes that were quiet for
longest are added up in one row each where there are too many, what is known of pages coarsens, and of the events
themselves the newest are kept.
"""

import copy
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mapfs.units import page_count
from mapfs.views.live.counts import Counts
from mapfs.views.live.labels import PageLabels
from mapfs.views.live.pagemap import PageMap
from mapfs.views.live.rate import Rate
from mapfs.views.live.residency import Residency

MOST_FILES = 10_000
MOST_PROCESSES = 4_096
MOST_READERS = 1_000
MOST_RECENT = 5_000  # events
MOST_MAPPED = 48 << 20  # bytes of all maps; of 10,000 files each takes 4 KB at least
MOST_RESIDENCY = 16 << 20  # bytes of what is known to be resident
_LEAST = 4_096  # bytes of what is not coarsened any more
_TIDIED = 4_096  # events between two looks at how much that is
_HISTORY = 260  # quarters of a second: a minute

Event = Mapping[str, Any]
#: What may have happened last to a page, by number; 0 is nothing.
KINDS = ("", "COLD", "REFAULT", "AHEAD", "SHARED", "JOINED", "ERROR", "WRITE", "PUSH", "DIRECT", "?")
_NUMBERS = {kind: number for number, kind in enumerate(KINDS)}


def kind_of(event: Event) -> str:
    """The name of what happened, as the log has it: the class, or the operation where that has none."""
    cls: str | None = event["class"]
    if cls is not None:
        return cls
    if event["op"] in ("push", "drop", "evict"):
        return str(event["op"]).upper()
    return "DIRECT" if event["direct"] else "?"


@dataclass(frozen=True, slots=True)
class Mount:
    """What is looked at. `evidence` is the tier, `page_size` in bytes."""

    mountpoint: str
    page_size: int
    evidence: str
    readahead: int


@dataclass(slots=True)
class File:
    """One file; `size` in bytes, None where it is not known. `readers` are the numbers of the processes that got pages
    of it.
    """

    name: str
    size: int | None
    counts: Counts = field(default_factory=Counts)
    rate: Rate = field(default_factory=Rate)
    map: PageMap = field(default_factory=PageMap)
    resident: Residency = field(default_factory=Residency)
    readers: set[int] = field(default_factory=set)
    end: int = 0
    last_ns: int = 0

    def page_count(self, page_size: int) -> int:
        """Pages that it has, or at least has."""
        return max(self.end, page_count(self.size or 0, page_size))


@dataclass(slots=True)
class Process:
    """One process, numbered in the order in which they were seen. pid None gathers what nobody is known for."""

    number: int
    pid: int | None
    command: str | None
    container: str | None
    counts: Counts = field(default_factory=Counts)
    rate: Rate = field(default_factory=Rate)
    file: str = ""
    last_ns: int = 0

    @property
    def name(self) -> str:
        """`python3/1234`, or `?`."""
        return "?" if self.pid is None else f"{self.command}/{self.pid}"

    def did(self, event: Event) -> bool:
        """Whether `event`, which is not `lost`, is of this process."""
        return bool(event["pid"] == self.pid and event["command"] == self.command)


@dataclass(slots=True)
class Earlier:
    """Rows that were added up, since there were too many: how many, and their sums."""

    rows: int = 0
    counts: Counts = field(default_factory=Counts)


class Recent(deque[Event]):
    """The newest events; a copy has the same ones, for they never change."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Recent":
        return Recent(self, self.maxlen)


@dataclass(slots=True)
class Followed:
    """One process, and the pages that it got of each file, from the oldest event on that was still there."""

    process: Process
    since_ns: int
    maps: dict[str, PageMap] = field(default_factory=dict)


_Row = TypeVar("_Row", File, Process)


class Model:
    """All that is known. `size_of` tells the size of a file when it is first named; it must not wait."""

    def __init__(self, mount: Mount, size_of: Callable[[str], int | None]) -> None:
        self.mount = mount
        self._size_of = size_of
        self.total = Counts()
        self.rate = Rate(_HISTORY)
        self.events = 0
        self.lost = 0
        self.lost_samples = 0
        self.files: dict[str, File] = {}
        self.processes: dict[tuple[int | None, str | None], Process] = {}
        self.numbers: dict[int, Process] = {}
        self.earlier_files = Earlier()
        self.earlier_processes = Earlier()
        self.recent = Recent(maxlen=MOST_RECENT)
        self.shown = Recent(maxlen=MOST_RECENT)
        self.labels = PageLabels()
        self.followed: Followed | None = None
        self.first_ns: int | None = None
        self.last_ns = 0
        self.last_wall_ns = 0
        self._wanted: Callable[[Event], bool] | None = None
        self._processes_seen = 0

    def apply(self, event: Event) -> None:
        """One more event, with the keys of docs/TRACE.md."""
        self.recent.append(event)
        if self._wanted is None or self._wanted(event):
            self.shown.append(event)
        if event["op"] == "lost":
            self._apply_lost(event)
            return
        time_ns = event["time_ns"]
        self.events += 1
        if self.first_ns is None:
            self.first_ns = time_ns
        if time_ns >= self.last_ns:
            self.last_ns, self.last_wall_ns = time_ns, event["wall_ns"]
        file = self.files.get(event["file"])
        if file is None:
            file = self._new_file(event["file"])
        process = self.processes.get((event["pid"], event["command"]))
        if process is None:
            process = self._new_process(event)
        demanded = _is_demand(event)
        for row in (file, process):
            row.counts.add(event)
            row.last_ns = time_ns
            if demanded:
                row.rate.add(time_ns, event["pages"])
        self.total.add(event)
        if demanded:
            self.rate.add(time_ns, event["pages"])
        self._apply_to_pages(event, file, process)
        if not self.events % _TIDIED:
            self._tidy()

    def _apply_to_pages(self, event: Event, file: File, process: Process) -> None:
        op, first, count = event["op"], event["page"], event["pages"]
        if op in ("drop", "evict"):
            file.resident.discard(first, count)
            return
        process.file = file.name
        file.end = max(file.end, first + count)
        if op != "push" and process.pid is not None and len(file.readers) < MOST_READERS:
            file.readers.add(process.number)
        self._touch(file.map, event, process)
        if event["label"] is not None:
            self.labels.tell(file.name, first, count, event["label"])
        if self.followed is not None and self.followed.process is process:
            self._touch(self.followed.maps.setdefault(file.name, PageMap()), event, process)
        if not event["error"]:
            self._apply_to_cache(event, file)

    def _touch(self, pages: PageMap, event: Event, process: Process) -> None:
        pages.touch(
            event["page"],
            event["pages"],
            demands=int(_is_demand(event)),
            kind=_NUMBERS.get(kind_of(event), len(KINDS) - 1),
            who=process.number,
            at_ms=max(0, event["time_ns"] - (self.first_ns or 0)) // 1_000_000,
        )

    def _apply_to_cache(self, event: Event, file: File) -> None:
        """What the event says of the pages that are in the page cache."""
        op, first, count = event["op"], event["page"], event["pages"]
        if op == "write":  # of a page that is written in part, the kernel asks for the rest
            page_size = self.mount.page_size
            end = (event["offset"] + event["size"]) // page_size
            first = -(-event["offset"] // page_size)
            count = end - first if event["tid"] else 0
        if not event["direct"] and count > 0:
            file.resident.add(first, count, absent=op == "read")

    def _apply_lost(self, event: Event) -> None:
        """Pages may have left the page cache meanwhile."""
        if event["samples"]:
            self.lost_samples += event["count"]
        else:
            self.lost += event["count"]
        for file in self.files.values():
            file.resident.clear()

    def _tidy(self) -> None:
        """Coarsens what takes most, until all fits."""
        followed = self.followed.maps.values() if self.followed is not None else ()
        maps = [*(file.map for file in self.files.values()), *followed]
        _fit(maps, MOST_MAPPED)
        _fit([file.resident for file in self.files.values()], MOST_RESIDENCY)

    # rows

    def _new_file(self, name: str) -> File:
        if len(self.files) >= MOST_FILES:
            for old in self._quietest(self.files):
                _fold(self.earlier_files, self.files.pop(old.name))
        file = self.files[name] = File(name, self._size_of(name))
        return file

    def _new_process(self, event: Event) -> Process:
        if len(self.processes) >= MOST_PROCESSES:
            for old in self._quietest(self.processes):
                _fold(self.earlier_processes, self.processes.pop((old.pid, old.command)))
                del self.numbers[old.number]
        self._processes_seen += 1
        made = Process(self._processes_seen, event["pid"], event["command"], event["container"])
        self.processes[event["pid"], event["command"]] = self.numbers[made.number] = made
        return made

    def _quietest(self, rows: Mapping[Any, _Row]) -> list[_Row]:
        """A quarter of them."""
        kept = self.followed.process if self.followed else None
        return sorted((row for row in rows.values() if row is not kept), key=lambda row: row.last_ns)[: len(rows) // 4]

    # what is asked

    def resident(self, file: File) -> tuple[int, bool] | None:
        """How many pages of it are in the page cache, and whether that is all (True), or there may be more, since
        events were lost, or since what is known is coarse. None where the evidence cannot tell what leaves the cache.
        """
        if self.mount.evidence != "kernel":
            return None
        exact = not self.lost and not self.lost_samples and file.resident.pages_a_group == 1
        return file.resident.count, exact

    def want(self, wanted: Callable[[Event], bool] | None) -> None:
        """From now on `shown` has the newest events that are `wanted`."""
        self._wanted = wanted
        self.shown = Recent((event for event in self.recent if wanted is None or wanted(event)), MOST_RECENT)

    def follow(self, process: Process | None) -> None:
        """Keeps a map of the pages that this process alone got; begins with the events that are still there."""
        if process is None:
            self.followed = None
            return
        self.followed = Followed(process, self.last_ns)
        for event in self.recent:
            if event["op"] in ("lost", "drop", "evict") or not process.did(event):
                continue
            self.followed.since_ns = min(self.followed.since_ns, event["time_ns"])
            self._touch(self.followed.maps.setdefault(event["file"], PageMap()), event, process)

    def frozen(self) -> "Model":
        """A copy, which stays as it is."""
        return copy.deepcopy(self, {id(self._size_of): self._size_of, id(self._wanted): self._wanted})


def _is_demand(event: Event) -> bool:
    """A page was asked for, to be brought into the page cache, and came."""
    return bool(event["op"] == "read" and not event["error"] and not event["direct"])


def _fit(known: Sequence[PageMap] | Sequence[Residency], most: int) -> None:
    sizes = [one.size for one in known]
    while sum(sizes) > most:
        place = max(range(len(sizes)), key=sizes.__getitem__)
        if sizes[place] <= _LEAST:
            return
        known[place].coarsen()
        sizes[place] = known[place].size


def _fold(earlier: Earlier, row: File | Process) -> None:
    earlier.rows += 1
    earlier.counts.merge(row.counts)
