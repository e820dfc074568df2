"""What the recorder writes into the pipes of `.mapfs/events` and `.mapfs/stats`.

A reader of events is one more cursor in the ring. While nobody reads there is none, and a reader that is
stopped holds up nobody: when it goes on it is told how many events it has lost.
"""

import contextlib
import os
from typing import TYPE_CHECKING

import msgspec
import trio

from mapfs.trace.events import READ, Event, Lost, as_json
from mapfs.trace.facts import StatsWanted, printable
from mapfs.trace.ring import Reader

if TYPE_CHECKING:
    from mapfs.trace.recorder import Recorder

_BATCH = 256
_encode = msgspec.json.Encoder().encode


async def send_events(recorder: "Recorder", fd: int, follow: bool) -> None:
    """All events that are still in the ring, oldest first, then what comes if `follow`; a JSON line each."""
    cursor = Reader(recorder.ring, recorder.ring.oldest())
    missing = cursor.next - 1  # what the ring holds no longer
    until = recorder.reader.next
    async with trio.lowlevel.FdStream(fd) as pipe:
        with contextlib.suppress(trio.BrokenResourceError):
            while follow or cursor.next < until:
                drained = recorder.reader.next
                if cursor.next >= drained:
                    await recorder.progress.wait()
                    continue
                lost = cursor.lost
                records = cursor.take(min(_BATCH, drained - cursor.next))
                missing += cursor.lost - lost
                events: list[Event | Lost] = [Lost(missing)] if missing else []
                events += [recorder.event(record) for record in records]
                missing = 0
                await pipe.send_all(b"".join([_line(recorder, event) for event in events]))


def _line(recorder: "Recorder", event: Event | Lost) -> bytes:
    offset = recorder.mount.wall_offset if recorder.mount else 0
    return _encode(as_json(event, offset)) + b"\n"


async def send_stats(recorder: "Recorder", wanted: StatsWanted, fd: int) -> None:
    """One JSON object, of everything up to now."""
    mount, counted = recorder.mount, recorder.metrics.counted()
    stats = {
        **{name: getattr(mount, name, None) for name in ("mountpoint", "version", "link", "page_size", "readahead")},
        "started_ns": mount.wall_ns if mount else None,
        "requests": sum(counted.requests.values()),
        "classes": {name or "?": count for name, count in counted.classes.items()},
        "pages": counted.of(counted.pages, READ),
        "bytes": counted.of(counted.bytes, READ),
        "lost": recorder.reader.lost,
        "files": len(recorder.files),
        "threads": len(recorder.threads),
        "trace": printable(recorder.store.path) if recorder.store else None,
        "sinks": {printable(sink.name): "failed" if sink.failure else "ok" for sink in recorder.sinks},
        "metrics": recorder.endpoint.url if recorder.endpoint else None,
        "recorder_pid": os.getpid(),
        "daemon": wanted.daemon,
    }
    async with trio.lowlevel.FdStream(fd) as pipe:
        with contextlib.suppress(trio.BrokenResourceError):
            await pipe.send_all(_encode(stats) + b"\n")
