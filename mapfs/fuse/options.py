"""What a mount is to be: the options of `mapfs mount`, checked once, used everywhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mapfs.fuse.fstab import escape
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
    source: str = "mapfs"  # what stands for the source in the tables of mounts
    kernel: tuple[str, ...] = ()  # options that the kernel sees to: noexec, noatime, ...
    trace: str | None = None
    replace_trace: bool = False
    detach: bool = False  # from the terminal, once it answers

    def for_fuse(self) -> list[str]:
        """The options of the mount itself, as fusermount3 and libfuse take them."""
        chosen = [f"fsname={escape(self.source)}", "subtype=mapfs", "nosuid", "nodev", *self.kernel]
        if self.read_only:
            chosen.append("ro")
        if self.allow_other:
            chosen += ["allow_other", "default_permissions"]
        return chosen
