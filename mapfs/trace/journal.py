"""The journal: the newest events, whole, in the recorder's own memory.

An event is settled once all is known of it that will be: of a request its class, and with evidence beyond the requests
how it came and who waited. What `.mapfs/events` tells is read from here, each reader by a cursor of its own.
"""

import struct
from typing import NamedTuple

from mapfs.trace.events import AHEAD, COLD, ERROR, JOINED, REFAULT, SHARED, VIA_FAULT, VIA_READ, WRITTEN

CLASSES = (None, COLD, REFAULT, ERROR, WRITTEN, AHEAD, SHARED, JOINED)
VIAS = (None, VIA_FAULT, VIA_READ)
CLASS_NUMBERS = {name: number for number, name in enumerate(CLASSES)}
UNKNOWN = -1  # of `wait_ns`, `total_ns` and `demanded`
SAMPLES_LOST = 0  # an op: so many samples, `size`, were lost here
_ENTRY = struct.Struct("@QQqqQQqQIIIIIIHBBBB2x")


class Entry(NamedTuple):
    """One event in numbers: `cls` and `via` are places in CLASSES and VIAS, the rest is as in Event."""

    serial: int
    time_ns: int
    wait_ns: int
    total_ns: int
    offset: int
    unique: int
    demanded: int
    size: int
    file: int
    thread: int
    tid: int
    by: int
    reason: int
    refaults: int
    errno: int
    op: int
    cls: int
    via: int
    flags: int


def lost_samples(serial: int, count: int) -> Entry:
    """So many samples of evidence were lost here."""
    return Entry(serial, 0, 0, 0, 0, 0, 0, count, 0, 0, 0, 0, 0, 0, 0, SAMPLES_LOST, 0, 0, 0)


class Journal:
    """The newest `slots` entries, by their positions from 0 on."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.count = 0
        self._memory = bytearray(slots * _ENTRY.size)

    def append(self, entry: Entry) -> None:
        """Keeps `entry`, in the place of the oldest."""
        _ENTRY.pack_into(self._memory, self.count % self.slots * _ENTRY.size, *entry)
        self.count += 1

    @property
    def oldest(self) -> int:
        """The position of the oldest entry that is there."""
        return max(0, self.count - self.slots)

    def __getitem__(self, position: int) -> Entry:
        return Entry._make(_ENTRY.unpack_from(self._memory, position % self.slots * _ENTRY.size))
