"""What a mount is to be: the options of `mapfs mount`, checked once, used everywhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mapfs.trace.address import Address
from mapfs.tree.build import Given


@dataclass(frozen=True, slots=True)
class MountOptions:
    """Everything that `Mount` needs to know. Sizes in bytes."""

    mountpoint: str
    files: Mapping[str, Given] = field(default_factory=dict)
    link: str = "own"  # or "plain": pyfuse3 alone
    readahead: int = 0
    threads: int = 16
    allow_other: bool = False
    read_only: bool = False
    nonempty: bool = False
    trace: str | None = None
    replace_trace: bool = False
    evidence: str = "auto"  # or a tier of mapfs.trace.evidence.tiers
    metrics: Address | None = None  # where they are served by HTTP
    detach: bool = False  # from the terminal, once it answers

    def of_mount(self) -> list[str]:
        """The options of fusermount3 (mount.fuse3(8)): nosuid and nodev whoever mounts."""
        chosen = ["fsname=mapfs", "subtype=mapfs", "nosuid", "nodev", *(["ro"] if self.read_only else [])]
        return [*chosen, "allow_other", "default_permissions"] if self.allow_other else chosen
