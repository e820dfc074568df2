"""Facts and events to try things with; what a test does not say is arbitrary."""

from typing import Any

import msgspec

from mapfs.trace.events import COLD, READ, Event
from mapfs.trace.facts import FileFact, MountFact, ThreadFact

MOUNT = MountFact("/mnt/x", "0.1", "own", 4096, 0, 77, monotonic_ns=1_000, wall_ns=5_000_000_000_001_000)
WALL_OFFSET = MOUNT.wall_ns - MOUNT.monotonic_ns
FILE = FileFact(1, 2, "a/b", "pages:8p", 32768, 1)
THREAD = ThreadFact(1, 101, "worker", 100, 5, "python3", "python3 -c pass", None, 1000)

_EVENT = Event(
    serial=1,
    time_ns=2_000,
    wait_ns=300,
    op=READ,
    cls=COLD,
    file=FILE,
    offset=0,
    size=4096,
    thread=THREAD,
    thread_key=THREAD.key,
    tid=101,
    errno=0,
    reason=None,
    refaults=0,
    direct=False,
    unique=8,
)


def event(serial: int, **changes: Any) -> Event:
    """An event like any other but for `changes`."""
    if "thread" in changes:
        changes["thread_key"] = changes["thread"].key if changes["thread"] else 0
    return msgspec.structs.replace(_EVENT, serial=serial, **changes)
