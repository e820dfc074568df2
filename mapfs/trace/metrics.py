"""What the recorder counts for `.mapfs/metrics` (docs/METRICS.md), and the copy of it that a scrape shows.

Requests are counted a batch at a time, as they were drained: those that are alike but for their wait are gathered
first, then added up together, so that a request costs the recorder little and the pagers nothing. The waits of a
batch are sorted, and each bound of the histogram is looked up in them, not each wait among the bounds.

An operation or a class that is new here becomes a new label value, and nothing else has to change.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

from mapfs.trace.events import (
    AHEAD,
    COLD,
    DROP,
    ERROR,
    EVICT,
    FAULT,
    HIT,
    JOINED,
    PUSH,
    READ,
    REFAULT,
    SHARED,
    WRITE,
    WRITTEN,
)  # fmt: skip
from mapfs.trace.facts import DaemonValues, MountFact
from mapfs.units import PAGE_SIZE, page_span

#: Upper bounds of the buckets of waits, ns: 1 us to 60 s. From a page that is at hand to a server that hangs.
BOUNDS = (
    *(digits * scale // 10 for scale in (10**3, 10**4, 10**5, 10**6, 10**7, 10**8, 10**9) for digits in (10, 25, 50)),
    10 * 10**9,
    30 * 10**9,
    60 * 10**9,
)
#: What is shown from the start, as 0: a rate needs a value before the first event.
_EXPECTED: Mapping[int, tuple[str | None, ...]] = {
    READ: (COLD, REFAULT, AHEAD, ERROR, None),
    WRITE: (WRITTEN, ERROR),
    PUSH: (None,),
    DROP: (None,),
    FAULT: (AHEAD, SHARED, JOINED, None),
    HIT: (AHEAD, SHARED, None),
    EVICT: (None,),
}
GOT = frozenset((FAULT, HIT))  # by which a process got pages without a request

Kind = tuple[int, str | None]  # operation and class
Key = TypeVar("Key")


class Seen(Protocol):
    """What is counted of an event; one that is on its way in the recorder has it, too."""

    @property
    def op(self) -> int:
        """One of OPS."""

    @property
    def cls(self) -> str | None:
        """Its class; None: the evidence cannot tell."""

    @property
    def refaults(self) -> int:
        """How many of its pages had been brought in before."""

    @property
    def errno(self) -> int:
        """The errno that it was answered with, 0 for none."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def offset(self) -> int:
        """Bytes from the start of the file."""

    @property
    def wait_ns(self) -> int | None:
        """From its arrival to its answer, ns; None or less than 0 where nobody can tell."""


@dataclass(frozen=True, slots=True)
class Waits:
    """A histogram: how many waits fell into each bucket of BOUNDS and past the last, and all of them added up."""

    buckets: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    total_ns: int = 0

    def with_more(self, waits: list[int]) -> "Waits":
        """The histogram with `waits` (ns) too, which are sorted here."""
        waits.sort()
        ends = [0, *(bisect_right(waits, bound) for bound in BOUNDS), len(waits)]
        more = (end - start for start, end in pairwise(ends))
        return Waits(tuple(map(sum, zip(self.buckets, more, strict=True))), self.total_ns + sum(waits))


@dataclass(frozen=True, slots=True)
class Counted:
    """Everything that was counted up to one moment. Pages and bytes are those of requests that did not fail."""

    events: Mapping[Kind, int]
    pages: Mapping[Kind, int]
    bytes: Mapping[Kind, int]
    refaulted: Mapping[int, int]
    errors: Mapping[tuple[int, int], int]
    waits: Mapping[int, Waits]

    @property
    def classes(self) -> dict[str | None, int]:
        """Requests of each class, whatever they did."""
        return self._by_class(lambda op: op not in GOT and op != EVICT)

    @property
    def faults(self) -> dict[str | None, int]:
        """How often a process got pages without a request, by class."""
        return self._by_class(GOT.__contains__)

    def _by_class(self, wanted: Callable[[int], bool]) -> dict[str | None, int]:
        counts: dict[str | None, int] = {}
        for (op, cls), count in self.events.items():
            if wanted(op):
                _add(counts, cls, count)
        return counts

    @staticmethod
    def of(counts: Mapping[Kind, int], op: int) -> int:
        """Those in `counts` of the operation `op`, of whatever class."""
        return sum(count for kind, count in counts.items() if kind[0] == op)


class Metrics:
    """Counts requests. Called by the recorder alone, from one thread."""

    def __init__(self) -> None:
        expected = [(op, cls) for op, classes in _EXPECTED.items() for cls in classes]
        self._events = dict.fromkeys(expected, 0)
        succeeded = [kind for kind in expected if kind[1] != ERROR]
        self._pages = dict.fromkeys(succeeded, 0)
        self._bytes = dict.fromkeys(succeeded, 0)
        self._refaulted = dict.fromkeys((READ, PUSH), 0)
        self._errors: dict[tuple[int, int], int] = {}
        self._waits = dict.fromkeys(_EXPECTED, Waits())

    def observe(self, seen: Iterable[Seen]) -> None:
        """Counts what happened."""
        alike: dict[tuple[int, str | None, int, int, int, int], list[int | None]] = defaultdict(list)
        for one in seen:
            alike[one.op, one.cls, one.refaults, one.errno, one.size, one.offset % PAGE_SIZE].append(one.wait_ns)
        waits: dict[int, list[int]] = defaultdict(list)
        for (op, cls, refaults, errno, size, start), waited in alike.items():
            count = len(waited)
            _add(self._events, (op, cls), count)
            if errno:
                _add(self._errors, (op, errno), count)
            else:
                _add(self._pages, (op, cls), count * len(page_span(start, size)))
                _add(self._bytes, (op, cls), count * size)
            if refaults:
                _add(self._refaulted, op, count * refaults)
            waits[op] += [wait for wait in waited if wait is not None and wait >= 0]
        for op, more in waits.items():
            self._waits[op] = self._waits.get(op, Waits()).with_more(more)

    def counted(self) -> Counted:
        """What was counted up to now."""
        return Counted(
            dict(self._events), dict(self._pages), dict(self._bytes), dict(self._refaulted), dict(self._errors),
            dict(self._waits),
        )  # fmt: skip


def _add(counts: dict[Key, int], key: Key, count: int) -> None:
    counts[key] = counts.get(key, 0) + count


@dataclass(frozen=True, slots=True)
class SinkState:
    """How a sink fares: events that wait for it, and those that it had to skip."""

    name: str
    failed: bool
    waiting: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one scrape shows."""

    counted: Counted
    #: Events that the ring overwrote before the recorder took them, and samples for which the kernel had no room.
    lost: int
    lost_samples: int
    #: Events that were in the ring and not taken yet when the scrape began, and how many it can hold.
    backlog: int
    slots: int
    #: Versions of files, and threads, that the recorder knows.
    files: int
    threads: int
    sinks: tuple[SinkState, ...]
    mount: MountFact | None
    #: What the daemon says of itself; None: it does not answer.
    daemon: DaemonValues | None
    #: The processes of the mount, by what they are.
    pids: Mapping[str, int]
