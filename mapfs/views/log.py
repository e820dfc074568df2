"""The log: a sink that prints events as lines on standard error, as they come."""

import sys
from collections.abc import Sequence

from mapfs.trace.events import Event, Lost, as_json
from mapfs.trace.facts import MountFact
from mapfs.trace.labels.book import EventLabels
from mapfs.trace.sinks import Sink
from mapfs.views.lines import Lines
from mapfs.views.terminal import wants_colour

CAPACITY = 200_000  # events that wait for a slow terminal before lines are skipped


def standard_error(mount: MountFact, *, labels: bool = True) -> tuple[str, int, Sink]:
    """Made in the recorder's process: the name, the capacity and the sink. `labels`: offsets have their names."""
    lines = Lines(colour=wants_colour(sys.stderr))
    named = EventLabels(mount.wall_offset) if labels else None

    def line(event: Event | Lost) -> str:
        told = as_json(event, mount.wall_offset)
        if named is not None and not isinstance(event, Lost):
            told["label"] = named.label(event)
        return lines.line(told) + "\n"

    def sink(events: Sequence[Event | Lost]) -> None:
        sys.stderr.write("".join([line(event) for event in events]))
        sys.stderr.flush()

    return "log", CAPACITY, sink
