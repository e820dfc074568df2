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


#: How a mount is told to be quick in sequence, and what is behind the spec of such a file.
PREFETCH, PREFETCH_SPEC = ("--prefetch", "auto"), ""
#: The daemons of a round and their options; the name `trace` also gets --trace FILE. All have -q.
DAEMONS: dict[str, tuple[str, ...]] = {
    "own": ("--evidence", "requests"),
    "trace": ("--evidence", "requests"),
    "kernel": ("--evidence", "kernel"),
    "faults": ("--evidence", "faults"),
    "plain": ("--link=plain",),
    "readahead": ("--evidence", "requests", "--readahead", "128K"),
    "prefetch": ("--evidence", "requests", *PREFETCH),
}


@dataclass(frozen=True, slots=True)
class Peer:
    """Another program that serves the file on tmpfs. In `command` {bin} is where C programs were compiled, {python} this
    interpreter; `needs` is a C source, a Python module or programs that are looked for first. `file`: its name in the mount.
    """

    text: str
    command: tuple[str, ...]
    needs: tuple[str, ...]
    file: str = "pages"
    measures: tuple[Measure, ...] = (Measure.RANDOM,)


_PEER = ("{python}", "-P", "-m")
_NBD = ("nbdfuse", "-r", "{mnt}/nbd", "--command", "nbdkit", "-s", "--exit-with-parent")
PEERS: dict[str, Peer] = {
    "c-libfuse": Peer(
        "C libfuse, no log", ("{bin}/libfuse", "{mnt}", "{file}"), ("libfuse.c",), measures=tuple(Measure)
    ),
    "c-log": Peer("C libfuse, a log line each", ("{bin}/libfuse", "{mnt}", "{file}", "{log}"), ("libfuse.c",)),
    "pyfuse3": Peer("pyfuse3", (*_PEER, "tests.bench.peers.with_pyfuse3", "{mnt}", "{file}"), ("pyfuse3",)),
    "pyfuse3-log": Peer(
        "pyfuse3, a log line each", (*_PEER, "tests.bench.peers.with_pyfuse3", "{mnt}", "{file}", "{log}"), ("pyfuse3",)
    ),
    "llfuse": Peer("llfuse", (*_PEER, "tests.bench.peers.with_llfuse", "{mnt}", "{file}"), ("llfuse",)),
    "mfusepy": Peer("mfusepy", (*_PEER, "tests.bench.peers.with_fusepy", "mfusepy", "{mnt}", "{file}"), ("mfusepy",)),
    "fusepy": Peer("fusepy", (*_PEER, "tests.bench.peers.with_fusepy", "fuse", "{mnt}", "{file}"), ("fuse",)),
    "nbd": Peer("nbdkit by nbdfuse", (*_NBD, "file", "{file}"), ("nbdfuse", "nbdkit"), "nbd"),
    "nbd-log": Peer(
        "nbdkit by nbdfuse, a log line each", (*_NBD, "--filter=log", "file", "{file}", "logfile={log}"),
        ("nbdfuse", "nbdkit"), "nbd",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """What a client maps: of a daemon of mapfs, of a peer, or, without either, the file itself."""

    name: str
    text: str
    daemon: str | None
    content: Content
    measures: tuple[Measure, ...] = (Measure.RANDOM, Measure.SEQUENTIAL)
    options: str = ""  # behind its spec

    def file(self, measure: Measure, placement: Placement) -> str:
        """Its name in the mount: a new one each time, so that none of its pages is in the page cache."""
        return f"{self.name}-{measure}-{placement.name.lower()}"

    def one_each(self, measure: Measure) -> bool:
        """Whether each touch is one request, exactly: no read-ahead by anybody, and no passing through."""
        if self.passed:
            return False
        return measure is Measure.RANDOM or self.daemon in ("own", "trace", "kernel", "faults")

    @property
    def passed(self) -> bool:
        """Whether the kernel passes it through, and no touch is a request."""
        return "coherency=passthrough" in self.options


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
    Target("trace-tmpfs", "own link, `file:` on tmpfs, `--trace`", "trace", Content.TMPFS, (Measure.RANDOM,)),
    Target(
        "prefetch-tmpfs", f"own link, `file:` on tmpfs, `{' '.join(PREFETCH)}{PREFETCH_SPEC}`", "prefetch",
        Content.TMPFS, (Measure.SEQUENTIAL,), PREFETCH_SPEC,
    ),
    Target("prefetch", "own link, `pages:`, `--prefetch auto`", "prefetch", Content.PAGES, (Measure.SEQUENTIAL,)),
    Target(
        "passthrough", "own link, `file:` on tmpfs, `coherency=passthrough`", "own", Content.TMPFS,
        options=",coherency=passthrough",
    ),
    *(Target(name, peer.text, name, Content.TMPFS, peer.measures) for name, peer in PEERS.items()),
    Target("tmpfs", "the file on tmpfs itself", None, Content.TMPFS),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """A ratio of the times of two targets, `value` being one of a run's numbers. `promise` says that the ratio is to be
    no larger than `most`, or where client and server are on two CPUs, than `most_apart`, if that is another.
    """

    measure: Measure
    of: str
    to: str
    value: str = "elapsed_ns"
    promise: str | None = None
    most: float | None = None
    most_apart: float | None = None

    def limit(self, placement: Placement) -> float | None:
        """What is promised there."""
        return self.most_apart if placement is Placement.TWO and self.most_apart is not None else self.most


PAIRS = (
    Pair(
        Measure.RANDOM, "trace-tmpfs", "c-libfuse", most=1.10, most_apart=0.5,
        promise="a demand with a full trace takes at most 1.10 of C libfuse without a log, across CPUs 0.5",
    ),
    Pair(
        Measure.RANDOM, "trace-tmpfs", "own-tmpfs", most=1.03,
        promise="`--trace` adds at most 3 % to the time of a demand",
    ),
    Pair(
        Measure.SEQUENTIAL, "prefetch-tmpfs", "c-libfuse", most=1 / 1.2, most_apart=1 / 1.5,
        promise="in sequence 1.2 times as fast as C libfuse with the kernel's read-ahead (time 0.83), across CPUs 1.5 times (0.67)",
    ),
    Pair(
        Measure.RANDOM, "own-tmpfs", "tmpfs", "resident_ns", most=1.10,
        promise="a touch of a resident page takes what it takes on tmpfs, within 10 %",
    ),
    Pair(
        Measure.RANDOM, "passthrough", "tmpfs", most=1.10,
        promise="`coherency=passthrough` takes at most 1.1 of the file itself, in random order",
    ),
    Pair(
        Measure.SEQUENTIAL, "passthrough", "tmpfs", most=1.10,
        promise="`coherency=passthrough` takes at most 1.1 of the file itself, in sequence",
    ),
    Pair(
        Measure.RANDOM, "own", "plain", most=0.45,
        promise="a demand through the own link takes at most 0.45 of the time of plain pyfuse3",
    ),
    Pair(
        Measure.RANDOM, "kernel", "own", most=1.10,
        promise="`--evidence kernel` adds at most 10 % to the time of a demand",
    ),
    Pair(
        Measure.RANDOM, "faults", "own", most=1.10,
        promise="`--evidence faults` adds at most 10 % to the time of a demand",
    ),
    *(
        Pair(Measure.RANDOM, name, "c-libfuse")
        for name in ("own-tmpfs", *(name for name in PEERS if name != "c-libfuse"))
    ),
    Pair(Measure.RANDOM, "trace-tmpfs", "c-log"),
    Pair(Measure.RANDOM, "trace", "own"),
    Pair(Measure.RANDOM, "own", "plain", "p50_ns"),
    Pair(Measure.RANDOM, "trace", "own", "p50_ns"),
    Pair(Measure.RANDOM, "trace-tmpfs", "c-libfuse", "p99_ns"),
    Pair(Measure.RANDOM, "own-disk", "disk"),
    Pair(Measure.RANDOM, "own-tmpfs", "tmpfs"),
    Pair(Measure.RANDOM, "passthrough", "tmpfs", "resident_ns"),
    Pair(Measure.SEQUENTIAL, "own", "plain"),
    Pair(Measure.SEQUENTIAL, "trace", "own"),
    Pair(Measure.SEQUENTIAL, "readahead", "plain"),
    Pair(Measure.SEQUENTIAL, "readahead", "own"),
    Pair(Measure.SEQUENTIAL, "readahead-disk", "disk"),
    Pair(Measure.SEQUENTIAL, "prefetch", "readahead"),
    Pair(Measure.SEQUENTIAL, "prefetch-tmpfs", "tmpfs"),
)  # fmt: skip
