"""`mapfs bench [FILE]`: what a mapping, read(2), read-ahead and mapfs cost for a file, on this machine."""

import sys

import click
import msgspec
from rich.console import Console

from mapfs.errors import UsageError
from mapfs.signals import end_in_order
from mapfs.units import PAGE_SIZE, parse_seconds, parse_size
from mapfs.views.terminal import wants_colour

_SHORTEST, _LONGEST = 0.5, 600.0  # seconds


@click.command(short_help="Measure a file: mmap, read and read-ahead, directly and through mapfs.")
@click.argument("file", metavar="[FILE]", required=False)
@click.option("--size", metavar="SIZE", default="64M", show_default=True, help="How much of it, from the beginning.")
@click.option("--duration", metavar="TIME", default="12s", show_default=True, help="How long to measure.")
@click.option("--seed", type=click.IntRange(0, 1 << 32), default=1, show_default=True, help="Of the random orders.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with every number of every round.")
def command(file: str | None, size: str, duration: str, seed: int, as_json: bool) -> None:
    """Measure how long a page of FILE takes: in random order and in sequence, fetched and in memory, by a mapping, by
    read(2) and with read-ahead, from the file itself and through mapfs. Without FILE it measures a temporary file, and
    writes it, too.

    FILE is only read; its pages leave the page cache meanwhile. Nothing is left behind, by Ctrl-C neither.
    """
    from mapfs.measuring import chart
    from mapfs.measuring.bench import measure, subject
    from mapfs.measuring.progress import progress
    from mapfs.measuring.results import results_of

    seconds, length = parse_seconds(duration), parse_size(size)
    if not _SHORTEST <= seconds <= _LONGEST:
        raise UsageError(f"--duration is {_SHORTEST:g} s to {_LONGEST:g} s, not {duration}")
    if length < PAGE_SIZE:
        raise UsageError(f"--size {size} is less than a page")
    end_in_order()
    with progress() as tell, subject(file, length) as what:
        results = results_of(measure(what, seconds, seed, tell))
    if as_json:
        click.echo(msgspec.json.encode(results.as_json()))
        return
    colour = wants_colour(sys.stdout)
    chart.render(results, Console(force_terminal=colour, no_color=not colour, highlight=False))
    click.echo("next: mapfs mount /tmp/x" + (f" file=file:{file}" if file else ""))
