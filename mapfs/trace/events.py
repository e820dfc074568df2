"""An event: one thing that happened to pages of a file, as views and sinks get it. Frozen.

The recorder makes events of records (what a pager wrote into the ring) and facts (who, which file). As JSON
an event has the keys of docs/TRACE.md; `as_json` is the one place that knows them.
"""

import errno as errnos
from typing import Any

import msgspec

from mapfs.trace.facts import FileFact, ThreadFact
from mapfs.units import page_span

READ, WRITE, PUSH, DROP, FAULT, HIT, EVICT = 1, 2, 3, 4, 5, 6, 7
OPS = {READ: "read", WRITE: "write", PUSH: "push", DROP: "drop", FAULT: "fault", HIT: "hit", EVICT: "evict"}
REQUESTS = frozenset((READ, WRITE, PUSH, DROP))  # what mapfs answered or did; the others only evidence beyond it shows
COLD, REFAULT, AHEAD, SHARED, JOINED, ERROR, WRITTEN = "COLD", "REFAULT", "AHEAD", "SHARED", "JOINED", "ERROR", "WRITE"
VIA_FAULT, VIA_READ = "fault", "read"


class Event(msgspec.Struct, frozen=True, gc=False):
    """One request that was answered, or what evidence beyond the requests shows: pages that a process got from the
    page cache without a request of its own (FAULT, HIT), pages that left it (EVICT).
    """

    #: Its place in the order in which the recorder handed events on, from 1 on.
    serial: int
    #: When the request arrived, or the fault was seen, ns of CLOCK_MONOTONIC.
    time_ns: int
    #: From its arrival to its answer, ns; of JOINED, from the fault to that answer; None: nobody can tell.
    wait_ns: int | None
    #: One of OPS.
    op: int
    #: COLD, REFAULT, AHEAD, SHARED, JOINED, ERROR, WRITE; None where the evidence cannot tell.
    cls: str | None
    #: The file, as it was when this happened.
    file: FileFact
    #: Bytes from the start of the file.
    offset: int
    #: Bytes answered; of a failed request, bytes asked for.
    size: int
    #: The thread that waited; None where it is not known.
    thread: ThreadFact | None
    #: Its key, also where its fact did not come (yet); 0 for none.
    thread_key: int
    #: Its id as the kernel gave it, 0 for none.
    tid: int
    #: The errno that it was answered with, 0 for none.
    errno: int
    #: Why it failed, in words.
    reason: str | None
    #: How many of its pages had been requested before.
    refaults: int
    #: Whether it came through a descriptor with O_DIRECT: by read(2) past the page cache, or by a page fault.
    direct: bool
    #: The kernel's number of the request; 0 for what is none.
    unique: int
    #: VIA_FAULT, VIA_READ (read(2) and the like); None where the evidence cannot tell.
    via: str | None = None
    #: Of a READ: the first page that its thread waited for, the rest was read ahead; None: nobody can tell, or none.
    demanded: int | None = None
    #: From the page fault to the page, ns: all that the thread waited, not only for mapfs. None: nobody can tell.
    total_ns: int | None = None
    #: Of SHARED and JOINED: the thread that brought the pages in; None where it is not known.
    by: ThreadFact | None = None
    #: Its key, 0 for none.
    by_key: int = 0

    @property
    def pages(self) -> range:
        """The pages it concerns, counted from 0 in the file."""
        return page_span(self.offset, self.size)


class Lost(msgspec.Struct, frozen=True, gc=False):
    """Events that are not here: overwritten before they were taken, or `skipped` by a sink that lags.

    `samples`: not events of mapfs, but of the kernel, which had no room for so many samples of evidence.
    """

    count: int
    skipped: bool = False
    samples: bool = False


def as_json(event: Event | Lost, wall_offset: int) -> dict[str, Any]:
    """The keys and values of docs/TRACE.md. `wall_offset` is Unix time minus CLOCK_MONOTONIC, ns."""
    if isinstance(event, Lost):
        return {"op": "lost", "count": event.count, "skipped": event.skipped, "samples": event.samples}
    pages, thread, by = event.pages, event.thread, event.by
    return {
        "time_ns": event.time_ns,
        "wall_ns": event.time_ns + wall_offset,
        "op": OPS[event.op],
        "class": event.cls,
        "via": event.via or "?",
        "direct": event.direct,
        "file": event.file.path,
        "offset": event.offset,
        "size": event.size,
        "page": pages.start,
        "pages": len(pages),
        "refaults": event.refaults,
        "demanded": event.demanded,
        "tid": event.tid or None,
        "pid": thread.pid if thread else None,
        "command": thread.command if thread else None,
        "container": thread.container if thread else None,
        "wait_ns": event.wait_ns,
        "total_ns": event.total_ns,
        "error": errnos.errorcode.get(event.errno, str(event.errno)) if event.errno else None,
        "reason": event.reason,
        "by": {"tid": by.tid, "pid": by.pid, "command": by.command} if by else None,
        "label": None,
    }
