"""`mapfs pages MNT/FILE`: which pages of a file are in the page cache, how often they were demanded, and by whom."""

import os
import sys

import click
import msgspec

from mapfs.client import target
from mapfs.errors import MountError
from mapfs.trace.reader import mount_events
from mapfs.trace.residency import residency, resident_pages


@click.command(short_help="Draw which pages of a file are resident, and who brought them.")
@click.argument("path", metavar="MNT/FILE")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(path: str, as_json: bool) -> None:
    """Draw the pages of FILE: what is in the page cache, coloured by the process that brought it in, and a digit for
    how often a page was demanded. Looking demands no page.

    Demands, and who brought a page, are known of the newest 65,000 events of the mount.
    """
    from rich.console import Console  # for those who look

    from mapfs.views.pages import Pages, of_events, render

    file = target(path)
    demands, brought, lost = of_events(mount_events(file.mount, follow=False), file.name)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise MountError(f"cannot open {path}: {error.strerror}") from error
    try:
        size = os.fstat(fd).st_size
        pages = Pages(file.name, size, resident_pages(fd), residency(fd), demands, brought, lost)
    except OSError as error:
        raise MountError(f"cannot map {path}: {error.strerror}") from error
    finally:
        os.close(fd)
    if as_json:
        click.echo(msgspec.json.encode(pages.as_json()))
        return
    render(pages, Console(width=None if sys.stdout.isatty() else 100))
    click.echo(f"next: mapfs log {file.mount} --file {file.name!r}")
