"""`mapfs drop MNT/FILE [PAGES]`: takes pages out of the page cache."""

import click

from mapfs.client import ask, target


@click.command(short_help="Take pages of a file out of the page cache.")
@click.argument("path", metavar="MNT/FILE")
@click.argument("pages", metavar="[PAGES]", required=False)
def command(path: str, pages: str | None) -> None:
    """Drop PAGES, as in 3, 5-9 or 7-, joined by + or a comma; all of them without. Dirty ones are written back first.

    A page that is touched afterwards is demanded again.
    """
    file = target(path)
    count = ask(file.mount, "drop", file=file.inode, pages=pages)["pages"]
    click.echo(f"{count:,} page{'s' if count != 1 else ''} of {path} left the page cache, where they were in it")
