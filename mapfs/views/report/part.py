"""What a scan of a range of a trace finds: sums for each file, thread and kind, and the cells of the picture."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from mapfs.views.report.grid import Grid

LONGEST = 25  # waits


@dataclass(slots=True)
class Sums:
    """Of one file, thread and kind. Waits are ns; only those that are known are in them."""

    count: int = 0
    pages: int = 0
    refaults: int = 0
    bytes: int = 0
    wait_ns: int = 0
    longest_ns: int = 0

    def add(self, other: "Sums") -> None:
        """Adds those of another."""
        self.count += other.count
        self.pages += other.pages
        self.refaults += other.refaults
        self.bytes += other.bytes
        self.wait_ns += other.wait_ns
        self.longest_ns = max(self.longest_ns, other.longest_ns)


@dataclass(slots=True)
class Part:
    """What was found."""

    grid: Grid
    groups: defaultdict[tuple[int, int, int], Sums] = field(default_factory=lambda: defaultdict(Sums))
    sharing: Counter[tuple[int, int, int]] = field(default_factory=Counter)  # thread, whose pages, kind: pages
    longest: list[tuple[int, int]] = field(default_factory=list)  # wait in ns and serial, the longest first
    pages: Counter[tuple[int, int]] = field(default_factory=Counter)  # by kind and finest row
    again: Counter[tuple[int, int]] = field(default_factory=Counter)  # those of them that had been asked for before


def pages_of(offset: int, size: int, page_size: int) -> int:
    """How many pages some bytes lie in, at least one."""
    return max(1, -(-(offset + size) // page_size) - offset // page_size)


def longest_of(waits: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest of waits and their serial numbers; of equal ones the earlier."""
    return sorted(waits, key=lambda one: (-one[0], one[1]))[:LONGEST]
