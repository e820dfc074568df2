"""`mapfs commit MNT/FILE`: writes what a cow overlay holds into what the file is made of."""

import click

from mapfs.client import ask, target
from mapfs.units import format_size


@click.command(short_help="Write a cow overlay into the file's source.")
@click.argument("path", metavar="MNT/FILE")
def command(path: str) -> None:
    """Write the changes that the option cow kept apart into the source, which has to be writable (rw)."""
    file = target(path)
    size = ask(file.mount, "commit", file=file.inode)["bytes"]
    click.echo(f"{format_size(size)} of {path} were written into its source")
