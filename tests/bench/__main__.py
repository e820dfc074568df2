"""`python -m tests.bench`: what scripts/bench runs."""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from mapfs.errors import MapfsError
from mapfs.units import PAGE_SIZE, parse_size
from tests.bench import document, machine, processes
from tests.bench.measure import Bench, Places, Settings
from tests.bench.plan import Content
from tests.bench.processes import BenchError
from tests.bench.report import report, views
from tests.bench.results import results_of
from tests.bench.views import measure_views

_ROOT = Path(__file__).parents[2]


def _size(_ctx: click.Context, _param: click.Parameter, text: str) -> int:
    try:
        size = parse_size(text)
    except MapfsError as error:
        raise click.BadParameter(str(error)) from error
    if size < PAGE_SIZE:
        raise click.BadParameter("less than a page")
    return size


def _writable(_ctx: click.Context, _param: click.Parameter, text: str | None) -> Path | None:
    """Found out now, not after minutes."""
    path = Path(text).absolute() if text else None
    if path and not os.access(path if path.exists() else path.parent, os.W_OK):
        raise click.BadParameter(f"{text} cannot be written")
    return path


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Measure each target N times.")
@click.option("--pages", type=click.IntRange(2), default=4000, show_default=True, help="Random demands of a run.")
@click.option("--sequential", default="64M", callback=_size, metavar="SIZE", show_default=True, help="Read in order.")
@click.option("--seed", type=click.IntRange(0, 1 << 32), default=1, show_default=True, help="Of the random orders.")
@click.option("--requests", type=click.IntRange(0), default=10_000_000, show_default=True, help="Of the long trace.")
@click.option("--only-views", is_flag=True, help="Measure the views of the long trace alone.")
@click.option("--json", "json_file", metavar="FILE", callback=_writable, help="Write every number to this file.")
@click.option("--write", is_flag=True, help="Write docs/BENCHMARKS.md.")
def main(
    rounds: int, pages: int, sequential: int, seed: int, requests: int, only_views: bool, json_file: Path | None,
    write: bool,
) -> None:  # fmt: skip
    """Measure page demands of mapfs, against plain pyfuse3, the disk and tmpfs, and what a trace adds."""
    processes.note_signals()
    began = time.monotonic()
    if only_views:
        results = {"views": _views(requests, rounds)}
        if json_file:
            json_file.write_text(json.dumps(results, indent=1) + "\n")
        if write:
            _replace(document.PATH, document.with_views(document.PATH.read_text(), results))
        click.echo(views(results))
        return
    settings = Settings(rounds, pages, sequential, seed)
    cpus = machine.placements()
    with (
        tempfile.TemporaryDirectory(prefix="mapfs-bench-") as scratch,
        tempfile.TemporaryDirectory(prefix=".mapfs-bench-", dir=_ROOT) as disk,
        tempfile.TemporaryDirectory(prefix="mapfs-bench-", dir="/dev/shm") as memory,
    ):
        files = {Content.DISK: Path(disk, "pages"), Content.TMPFS: Path(memory, "pages")}
        bench = Bench(settings, Places(Path(scratch), files), cpus, _say)
        measured = bench.run()
        here = machine.describe(Path(disk))
    results = results_of(measured, settings, here, list(cpus), _views(requests, rounds))
    if json_file:
        json_file.write_text(json.dumps(results, indent=1) + "\n")
    if write:
        _replace(document.PATH, document.document(results, _minutes(time.monotonic() - began)))
    click.echo(report(results), nl=False)


def _views(requests: int, rounds: int) -> list[dict[str, Any]]:
    if not requests:
        return []
    with tempfile.TemporaryDirectory(prefix="mapfs-bench-", dir="/dev/shm") as scratch:
        return measure_views(Path(scratch), requests, rounds, _say)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _minutes(seconds: float) -> str:
    return "a minute" if seconds < 90 else f"{round(seconds / 60)} minutes"


def _replace(path: Path, text: str) -> None:
    """Writes a file so that it is there whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_text(text)
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def _reasons(error: BaseException | None) -> str:
    """The first thing that went wrong, and what went wrong in cleaning up after it."""
    reasons = []
    while error is not None:
        if isinstance(error, BenchError):
            reasons.append(f"bench: {error}")
        error = error.__context__
    return "\n".join(reversed(reasons))


if __name__ == "__main__":
    try:
        main()
    except BenchError as error:
        sys.exit(_reasons(error))
