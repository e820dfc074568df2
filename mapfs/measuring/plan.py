"""What `mapfs bench` measures, and what it compares: all its choices, as data."""

from dataclasses import dataclass
from enum import StrEnum


class Order(StrEnum):
    """In which order pages are wanted. `random`: each once, and no two neighbours one after the other."""

    RANDOM = "random"
    SEQUENTIAL = "sequential"


class State(StrEnum):
    """`cold`: the page cache lacks the page. `resident`: it has it, and a mapping has been touched there before.
    `written`: the page cache lacks the page, which is written, until it is where the file lies.
    """

    COLD = "cold"
    RESIDENT = "resident"
    WRITTEN = "written"


class Target(StrEnum):
    """Where the pages come from."""

    DIRECT = "direct"
    MAPFS = "mapfs"


class Way(StrEnum):
    """How a program gets at a page.

    `mmap`: a byte of each page of a mapping is loaded, nothing is read ahead (MADV_RANDOM; a mount without
    --readahead). `read`: pread(2), a page a call in random order, 128 KiB a call in sequence. `readahead`: a mapping
    whose pages the kernel fetches before they are touched: as it does by itself in sequence, and in random order told
    so before (POSIX_FADV_WILLNEED); through mapfs on a mount with --readahead 128K. `store`: a byte of each page of a
    shared mapping is changed, and then msync(2) is called; `write`: as `read`, by pwrite(2), and then fsync(2).
    """

    MMAP = "mmap"
    READ = "read"
    READAHEAD = "readahead"
    STORE = "store"
    WRITE = "write"


READAHEAD = 128 << 10  # bytes: what the kernel offers a FUSE mount, and its own default for disks


@dataclass(frozen=True, slots=True)
class Case:
    """What a client does once in a round: its pages cold, and again once they are resident."""

    target: Target
    way: Way
    order: Order

    @property
    def states(self) -> tuple[State, ...]:
        """Once a page is resident it does not matter how it came."""
        if self.writes:
            return (State.WRITTEN,)
        return (State.COLD,) if self.way is Way.READAHEAD else (State.COLD, State.RESIDENT)

    @property
    def writes(self) -> bool:
        """Whether it changes the file: never one of the user's."""
        return self.way in (Way.STORE, Way.WRITE)


CASES = tuple(Case(target, way, order) for target in Target for way in Way for order in Order)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The time of `of` against that of `to`, a page, in `order` and `state`. `thing` and `against` are the ends of a
    sentence, `meaning` what follows from it, whatever the ratio is.
    """

    of: tuple[Target, Way]
    to: tuple[Target, Way]
    order: Order
    state: State
    thing: str
    against: str
    meaning: str


_D, _M = Target.DIRECT, Target.MAPFS
COMPARISONS = (
    Comparison(
        (_M, Way.MMAP), (_D, Way.MMAP), Order.RANDOM, State.COLD,
        "A page that is fetched through mapfs", "one that is fetched from the file itself",
        "each is one request, which mapfs answers and shows",
    ),
    Comparison(
        (_M, Way.MMAP), (_D, Way.MMAP), Order.RANDOM, State.RESIDENT,
        "Through mapfs, a touch of a page in memory", "one of the file itself",
        "mapfs is not asked for what the page cache has",
    ),
    Comparison(
        (_M, Way.READAHEAD), (_D, Way.READAHEAD), Order.SEQUENTIAL, State.COLD,
        "Through mapfs, a walk in order with read-ahead", "one along the file itself",
        "mapfs mount --readahead 128K asks for 32 pages at once, and no longer shows which of them was touched",
    ),
    Comparison(
        (_M, Way.READ), (_D, Way.READ), Order.RANDOM, State.RESIDENT,
        "Through mapfs, a read(2) of a page in memory", "one of the file itself",
        "here too the page cache answers",
    ),
    Comparison(
        (_D, Way.MMAP), (_D, Way.READ), Order.RANDOM, State.RESIDENT,
        "A touch of a page in memory", "a read(2) of it",
        "a mapping takes no call and no copy once its pages are there",
    ),
    Comparison(
        (_D, Way.MMAP), (_D, Way.READ), Order.RANDOM, State.COLD,
        "A touch of a page that has to be fetched", "a read(2) of it",
        "both wait for the same page, one in a fault and one in a call",
    ),
    Comparison(
        (_D, Way.READAHEAD), (_D, Way.MMAP), Order.SEQUENTIAL, State.COLD,
        "A walk in order along the file with read-ahead", "one without",
        "that is what guessing the next pages is worth here",
    ),
    Comparison(
        (_M, Way.READAHEAD), (_M, Way.MMAP), Order.SEQUENTIAL, State.COLD,
        "Through mapfs, a walk in order with --readahead 128K", "one without",
        "that is the price of seeing each page",
    ),
    Comparison(
        (_D, Way.READAHEAD), (_D, Way.MMAP), Order.RANDOM, State.COLD,
        "A scattered page of the file that the kernel was told of before", "one that it was not",
        "whoever knows what it will need had better say so (posix_fadvise(2), madvise(2))",
    ),
    Comparison(
        (_D, Way.STORE), (_D, Way.WRITE), Order.RANDOM, State.WRITTEN,
        "A store into a page that is not in memory", "a write(2) of all of it",
        "a store fetches the page first, a write of a whole page does not",
    ),
    Comparison(
        (_M, Way.STORE), (_D, Way.STORE), Order.RANDOM, State.WRITTEN,
        "Through mapfs, a store into a page that is not in memory", "one into the file itself",
        "it is a request to fetch it, and at msync(2) one to write it back",
    ),
    Comparison(
        (_M, Way.WRITE), (_D, Way.WRITE), Order.SEQUENTIAL, State.WRITTEN,
        "Through mapfs, a page that is written by write(2) in sequence", "one of the file itself",
        "each call is a request, which mapfs answers and shows",
    ),
)  # fmt: skip
