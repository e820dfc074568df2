"""What the recorder writes into the pipes of `.mapfs/events` and `.mapfs/stats`.

A reader of events is one more cursor in the ring. While nobody reads there is none, and a reader that is
stopped holds up nobody: when it goes on it is told how many events it has lost.
"""

import contextlib
import os
from typing import TYPE_CHECKING

import msgspec
import trio

from mapfs.trace.events import EVICT, READ, Event, Lost, as_json
from mapfs.trace.facts import StatsWanted, printable
from mapfs.trace.journal import SAMPLES_LOST

if TYPE_CHECKING:
    from mapfs.trace.recorder import Recorder

_BATCH = 256
_encode = msgspec.json.Encoder().encode


async def send_events(recorder: "Recorder", fd: int, follow: bool) -> None:
    """All events that are still in the ring, oldest first, then what comes if `follow`; a JSON line each."""
    journal = recorder.joiner.journal
    position, until = journal.oldest, journal.count
    expected = 1  # the serial number of the next event, had none been lost
    async with trio.lowlevel.FdStream(fd) as pipe:
        with contextlib.suppress(trio.BrokenResourceError):
            while follow or position < until:
                if position >= journal.count:
                    await recorder.progress.wait()
                    continue
                position, known = max(position, journal.oldest), recorder.joiner.known
                events: list[Event | Lost] = []
                for entry in [journal[at] for at in range(position, min(journal.count, position + _BATCH))]:
                    if entry.serial > expected:
                        events.append(Lost(entry.serial - expected))
                    expected = entry.serial + 1
                    position += 1
                    events.append(Lost(entry.size, samples=True) if entry.op == SAMPLES_LOST else known.event(entry))
                await pipe.send_all(b"".join([_line(recorder, event) for event in events]))


def _line(recorder: "Recorder", event: Event | Lost) -> bytes:
    offset = recorder.mount.wall_offset if recorder.mount else 0
    return _encode(as_json(event, offset)) + b"\n"


async def send_stats(recorder: "Recorder", wanted: StatsWanted, fd: int) -> None:
    """One JSON object, of everything up to now."""
    mount, counted = recorder.mount, recorder.joiner.metrics.counted()
    stats = {
        **{
            name: getattr(mount, name, None)
            for name in ("mountpoint", "version", "link", "page_size", "readahead", "evidence")
        },
        "started_ns": mount.wall_ns if mount else None,
        "requests": sum(counted.classes.values()),
        "classes": {name or "?": count for name, count in counted.classes.items()},
        "faults": {name or "?": count for name, count in counted.faults.items()},
        "evicted": counted.of(counted.pages, EVICT),
        "pages": counted.of(counted.pages, READ),
        "bytes": counted.of(counted.bytes, READ),
        "lost": recorder.joiner.lost,
        "behind": recorder.behind,
        "lost_samples": recorder.joiner.lost_samples,
        "held_back": [
            {"file": file.path, "times": one.times, "pushed": one.pushed, "untouched": one.untouched}
            for one in recorder.joiner.known.held_back.values()
            if (file := recorder.joiner.known.files.get(one.file)) is not None
        ],
        "files": len(recorder.joiner.known.files),
        "threads": len(recorder.joiner.known.threads),
        "trace": printable(recorder.store.path) if recorder.store else None,
        "sinks": {printable(sink.name): "failed" if sink.failure else "ok" for sink in recorder.sinks},
        "metrics": recorder.endpoint.url if recorder.endpoint else None,
        "recorder_pid": os.getpid(),
        "daemon": wanted.daemon,
    }
    async with trio.lowlevel.FdStream(fd) as pipe:
        with contextlib.suppress(trio.BrokenResourceError):
            await pipe.send_all(_encode(stats) + b"\n")
