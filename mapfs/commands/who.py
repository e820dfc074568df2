"""`mapfs who MNT|MNT/FILE`: who maps or holds the files of a mount."""

import os
import sys

import click
import msgspec

from mapfs.client import mount_of, target
from mapfs.trace.facts import printable
from mapfs.trace.users import users_of


@click.command(short_help="Show who maps or holds a file, and how much of it is shared.")
@click.argument("path", metavar="MNT|MNT/FILE")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(path: str, as_json: bool) -> None:
    """Show each process that maps or holds FILE, or any file of the mount: the pages of the file that it maps, how much
    physical memory that takes, how much of it is shared with others, and whether it may store into it.

    \b
    resident  of its mapping, in memory (Rss)    shared  of that, mapped by others too
    pss       resident, each page divided by the number of those who map it
    """
    from rich.console import Console  # for those who look

    from mapfs.views.who import as_json as to_json
    from mapfs.views.who import render, rows_of

    mount = mount_of(path)
    inode = None if mount.path == os.path.realpath(path) else target(path).inode
    users = users_of(mount.device)
    wanted = os.path.relpath(os.path.realpath(path), mount.path)

    def name_of(number: int, mapped: str) -> str:
        if number == inode:
            return printable(wanted)
        below = mapped.removesuffix(" (deleted)").removeprefix(mount.path + "/")
        return below or f"inode {number}"

    rows = rows_of(users, name_of, inode)
    if as_json:
        click.echo(msgspec.json.encode(to_json(rows, users.closed)))
        return
    render(rows, users.closed, Console(width=None if sys.stdout.isatty() else 200))
