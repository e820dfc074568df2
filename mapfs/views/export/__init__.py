"""Traces in the formats of other programs: a module a format, each a function that writes events to a stream.

Each is called with an iterator of events (the keys of docs/TRACE.md) and a text stream, and keeps no more of the
events than its format needs.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

Events = Iterable[Mapping[str, Any]]
Writer = Callable[[Events, TextIO], None]


@dataclass(frozen=True, slots=True)
class Format:
    """`module` is as import_module takes it; its function is called `write`. `labels`: it has a place for them."""

    module: str
    about: str
    labels: bool = True


FORMATS: dict[str, Format] = {
    "ndjson": Format(".ndjson", "a JSON object a line, as mapfs log --json"),
    "csv": Format(".csv", "a table with a head line"),
    "perfetto": Format(".perfetto", "a timeline for ui.perfetto.dev: a track a thread, a slice a wait"),
    "prefetch": Format(".prefetch", "a list of file, offset and length, in the order of need", labels=False),
}


def writer(name: str) -> Writer:
    """What writes the format `name`."""
    write: Writer = importlib.import_module(FORMATS[name].module, __name__).write
    return write
