"""`mapfs summary TRACE|MNT`: what the demands add up to."""

import sys
from collections.abc import Callable
from typing import Any, Protocol

import click
import msgspec
from rich.console import Console

from mapfs.trace.reader import Reading, reading
from mapfs.views.summary import render, summarise

_PIPE_WIDTH = 200  # a name that is folded cannot be found by grep


class _Found(Protocol):
    """What was asked of a trace."""

    def as_json(self) -> dict[str, Any]:
        """The same as plain objects."""


@click.command(short_help="Add up the demands: by file, by process, over time.")
@click.argument("target", metavar="TRACE|MNT")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--by", type=click.Choice(["label"]), help="By what the pages hold, in the words of the files' formats.")
@click.option("-n", "--most", type=click.IntRange(1), default=20, show_default=True, help="Rows a table.")
def command(target: str, as_json: bool, by: str | None, most: int) -> None:
    """Print, for each file and each process, the pages demanded, re-faults, bytes and waits; who got pages from whom;
    the longest waits; the working set over time. What the evidence cannot tell is ?.

    \b
    pages      demanded for the first time      of      pages that the file has
    re-faults  pages demanded again: they had left the page cache
    wasted     bytes of the last page, where it was demanded, that hold nothing
    ahead      pages of its own read-ahead, or pushed     shared  pages that another process brought in
    joined     pages that were on their way for another thread
    """
    with reading(target) as trace:
        if by == "label":
            from mapfs.views import by_label

            _tell(by_label.by_label(trace.connection), by_label.render, trace, target, as_json=as_json, most=most)
        else:
            _tell(summarise(trace.connection), render, trace, target, as_json=as_json, most=most)


def _tell(found: _Found, render: Callable[..., None], trace: Reading, target: str, *, as_json: bool, most: int) -> None:
    if as_json:
        click.echo(msgspec.json.encode({**found.as_json(), "note": trace.note}))
        return
    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    if trace.note:
        console.print(trace.note, style="yellow", highlight=False)
    render(found, console, most=most)
    click.echo(f"next: mapfs log {target}")
