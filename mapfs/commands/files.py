"""`mapfs files MNT`: what is served, and from what."""

import contextlib
import os
import sys
from typing import Any

import click
import msgspec
from rich.console import Console

from mapfs.client import ask
from mapfs.trace.residency import residency

_PIPE_WIDTH = 300  # a name or a spec that is folded cannot be found by grep


@click.command(short_help="List what a mount serves, and from what.")
@click.argument("mount", metavar="MNT")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def command(mount: str, as_json: bool) -> None:
    """List each file that was given or added: its size, its pages in the page cache, whether it may be written, how it
    keeps up with its source, how often it is open, and its spec. Directories are listed, not walked.
    """
    from mapfs.views.files import render  # rich is for those who look

    rows = ask(mount, "files")["files"]
    for row in rows:
        _add_residency(row, mount)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
    else:
        render(rows, Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH))


def _add_residency(row: dict[str, Any], mount: str) -> None:
    """Asks the kernel, through a descriptor of our own."""
    row["resident"] = row["dirty"] = None
    if row["size"] is None:
        return
    with contextlib.suppress(OSError):
        fd = os.open(os.path.join(mount, row["name"]), os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = residency(fd)
        finally:
            os.close(fd)
        if found is not None:
            row["resident"], row["dirty"] = found.resident, found.dirty
