"""The log: a sink that prints events as lines on standard error, as they come."""

import sys
from collections.abc import Sequence

from mapfs.trace.events import Event, Lost, as_json
from mapfs.trace.facts import MountFact
from mapfs.trace.sinks import Sink
from mapfs.views.lines import Lines
from mapfs.views.terminal import wants_colour

CAPACITY = 200_000  # events that wait for a slow terminal before lines are skipped


def standard_error(mount: MountFact) -> tuple[str, int, Sink]:
    """Made in the recorder's process: the name, the capacity and the sink."""
    lines = Lines(colour=wants_colour(sys.stderr))

    def sink(events: Sequence[Event | Lost]) -> None:
        sys.stderr.write("".join([lines.line(as_json(event, mount.wall_offset)) + "\n" for event in events]))
        sys.stderr.flush()

    return "log", CAPACITY, sink
