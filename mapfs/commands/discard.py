"""`mapfs discard MNT/FILE`: forgets what a cow overlay holds."""

import click

from mapfs.client import ask, target
from mapfs.units import format_size


@click.command(short_help="Forget what a cow overlay holds.")
@click.argument("path", metavar="MNT/FILE")
def command(path: str) -> None:
    """Forget the changes that the option cow kept apart: the file is what its source is."""
    file = target(path)
    size = ask(file.mount, "discard", file=file.inode)["bytes"]
    click.echo(f"{format_size(size)} of changes to {path} were forgotten")
