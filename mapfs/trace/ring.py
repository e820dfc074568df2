"""The ring: one fixed-size record a request, in memory that the daemon and the recorder share.

A writer takes a serial number, from 1 on, and packs the record into slot `serial % slots`, in one call each,
so any number of threads of one interpreter may write. A record's own serial number, its last field and
stored last, says that it is there.

**Memory order.** The reader of another process could see the serial number before the rest on a weakly ordered
machine. So it looks at the serial numbers, then has membarrier(2) run a full barrier on every thread of the
registered processes, then copies: what a writer stored before the serial number that was seen is visible by then
(linux/Documentation and membarrier(2) call this an asymmetric fence). A record that may have been
overwritten while it was copied counts as lost: the reader looks once more afterwards and keeps a margin as
large as the number of writers that may be in the middle of a record. The writers pay nothing for this.

**Waking.** A reader that has nothing to do sets a flag and waits for an eventfd; the writer that finds the
flag clears it and wakes the reader. Between flag and second look the reader runs the same barrier. Now and then a
writer looks how far the recorder has read, and says so where the ring is half full of what it has not.
"""

import itertools
import mmap
import os
import struct
from collections.abc import Callable
from typing import NamedTuple

from mapfs.trace.barrier import Barrier

SLOTS = 1 << 16
_HEADER = mmap.PAGESIZE
_RECORD = struct.Struct("@QQQQIIIIBBHIQ")  # Record's fields, aligned, so that each is one store
SLOT = 64
_LOOK = 1 << 12  # records between two looks at how far the recorder has read
_READ_AT, _HANDED_AT = 8, 16  # in the header, where it says so, and how far it has made events of them
_READ = struct.Struct("@Q")
_MARGIN = 1024  # more than there can be pager threads (mount --threads)
_WRITERS = 64  # numbers in a row that are taken before one of them is filled
_SERIAL = struct.Struct("@56xQ")
assert _RECORD.size == _SERIAL.size == SLOT


class Record(NamedTuple):
    """What a pager knows of one request. Times in ns of CLOCK_MONOTONIC, offset and size in bytes."""

    time_ns: int
    wait_ns: int
    offset: int
    unique: int
    size: int
    file: int
    thread: int
    tid: int
    op: int
    flags: int
    errno: int
    reason: int
    serial: int


DIRECT = 1  # a flag of Record: the descriptor has O_DIRECT, so a read(2) bypasses the page cache


class Ring:
    """The memory, made before the recorder is forked. `append` is the writers' half, `Reader` the other."""

    def __init__(self, slots: int = SLOTS) -> None:
        self.slots = slots
        self.size = slots * SLOT  # bytes
        self.memory = mmap.mmap(-1, _HEADER + self.size)
        self.wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.barrier = Barrier()
        self.filling: Callable[[], None] | None = None  # what is called by a writer where the ring is half full
        self._next = itertools.count(1).__next__

    def append(
        self,
        time_ns: int,
        wait_ns: int,
        offset: int,
        unique: int,
        size: int,
        file: int,
        thread: int,
        tid: int,
        op: int,
        flags: int = 0,
        errno: int = 0,
        reason: int = 0,
    ) -> None:
        """Puts one record in; see `Record` for the fields."""
        serial = self._next()
        _RECORD.pack_into(
            self.memory,
            _HEADER + serial % self.slots * SLOT,
            time_ns, wait_ns, offset, unique, size, file, thread, tid, op, flags, errno, reason, serial,
        )  # fmt: skip
        if (
            not serial % _LOOK
            and self.filling
            and serial - _READ.unpack_from(self.memory, _READ_AT)[0] > self.slots / 2
        ):
            self.filling()

    def read(self, serial: int) -> None:
        """The recorder has all records before `serial`."""
        _READ.pack_into(self.memory, _READ_AT, serial)

    def handed(self, serial: int) -> None:
        """The recorder has made events of all records before `serial`, and handed them on."""
        _READ.pack_into(self.memory, _HANDED_AT, serial)

    def behind(self) -> int:
        """How many records it has not yet made events of."""
        return max(0, self.head() - max(1, int(_READ.unpack_from(self.memory, _HANDED_AT)[0])))

    def rouse(self) -> None:
        """Wakes the reader if it sleeps; after `append`, and after the answer that a client waits for."""
        if self.memory[0]:
            self.memory[0] = 0
            os.eventfd_write(self.wake, 1)

    def stored(self, serial: int) -> int:
        """The serial number that the slot of `serial` holds now; 0 before it is first used."""
        return int(_SERIAL.unpack_from(self.memory, _HEADER + serial % self.slots * SLOT)[0])

    def copy(self, serial: int, count: int) -> bytes:
        """The slots of `count` records from `serial` on, as they are now."""
        at = serial % self.slots
        straight = min(count, self.slots - at)
        data = self.memory[_HEADER + at * SLOT : _HEADER + (at + straight) * SLOT]
        if straight < count:
            data += self.memory[_HEADER : _HEADER + (count - straight) * SLOT]
        return data

    def head(self) -> int:
        """The serial number that is written next, as near as a reader can tell."""
        low = self.stored(0) + 1  # slot 0 begins a lap, which is filled in order from there on
        high = low - 1 + self.slots
        while low < high:
            middle = (low + high) // 2
            if self.stored(middle) >= middle:
                low = middle + 1
            else:
                high = middle
        return low

    def oldest(self, *, final: bool = False) -> int:
        """The oldest serial number that is surely whole: behind it, a writer may be at work already."""
        margin = 0 if final else min(_MARGIN, self.slots // 4)
        return max(1, self.head() - self.slots + margin)


class Reader:
    """One cursor in the ring. `lost` counts what was overwritten before this cursor came by, exactly; `hole`: when it
    last looked, there were records behind one that was still being written.
    """

    def __init__(self, ring: Ring, start: int = 1) -> None:
        self.ring = ring
        self.next = start
        self.lost = 0
        self.hole = False

    def take(self, most: int = 8192, *, final: bool = False) -> list[Record]:
        """The next records, at most `most`; an empty list where there is none yet. See `take_bytes`."""
        return records_of(self.take_bytes(most, final=final))

    def take_bytes(self, most: int = 8192, *, final: bool = False) -> bytes:
        """The next records as they lie in the ring, at most `most`; `records_of` reads them.

        `final` says that no writer is left: a number that a killed writer took and never filled is stepped
        over (its request was never answered), where it would be waited for otherwise.
        """
        ring, first = self.ring, self.next
        end = self._end(most)
        if end == first and final:
            first = self._past_hole()
            self.next = first
            end = self._end(most)
        if end == first:
            return b""
        ring.barrier.run()
        copied = ring.copy(first, end - first)
        ring.barrier.run()
        oldest = ring.oldest(final=final)
        self.next = max(end, oldest)
        # behind a hole, head() and so `oldest` are too low: each number is looked at
        serials = [serial for (serial,) in _SERIAL.iter_unpack(copied)]
        if oldest > first or serials != list(range(first, end)):
            copied = b"".join(
                copied[number * SLOT : (number + 1) * SLOT]
                for number, serial in enumerate(serials)
                if serial == first + number and serial >= oldest
            )
        self.lost += (self.next - first) - len(copied) // SLOT
        return copied

    def _end(self, most: int) -> int:
        """The first serial number from `next` on that is not there yet, at most `most` further on."""
        serial, self.hole = self.next, False
        stored = _SERIAL.iter_unpack(self.ring.copy(serial, min(most, self.ring.slots)))
        for (found,) in stored:
            if found < serial:
                self.hole = any(behind > serial for (behind,) in itertools.islice(stored, _WRITERS))
                break
            serial += 1
        return serial

    def _past_hole(self) -> int:
        first = self.next + 1
        for serial, (stored,) in enumerate(_SERIAL.iter_unpack(self.ring.copy(first, self.ring.slots - 1)), first):
            if stored >= serial:
                return serial
        return self.next


def records_of(data: bytes) -> list[Record]:
    """The records in what was taken."""
    new = tuple.__new__  # as many as they are, without the call of a method for each
    return [new(Record, fields) for fields in _RECORD.iter_unpack(data)]
