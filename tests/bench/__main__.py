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
from tests.bench.alone import measure_alone
from tests.bench.growth import Growth
from tests.bench.measure import Bench, Places, Settings, compile_client
from tests.bench.plan import TARGETS, Content
from tests.bench.processes import BenchError
from tests.bench.results import results_of
from tests.bench.views import measure_views
from tests.bench.warming import Warming

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


PARTS = ("targets", "warming", "growth", "views")


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Measure each target N times.")
@click.option("--pages", type=click.IntRange(2), default=4000, show_default=True, help="Random demands of a run.")
@click.option("--sequential", default="64M", callback=_size, metavar="SIZE", show_default=True, help="Read in order.")
@click.option("--seed", type=click.IntRange(0, 1 << 32), default=1, show_default=True, help="Of the random orders.")
@click.option("--requests", type=click.IntRange(1), default=10_000_000, show_default=True, help="Of the long trace.")
@click.option("--events", type=click.IntRange(1), default=10_000_000, show_default=True, help="Of the growth, at most.")
@click.option("--files", type=click.IntRange(1), default=100_000, show_default=True, help="Of the growth, at most.")
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="These parts alone; --write keeps the others.")
@click.option("--target", type=click.Choice([target.name for target in TARGETS]), multiple=True, help="These alone.")
@click.option("--json", "json_file", metavar="FILE", callback=_writable, help="Write every number to this file.")
@click.option("--write", is_flag=True, help="Write docs/BENCHMARKS.md.")
def main(
    rounds: int, pages: int, sequential: int, seed: int, requests: int, events: int, files: int, only: tuple[str, ...],
    target: tuple[str, ...], json_file: Path | None, write: bool,
) -> None:  # fmt: skip
    """Measure page demands of mapfs, against its peers, the disk and tmpfs, what a trace adds, and how costs grow."""
    parts = only or (("targets",) if target else PARTS)
    if target and (write or "targets" not in parts):
        raise click.UsageError(
            "--target is for a look at some numbers; it goes neither with --write nor without targets"
        )
    processes.note_signals()
    began = time.monotonic()
    settings = Settings(rounds, pages, sequential, seed, frozenset(target))
    results: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory(prefix="mapfs-bench-") as scratch,
        tempfile.TemporaryDirectory(prefix=".mapfs-bench-", dir=_ROOT) as disk,
        tempfile.TemporaryDirectory(prefix="mapfs-bench-", dir="/dev/shm") as memory,
    ):
        compile_client(Path(scratch))
        places = Places(Path(scratch), {Content.DISK: Path(disk, "pages"), Content.TMPFS: Path(memory, "pages")})
        if "targets" in parts:
            results |= _targets(places, settings)
            results["machine"] = machine.describe(Path(disk))
        if "warming" in parts:
            results["warming"] = Warming(places.scratch, _say).run(max(1, pages // 2), rounds)
        if "growth" in parts:
            results["growth"] = Growth(places.scratch, Path(disk), _say).run(events, files)
        if "views" in parts:
            results["views"] = measure_views(Path(memory), requests, rounds, _say)
    if json_file:
        json_file.write_text(json.dumps(results, indent=1) + "\n")
    if write:
        text = document.document(results, document.PATH.read_text(), _minutes(time.monotonic() - began))
        _replace(document.PATH, text)
    click.echo(document.sections(results))


def _targets(places: Places, settings: Settings) -> dict[str, Any]:
    cpus = machine.placements()
    measured = Bench(settings, places, cpus, _say).run()
    file = places.files[Content.TMPFS]
    alone = [] if settings.only else measure_alone(places.scratch, file, settings.pages, settings.rounds, cpus, _say)
    return results_of(measured, settings, list(cpus), alone)


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
