"""`mapfs export TRACE|MNT --to FORMAT`: a trace in the format of another program."""

import contextlib
import os
import sqlite3
import sys
from typing import IO, Any

import click

from mapfs.errors import TraceError, UsageError
from mapfs.trace.labels.book import TraceLabels
from mapfs.trace.reader import reading, trace_events
from mapfs.views.export import FORMATS, Events, writer


@click.command(short_help="Write a trace in the format of another program.")
@click.argument("target", metavar="TRACE|MNT")
@click.option("--to", "name", type=click.Choice(list(FORMATS)), required=True, help="Which format.")
@click.option("-o", "--output", metavar="FILE", help="Where to.  [default: standard output]")
@click.option("-f", "--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--no-labels", is_flag=True, help="Read no file to tell what an offset of it is called.")
def command(target: str, name: str, output: str | None, force: bool, no_labels: bool) -> None:
    """Write the events of a trace, or of a running mount, oldest first.

    \b
    ndjson    a JSON object a line, as mapfs log --json
    csv       a table with a head line
    parquet   a table with types, for DuckDB and the like; needs -o
    perfetto  a timeline for ui.perfetto.dev: a track a thread, a slice a wait, an arrow to who shared it
    prefetch  offset, length and file of what was needed, in that order
    """
    if FORMATS[name].binary and output is None:
        raise UsageError(f"{name} is not text; say with -o FILE where to write it")
    with reading(target) as trace:
        _export(trace.connection, name, output, force=force, labels=FORMATS[name].labels and not no_labels)


def _export(trace: sqlite3.Connection, name: str, output: str | None, *, force: bool, labels: bool) -> None:
    write, binary = writer(name), FORMATS[name].binary
    (evidence,) = trace.execute("SELECT evidence FROM mount").fetchone()
    recorded = trace_events(trace)
    events: Events = map(TraceLabels(trace).fill, recorded) if labels else recorded
    if output is None:
        write(events, sys.stdout, evidence)
        sys.stdout.flush()
        return
    mode = "w" if force else "x"
    try:
        file: IO[Any] = open(output, f"{mode}b") if binary else open(output, mode, encoding="utf-8", newline="")  # noqa: SIM115 -- closed below
    except FileExistsError:
        raise TraceError(f"{output} exists; choose another name, or replace it with --force") from None
    except OSError as error:
        raise TraceError(f"cannot write {output}: {error.strerror}") from error
    try:
        with file:
            write(events, file, evidence)
    except BaseException as error:
        if os.path.isfile(output):  # half of it would be taken for the whole
            with contextlib.suppress(OSError):
                os.unlink(output)
        if isinstance(error, OSError):
            raise TraceError(f"cannot write {output}: {error.strerror}") from error
        raise
    hint = "; next: open it at ui.perfetto.dev, or in a Perfetto of your own" if name == "perfetto" else ""
    click.echo(f"{output} is written{hint}")
