"""`mapfs diff A B`: two traces side by side."""

import sys

import click
import msgspec

from mapfs.trace.reader import reading


@click.command(short_help="Compare two traces: pages and waits.")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with the runs of pages.")
@click.option("-n", "--most", type=click.IntRange(1), default=20, show_default=True, help="Rows of a table.")
@click.option("--no-labels", is_flag=True, help="Read no file to tell what its pages hold.")
def command(a: str, b: str, as_json: bool, most: int, no_labels: bool) -> None:
    """Print which pages only A or only B demanded, which both did, and how long each waited; and the same of the
    labels, where the files have some. A and B are traces, or running mounts.
    """
    from rich.console import Console  # for those who look

    from mapfs.views import label_diff
    from mapfs.views.diff import compare, render

    with reading(a) as ours, reading(b) as theirs:
        diff = compare(ours.connection, theirs.connection)
        labels = [] if no_labels else label_diff.compare_labels(ours.connection, theirs.connection)
    if as_json:
        click.echo(msgspec.json.encode({**diff.as_json(), "labels": labels}))
        return
    console = Console(width=None if sys.stdout.isatty() else 200)
    render(diff, console, most=most)
    label_diff.render(labels, console, most=most)
