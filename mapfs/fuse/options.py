"""What a mount is to be: the options of `mapfs mount`, checked once, used everywhere."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from mapfs import __version__
from mapfs.fuse import idling
from mapfs.fuse.fstab import escape
from mapfs.trace.address import Address
from mapfs.trace.facts import MountFact, printable
from mapfs.trace.plan import Plan
from mapfs.tree.build import Given
from mapfs.units import PAGE_SIZE


@dataclass(frozen=True, slots=True)
class MountOptions:
    """Everything that `Mount` needs to know. Sizes in bytes."""

    mountpoint: str
    files: Mapping[str, Given] = field(default_factory=dict)
    link: str = "own"  # or "plain": pyfuse3 alone
    readahead: int = 0
    threads: int = 16
    spin: int = idling.AUTO  # ns for which a pager asks the device again after an answer
    low_latency: bool = False  # no CPU sleeps deeply while requests flow
    allow_other: bool = False
    read_only: bool = False
    nonempty: bool = False
    source: str = "mapfs"  # what stands for the source in the tables of mounts
    kernel: tuple[str, ...] = ()  # options that the kernel sees to: noexec, noatime, ...
    trace: str | None = None
    replace_trace: bool = False
    evidence: str = "auto"  # or a tier of mapfs.trace.evidence.tiers
    metrics: Address | None = None  # where they are served by HTTP
    detach: bool = False  # from the terminal, once it answers
    prefetch: int = 0  # bytes that are pushed ahead, of files whose spec does not say
    warm: Plan | None = None  # pages to push once it answers,
    warm_first: bool = False  # or before it is said to

    def for_fuse(self) -> list[str]:
        """The options of the mount itself, as fusermount3 and libfuse take them."""
        chosen = [f"fsname={escape(self.source)}", "subtype=mapfs", "nosuid", "nodev", *self.kernel]
        if self.read_only:
            chosen.append("ro")
        if self.allow_other:
            chosen += ["allow_other", "default_permissions"]
        return chosen

    def fact(self, path: str, tier: str) -> MountFact:
        """What the recorder is told of the mount at `path`, which this process is about to make, with this evidence."""
        return MountFact(
            mountpoint=printable(path),
            version=__version__,
            link=self.link,
            page_size=PAGE_SIZE,
            readahead=self.readahead if self.link == "own" else -1,
            pid=os.getpid(),
            monotonic_ns=time.monotonic_ns(),
            wall_ns=time.time_ns(),
            evidence=tier,
        )
