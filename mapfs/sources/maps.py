"""/proc/PID/maps (proc(5)): which ranges of addresses a process has mapped, and what each is called here. Pure."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) [0-9a-f]+ ([0-9a-f]+):([0-9a-f]+) (\d+) *(.*)$", re.MULTILINE)
_DELETED = b" (deleted)"
_LONGEST = 255  # bytes of a name in a directory
_NAME = re.compile(rb"([0-9a-f]{12,16})-([0-9a-f]{12,16})\.[-rwxsp]{4}\..+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mapping:
    """One line: the addresses from `start` up to `end`. `name` is the path, `[heap]` or the like, or empty."""

    start: int
    end: int
    rights: bytes
    device: int
    inode: int
    name: bytes

    @property
    def file_name(self) -> bytes:
        """What the mapping is called in a directory: unique, in the order of the addresses, without a slash."""
        name = self.name.removesuffix(_DELETED)
        short = (name.rpartition(b"/")[2] if name.startswith(b"/") else name.replace(b"/", b"_")) or b"anon"
        whole = b"%012x-%012x.%b.%b" % (self.start, self.end, self.rights, short)
        end = b".deleted" if name != self.name else b""
        return whole[: _LONGEST - len(end)] + end


def mappings(text: bytes, start: int = 0, end: int = 1 << 64) -> Iterator[Mapping]:
    """Those that hold an address from `start` up to `end`, in their order."""
    for match in _LINE.finditer(text):
        first, last = int(match[1], 16), int(match[2], 16)
        if first >= end:
            break
        if last > start:
            device = os.makedev(int(match[4], 16), int(match[5], 16))
            yield Mapping(first, last, match[3], device, int(match[6]), match[7])


def range_of(text: bytes, name: bytes) -> tuple[int, int] | None:
    """From the lowest to the highest address of all mappings called `name`, deleted or not."""
    found = [one for one in mappings(text) if name in (one.name, one.name.removesuffix(_DELETED))]
    return (found[0].start, found[-1].end) if found else None


def named(text: bytes, file_name: bytes) -> Mapping | None:
    """The mapping whose `file_name` that is."""
    match = _NAME.fullmatch(file_name)
    if match is None:
        return None
    start, end = int(match[1], 16), int(match[2], 16)
    found = next(mappings(text, start, end), None)
    return found if found is not None and found.file_name == file_name else None
