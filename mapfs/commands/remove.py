"""`mapfs remove MNT NAME...`: serves files no longer."""

import os

import click

from mapfs.client import ask


@click.command(short_help="Serve files of a running mount no longer.")
@click.argument("mount", metavar="MNT")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def command(mount: str, names: tuple[str, ...]) -> None:
    """Take names that were given or added out of the mount. What has them open or mapped goes on; later opens fail."""
    for name in names:
        ask(mount, "remove", name=name.rstrip("/"))
        click.echo(f"{os.path.join(mount, name)} is served no longer")
