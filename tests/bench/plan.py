"""What is measured, and what is compared with what: all the choices of the benchmark, as data."""

from dataclasses import dataclass
from enum import StrEnum


class Measure(StrEnum):
    """The two kinds of run; touches of resident pages come at the end of a random one."""

    RANDOM = "random"
    SEQUENTIAL = "sequential"


class Placement(StrEnum):
    """Where client and daemon run. The recorder may run anywhere."""

    ONE = "one CPU"
    TWO = "two CPUs"


class Content(StrEnum):
    """What is served: `pages:`, generated, or a file with the very same bytes."""

    PAGES = "pages"
    DISK = "disk"
    TMPFS = "tmpfs"


#: The daemons of a round and their options; the name `trace` also gets --trace FILE. All have -q.
DAEMONS: dict[str, tuple[str, ...]] = {
    "own": ("--evidence", "requests"),
    "trace": ("--evidence", "requests"),
    "kernel": ("--evidence", "kernel"),
    "faults": ("--evidence", "faults"),
    "plain": ("--link=plain",),
    "readahead": ("--evidence", "requests", "--readahead", "128K"),
    "prefetch": ("--evidence", "requests", "--prefetch", "auto"),
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a client maps. Without a daemon it is the file itself."""

    name: str
    text: str
    daemon: str | None
    content: Content
    measures: tuple[Measure, ...] = (Measure.RANDOM, Measure.SEQUENTIAL)

    def file(self, measure: Measure, placement: Placement) -> str:
        """Its name in the mount: a new one each time, so that none of its pages is in the page cache."""
        return f"{self.name}-{measure}-{placement.name.lower()}"

    def one_each(self, measure: Measure) -> bool:
        """Whether each touch is one request, exactly: no read-ahead by anybody."""
        return measure is Measure.RANDOM or self.daemon in ("own", "trace", "kernel", "faults")


TARGETS = (
    Target("own", "own link, `pages:`", "own", Content.PAGES),
    Target("trace", "own link, `pages:`, `--trace`", "trace", Content.PAGES),
    Target("kernel", "own link, `pages:`, `--evidence kernel`", "kernel", Content.PAGES, (Measure.RANDOM,)),
    Target("faults", "own link, `pages:`, `--evidence faults`", "faults", Content.PAGES, (Measure.RANDOM,)),
    Target(
        "readahead", "own link, `pages:`, `--readahead 128K`", "readahead", Content.PAGES, (Measure.SEQUENTIAL,)
    ),
    Target("plain", "`--link=plain`, `pages:`", "plain", Content.PAGES),
    Target("own-disk", "own link, `file:` on the disk", "own", Content.DISK, (Measure.RANDOM,)),
    Target(
        "readahead-disk", "own link, `file:` on the disk, `--readahead 128K`", "readahead", Content.DISK,
        (Measure.SEQUENTIAL,),
    ),
    Target("disk", "the file on the disk itself", None, Content.DISK),
    Target("own-tmpfs", "own link, `file:` on tmpfs", "own", Content.TMPFS, (Measure.RANDOM,)),
    Target(
        "readahead-tmpfs", "own link, `file:` on tmpfs, `--readahead 128K`", "readahead", Content.TMPFS,
        (Measure.SEQUENTIAL,),
    ),
    Target("prefetch", "own link, `pages:`, `--prefetch auto`", "prefetch", Content.PAGES, (Measure.SEQUENTIAL,)),
    Target(
        "prefetch-tmpfs", "own link, `file:` on tmpfs, `--prefetch auto`", "prefetch", Content.TMPFS,
        (Measure.SEQUENTIAL,),
    ),
    Target("tmpfs", "the file on tmpfs itself", None, Content.TMPFS),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """A ratio of the times of two targets, `value` being one of a run's numbers."""

    measure: Measure
    of: str
    to: str
    value: str = "elapsed_ns"
    promise: float | None = None  # the ratio is to be no larger


PAIRS = (
    Pair(Measure.RANDOM, "own", "plain", promise=0.45),
    Pair(Measure.RANDOM, "trace", "own", promise=1.05),
    Pair(Measure.RANDOM, "kernel", "own", promise=1.10),
    Pair(Measure.RANDOM, "faults", "own", promise=1.10),
    Pair(Measure.RANDOM, "own", "plain", "p50_ns"),
    Pair(Measure.RANDOM, "trace", "own", "p50_ns"),
    Pair(Measure.RANDOM, "own-disk", "disk"),
    Pair(Measure.RANDOM, "own-tmpfs", "tmpfs"),
    Pair(Measure.RANDOM, "own", "tmpfs", "resident_ns"),
    Pair(Measure.SEQUENTIAL, "own", "plain"),
    Pair(Measure.SEQUENTIAL, "trace", "own"),
    Pair(Measure.SEQUENTIAL, "readahead", "plain"),
    Pair(Measure.SEQUENTIAL, "readahead", "own"),
    Pair(Measure.SEQUENTIAL, "readahead-disk", "disk"),
    Pair(Measure.SEQUENTIAL, "readahead-tmpfs", "tmpfs"),
    Pair(Measure.SEQUENTIAL, "prefetch", "readahead"),
    Pair(Measure.SEQUENTIAL, "prefetch-tmpfs", "readahead-tmpfs"),
)
