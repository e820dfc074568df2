"""Traces in the formats of other programs: a module a format, each with a function that writes events to a stream.

Each is called with an iterator of events (the keys of docs/TRACE.md), a stream and the tier of the evidence, and keeps
no more of the events than its format needs.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Events = Iterable[Mapping[str, Any]]
Writer = Callable[[Events, Any, str], None]


@dataclass(frozen=True, slots=True)
class Format:
    """`module` is as import_module takes it; its function is called `write`. `labels`: it has a place for them.
    `binary`: it writes bytes to a file.
    """

    module: str
    about: str
    labels: bool = True
    binary: bool = False


FORMATS: dict[str, Format] = {
    "ndjson": Format(".ndjson", "a JSON object a line, as mapfs log --json"),
    "csv": Format(".csv", "a table with a head line"),
    "parquet": Format(".parquet", "a table with types, for DuckDB, Polars and the like", binary=True),
    "perfetto": Format(".perfetto", "a timeline for ui.perfetto.dev: a track a thread, a slice a wait"),
    "prefetch": Format(".prefetch", "a list of file, offset and length, in the order of need", labels=False),
}


def writer(name: str) -> Writer:
    """What writes the format `name`. Raises MapfsError where a package that it needs is missing."""
    write: Writer = importlib.import_module(FORMATS[name].module, __name__).write
    return write
