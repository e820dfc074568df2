"""An event on its way: what is known of it grows until it is settled."""

from mapfs.trace.events import EVICT, FAULT, HIT, VIA_FAULT
from mapfs.trace.journal import CLASS_NUMBERS, UNKNOWN, VIAS, Entry
from mapfs.trace.ring import Record
from mapfs.units import PAGE_SIZE

_VIA_NUMBERS = {name: number for number, name in enumerate(VIAS)}


class Item:
    """`open`: more may become known. `until`, ns: after that it will not."""

    __slots__ = (
        "by", "cls", "demanded", "errno", "file", "flags", "offset", "op", "open", "reason", "refaults", "size",
        "thread", "tid", "time_ns", "total_ns", "unique", "until", "via", "wait_ns",
    )  # fmt: skip

    def __init__(self, time_ns: int, op: int, file: int, offset: int, size: int, thread: int, tid: int) -> None:
        self.time_ns = time_ns
        self.op = op
        self.file = file
        self.offset = offset
        self.size = size
        self.thread = thread
        self.tid = tid
        self.cls: str | None = None
        self.via: str | None = None
        self.wait_ns = self.total_ns = self.demanded = UNKNOWN
        self.unique = self.by = self.reason = self.refaults = self.errno = self.flags = 0
        self.open = False
        self.until = 0

    def entry(self, serial: int) -> Entry:
        """For the journal."""
        return Entry(
            serial, self.time_ns, self.wait_ns, self.total_ns, self.offset, self.unique, self.demanded, self.size,
            self.file, self.thread, self.tid, self.by, self.reason, self.refaults, self.errno, self.op,
            CLASS_NUMBERS[self.cls], _VIA_NUMBERS[self.via], self.flags,
        )  # fmt: skip


def of_request(record: Record, cls: str | None, refaults: int) -> Item:
    """What a pager recorded."""
    item = Item(record.time_ns, record.op, record.file, record.offset, record.size, record.thread, record.tid)
    item.wait_ns, item.unique, item.reason = record.wait_ns, record.unique, record.reason
    item.errno, item.flags, item.cls, item.refaults = record.errno, record.flags, cls, refaults
    return item


def of_pages(
    time_ns: int, file: int, first: int, last: int, thread: int, tid: int, *, cls: str | None, via: str, by: int
) -> Item:
    """Pages that a process got from the page cache."""
    op = FAULT if via == VIA_FAULT else HIT
    item = Item(time_ns, op, file, first * PAGE_SIZE, (last - first + 1) * PAGE_SIZE, thread, tid)
    item.cls, item.via, item.by = cls, via, by
    return item


def of_eviction(time_ns: int, file: int, first: int, last: int, thread: int, tid: int) -> Item:
    """Pages that left the page cache."""
    return Item(time_ns, EVICT, file, first * PAGE_SIZE, (last - first + 1) * PAGE_SIZE, thread, tid)
