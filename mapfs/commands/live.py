"""`mapfs live MNT|TRACE`: files, processes and pages on the screen, as things happen."""

import sys

import click

from mapfs.errors import UsageError
from mapfs.trace.reader import is_mount
from mapfs.views.live.screen import watch


@click.command(short_help="Watch files, processes and pages as things happen.")
@click.argument("target", metavar="MNT|TRACE")
@click.option("--speed", type=click.FloatRange(0.001, 1000), default=1.0, show_default=True, help="Of a trace.")
@click.option("-f", "--follow", is_flag=True, help="Keep up with a trace that is still written.")
@click.option("--no-labels", is_flag=True, help="Read no file to tell what an offset of it is called.")
def command(target: str, speed: float, follow: bool, no_labels: bool) -> None:
    """Watch the page demands of a mount as they happen, or those of a trace again: which files, which processes, and
    each page of a file. `?` shows the keys. With --follow a trace is watched like a mount, while it is written.

    A mount is asked for its events, once for the size of each file, and without --no-labels for what it is made of.
    """
    is_mount(target)  # what is wrong with it is better said before the screen is another
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(f"live needs a terminal; mapfs log -f {target} writes to anything")
    app = watch(target, speed=speed, follow=follow, labels=not no_labels)
    if app.return_code:
        sys.exit(app.return_code)  # by a signal
    ended = app.player.over and not app.player.feed.is_trace
    click.echo("the mount has ended" if ended else f"next: mapfs summary {target}")
