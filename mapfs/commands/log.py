"""`mapfs log TRACE|MNT`: the events, a line each."""

import fnmatch
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import click
import msgspec

from mapfs.trace.labels.book import MountLabels, TraceLabels
from mapfs.trace.reader import has_ended, is_mount, mount_events, reading, trace_events
from mapfs.views.lines import Lines
from mapfs.views.terminal import wants_colour

_LOOK_AGAIN = 0.2  # seconds between two looks at a trace that is still written


@click.command(short_help="Print the page demands of a mount or a trace.")
@click.argument("target", metavar="TRACE|MNT")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until the mount ends.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line (docs/TRACE.md has its keys).")
@click.option("--file", "glob", metavar="GLOB", help="Only files whose path in the mount matches.")
@click.option("--pid", type=int, metavar="N", help="Only this process, or this thread.")
@click.option("--no-labels", is_flag=True, help="Read no file to tell what an offset of it is called.")
def command(target: str, follow: bool, as_json: bool, glob: str | None, pid: int | None, no_labels: bool) -> None:
    """Print what was demanded, oldest first: time, class, command/process, file, page, offset, label, wait.

    A mount keeps its newest 65,000 events; a trace (mount --trace FILE) has all of them.
    """
    if follow:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as for tail -f: a handler of Python's could come too late
    lines = Lines(colour=wants_colour(sys.stdout))
    encode = msgspec.json.Encoder().encode
    for event in _events(target, _wanted(glob, pid), follow=follow, labels=not no_labels):
        event.pop("serial", None)
        print(encode(event).decode() if as_json else lines.line(event), flush=follow)


def _wanted(glob: str | None, pid: int | None) -> Callable[[dict[str, Any]], bool]:
    def wanted(event: dict[str, Any]) -> bool:
        if event["op"] == "lost":
            return True
        if glob is not None and not fnmatch.fnmatchcase(event["file"], glob):
            return False
        return pid is None or pid in (event["pid"], event["tid"])

    return wanted


def _events(
    target: str, wanted: Callable[[dict[str, Any]], bool], *, follow: bool, labels: bool
) -> Iterator[dict[str, Any]]:
    if is_mount(target):
        events = filter(wanted, mount_events(target, follow=follow))
        yield from map(MountLabels(target).fill, events) if labels else events
        return
    with reading(target) as trace:
        labelled = TraceLabels(trace.connection) if labels else None
        last = 0
        while True:
            ended = has_ended(trace.connection)
            for event in trace_events(trace.connection, last):
                last = event["serial"]
                if wanted(event):
                    yield labelled.fill(event) if labelled is not None else event
            if ended or not follow:
                return
            time.sleep(_LOOK_AGAIN)
