"""`mapfs diff A B`: two traces side by side."""

import sys

import click
import msgspec

from mapfs.trace.reader import open_trace


@click.command(short_help="Compare two traces: pages and waits.")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with the runs of pages.")
@click.option("-n", "--most", type=click.IntRange(1), default=20, show_default=True, help="Rows of the table.")
def command(a: str, b: str, as_json: bool, most: int) -> None:
    """Print which pages only A or only B demanded, which both did, and how long each waited. A and B are traces, or
    running mounts.
    """
    from rich.console import Console  # for those who look

    from mapfs.views.diff import compare, render

    diff = compare(open_trace(a).connection, open_trace(b).connection)
    if as_json:
        click.echo(msgspec.json.encode(diff.as_json()))
        return
    render(diff, Console(width=None if sys.stdout.isatty() else 200), most=most)
