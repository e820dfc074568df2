"""`mapfs log TRACE|MNT`: the events, a line each."""

import fnmatch
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from mapfs.trace.reader import has_ended, is_mount, mount_events, open_trace, trace_events
from mapfs.views.lines import Lines
from mapfs.views.terminal import wants_colour

_LOOK_AGAIN = 0.2  # seconds between two looks at a trace that is still written


@click.command(short_help="Print the page demands of a mount or a trace.")
@click.argument("target", metavar="TRACE|MNT")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until the mount ends.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line (docs/TRACE.md has its keys).")
@click.option("--file", "glob", metavar="GLOB", help="Only files whose path in the mount matches.")
@click.option("--pid", type=int, metavar="N", help="Only this process, or this thread.")
def command(target: str, follow: bool, as_json: bool, glob: str | None, pid: int | None) -> None:
    """Print what was demanded, oldest first: time, class, command/process, file, page, offset, label, wait.

    A mount keeps its newest 65,000 events; a trace (mount --trace FILE) has all of them.
    """
    if follow:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as for tail -f: a handler of Python's could come too late
    lines = Lines(colour=wants_colour(sys.stdout))
    encode = msgspec.json.Encoder().encode
    for event in _events(target, follow=follow):
        if event["op"] != "lost" and not _wanted(event, glob, pid):
            continue
        event.pop("serial", None)
        print(encode(event).decode() if as_json else lines.line(event), flush=follow)


def _wanted(event: dict[str, Any], glob: str | None, pid: int | None) -> bool:
    if glob is not None and not fnmatch.fnmatchcase(event["file"], glob):
        return False
    return pid is None or pid in (event["pid"], event["tid"])


def _events(target: str, *, follow: bool) -> Iterator[dict[str, Any]]:
    reading = None if is_mount(target) else open_trace(target)
    if reading is None:
        yield from mount_events(target, follow=follow)
        return
    last = 0
    while True:
        ended = has_ended(reading.connection)
        for event in trace_events(reading.connection, last):
            last = event["serial"]
            yield event
        if ended or not follow:
            return
        time.sleep(_LOOK_AGAIN)
