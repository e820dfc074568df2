"""An event: one thing that happened to pages of a file, as views and sinks get it. Frozen.

The recorder makes events of records (what a pager wrote into the ring) and facts (who, which file). As JSON
an event has the keys of docs/TRACE.md; `as_json` is the one place that knows them.
"""

import errno as errnos
from typing import Any

import msgspec

from mapfs.trace.facts import FileFact, ThreadFact
from mapfs.units import page_span

READ, WRITE, PUSH, DROP = 1, 2, 3, 4
OPS = {READ: "read", WRITE: "write", PUSH: "push", DROP: "drop"}
COLD, REFAULT, ERROR, WRITTEN = "COLD", "REFAULT", "ERROR", "WRITE"


class Event(msgspec.Struct, frozen=True, gc=False):
    """One request that was answered."""

    #: Its place in the order in which requests were answered, from 1 on.
    serial: int
    #: When it arrived, ns of CLOCK_MONOTONIC.
    time_ns: int
    #: From its arrival to its answer, ns.
    wait_ns: int
    #: One of OPS.
    op: int
    #: COLD, REFAULT, ERROR, WRITE; None where the evidence cannot tell.
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
    #: The kernel's number of the request.
    unique: int

    @property
    def pages(self) -> range:
        """The pages it concerns, counted from 0 in the file."""
        return page_span(self.offset, self.size)


class Lost(msgspec.Struct, frozen=True, gc=False):
    """Events that are not here: overwritten before they were taken, or `skipped` by a sink that lags."""

    count: int
    skipped: bool = False


def as_json(event: Event | Lost, wall_offset: int) -> dict[str, Any]:
    """The keys and values of docs/TRACE.md. `wall_offset` is Unix time minus CLOCK_MONOTONIC, ns."""
    if isinstance(event, Lost):
        return {"op": "lost", "count": event.count, "skipped": event.skipped}
    pages, thread = event.pages, event.thread
    return {
        "time_ns": event.time_ns,
        "wall_ns": event.time_ns + wall_offset,
        "op": OPS[event.op],
        "class": event.cls,
        "via": "?",
        "direct": event.direct,
        "file": event.file.path,
        "offset": event.offset,
        "size": event.size,
        "page": pages.start,
        "pages": len(pages),
        "refaults": event.refaults,
        "tid": event.tid or None,
        "pid": thread.pid if thread else None,
        "command": thread.command if thread else None,
        "container": thread.container if thread else None,
        "wait_ns": event.wait_ns,
        "error": errnos.errorcode.get(event.errno, str(event.errno)) if event.errno else None,
        "reason": event.reason,
        "by": None,
        "label": None,
    }
