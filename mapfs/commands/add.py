"""`mapfs add MNT NAME=SPEC...`: serves more files in a running mount."""

import os

import click

from mapfs.client import ask
from mapfs.errors import SpecError
from mapfs.sources import spec as grammar


@click.command(short_help="Serve more files in a running mount.")
@click.argument("mount", metavar="MNT")
@click.argument("files", metavar="NAME=SPEC...", nargs=-1, required=True)
def command(mount: str, files: tuple[str, ...]) -> None:
    """Open each SPEC and serve it as NAME. Whoever looks finds it at once.

    What names code to run (python:, kinds of other packages), and descriptors that mapfs inherited (fd:N), can be
    given only when the mount is made.
    """
    for text in files:
        name, equals, spec = text.partition("=")
        if not equals:
            raise SpecError(f"{text!r} is not NAME=SPEC; write it as in data=file:/etc/hosts")
        ask(mount, "add", name=name, spec=str(grammar.absolute(grammar.parse(spec))))  # the daemon stands elsewhere
        click.echo(f"{os.path.join(mount, name)} is served; next: mapfs files {mount}")
