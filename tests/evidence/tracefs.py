"""What the kernel says of a mount's page cache, read as text from a tracing instance of the test's own.

Nothing of mapfs is in this: it is what mapfs is compared with.
"""

import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TRACEFS = Path("/sys/kernel/tracing")
_POINTS = (
    "mm_filemap_fault",
    "mm_filemap_map_pages",
    "mm_filemap_get_pages",
    "mm_filemap_add_to_page_cache",
    "mm_filemap_delete_from_page_cache",
)
_LINE = re.compile(
    r"^.*-(?P<tid>\d+) +\[\d+\] \S+ +(?P<time>\d+\.\d+): (?P<point>\w+): dev[ =]\d+:\d+ ino[ =](?P<ino>[0-9a-f]+) "
    r"(?:pfn=\S+ )?ofs=(?P<first>\d+)(?:-(?P<last>\d+))?(?: order=(?P<order>\d+))?$"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One line. `time` in us of CLOCK_MONOTONIC."""

    time: int
    point: str
    tid: int
    inode: int
    first: int
    last: int


class Instance:
    """A tracing instance for one mount."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def read(self) -> list[Seen]:
        """Everything since it was made, in the order of time; fails if something was lost."""
        for cpu in self.directory.glob("per_cpu/cpu*/stats"):
            stats = dict(line.split(": ") for line in cpu.read_text().splitlines())
            assert int(stats["overrun"]) == int(stats["dropped events"]) == 0, f"{cpu} has lost events: {stats}"
        seen = []
        for line in (self.directory / "trace").read_text().splitlines():
            if line.startswith("#"):
                continue
            match = _LINE.match(line)
            assert match, f"a line that cannot be read: {line}"
            first = int(match["first"]) // mmap.PAGESIZE
            last = int(match["last"]) // mmap.PAGESIZE if match["last"] else first + (1 << int(match["order"] or 0)) - 1
            seconds, micros = match["time"].split(".")
            at = int(seconds) * 1_000_000 + int(micros)
            point = match["point"].removeprefix("mm_filemap_")
            seen.append(Seen(at, point, int(match["tid"]), int(match["ino"], 16), first, last))
        return seen


@contextmanager
def watching(path: str) -> Iterator[Instance]:
    """An instance that sees the mount at `path`; gone afterwards."""
    device = os.stat(path).st_dev
    number = os.major(device) << 20 | os.minor(device)
    directory = _TRACEFS / "instances" / f"mapfs-test-{os.getpid()}"
    directory.mkdir()
    try:
        (directory / "trace_clock").write_text("mono")
        (directory / "buffer_size_kb").write_text("16384")
        for point in _POINTS:
            event = directory / "events" / "filemap" / point
            (event / "filter").write_text(f"s_dev == {number}")
            (event / "enable").write_text("1")
        yield Instance(directory)
    finally:
        for point in _POINTS:
            (directory / "events" / "filemap" / point / "enable").write_text("0")
        directory.rmdir()
