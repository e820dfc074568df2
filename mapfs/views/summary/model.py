"""What a summary consists of. Times are ns, sizes bytes; None is what the evidence of the trace cannot tell.

A page counts once for each version of its file; requests through descriptors with O_DIRECT, which may demand no
page, are counted apart.
"""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Counts:
    """Sums over requests; `pages` asked for the first time, `refaults` again.

    `demands` are requests that a thread waited for, `ahead` are requests that it did not: read-ahead alone. `bytes`
    were read, `written` were written back or by write(2); `pushed` and `dropped` are pages that mapfs put into the
    page cache, or took out of it, of itself.
    """

    demands: int
    ahead: int
    pages: int
    refaults: int
    bytes: int
    errors: int
    direct: int
    wait_ns: int
    written: int
    pushed: int
    dropped: int
    wait_p50_ns: int
    wait_p99_ns: int


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file. `waste` is the internal fragmentation: bytes of its last page that hold nothing.

    `evicted` pages left the page cache, but for those that mapfs dropped.
    """

    file: str
    size: int
    of_pages: int
    waste: int
    evicted: int | None
    counts: Counts


@dataclass(frozen=True, slots=True)
class Got:
    """Pages that a process got from the page cache without a request of its own, by who brought them in.

    `ahead` by its own read-ahead or by a push, `shared` by another process, `joined` by a request that was on its way
    and that it waited for, all together `joined_wait_ns`; `unknown` by nobody knows whom.
    """

    ahead: int
    shared: int
    joined: int
    unknown: int
    joined_wait_ns: int


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process; pid None gathers the requests whose thread is not known."""

    pid: int | None
    command: str | None
    container: str | None
    threads: int
    got: Got | None
    counts: Counts


@dataclass(frozen=True, slots=True)
class Who:
    """A process by its names."""

    pid: int
    command: str


@dataclass(frozen=True, slots=True)
class Share:
    """Pages that the process `got` owes to the process `brought`; None: a process that is not known."""

    got: Who | None
    brought: Who | None
    shared: int
    joined: int
    joined_wait_ns: int


@dataclass(frozen=True, slots=True)
class Unasked:
    """Pages that were brought in though nobody waited for them.

    `used` were touched later, `wasted` never; of `unclear` pages nobody can tell whether they were asked for.
    """

    brought: int | None
    used: int | None
    wasted: int | None
    unclear: int


@dataclass(frozen=True, slots=True)
class HeldBack:
    """How often mapfs stopped to push ahead, since of `pushed` pages `untouched` were passed by."""

    times: int
    pushed: int
    untouched: int


@dataclass(frozen=True, slots=True)
class Joined:
    """How often a thread waited for the request of another, and how long: the sum of those that are known."""

    count: int
    wait_ns: int
    waits_unknown: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """A piece of the time. `pages` are the different pages that were read within it, `new` of them for the first time.

    `asked` counts the pages that were brought in up to its end, `resident` those that were then in the page cache.
    """

    demands: int
    pages: int
    new: int
    refaults: int
    evicted: int | None
    asked: int
    resident: int | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """Buckets of `bucket_ns` each from `start_ns` (CLOCK_MONOTONIC) on. A request counts when it is answered."""

    start_ns: int
    bucket_ns: int
    buckets: list[Bucket]


@dataclass(frozen=True, slots=True)
class Wait:
    """One long wait. `total_ns` is all that the thread waited, not only for mapfs."""

    time_ns: int
    cls: str | None
    file: str
    page: int
    pages: int
    pid: int | None
    command: str | None
    wait_ns: int
    total_ns: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Summary:
    """All of it. `lost` events are in none of the counts; `unknown` says what the evidence could not see."""

    mountpoint: str
    page_size: int
    readahead: int
    span_ns: int
    lost: int
    lost_samples: int
    evidence: str
    unknown: str | None
    total: Counts
    files: list[FileRow]
    processes: list[ProcessRow]
    timeline: Timeline | None
    sharing: list[Share] | None
    joined: Joined | None
    readaheads: Unasked
    pushes: Unasked
    held_back: HeldBack | None
    evicted: int | None
    longest: list[Wait]

    def as_json(self) -> dict[str, Any]:
        """The same as plain objects."""
        made = asdict(self)
        for wait in made["longest"]:
            wait["class"] = wait.pop("cls")
        return made
