"""`mapfs live MNT|TRACE`: files, processes and pages on the screen, as things happen."""

import os
import sys

import click

from mapfs.errors import MapfsError, UsageError
from mapfs.trace.reader import is_mount


@click.command(short_help="Watch files, processes and pages as things happen.")
@click.argument("target", metavar="MNT|TRACE")
@click.option("--speed", type=click.FloatRange(0.001, 1000), default=1.0, show_default=True, help="Of a trace.")
@click.option("--no-labels", is_flag=True, help="Read no file to tell what an offset of it is called.")
def command(target: str, speed: float, no_labels: bool) -> None:
    """Watch the page demands of a mount as they happen, or those of a trace again: which files, which processes, and
    each page of a file. `?` shows the keys.

    A mount is asked for its events, once for the size of each file, and without --no-labels for what it is made of.
    """
    is_mount(target)  # what is wrong with it is better said before the screen is another
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(f"live needs a terminal; mapfs log -f {target} writes to anything")
    try:
        from mapfs.views.live.app import LiveApp
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "textual":
            raise
        raise MapfsError("live needs the package textual; install it with pip install 'mapfs[live]'") from error
    from mapfs.views.live.screen import is_plain

    plain = is_plain(os.environ)
    if plain:
        os.environ["NO_COLOR"] = "1"
    app = LiveApp(target, speed=speed, plain=plain, labels=not no_labels)
    app.run()
    if app.failure is not None:
        raise app.failure
    if app.player.feed.failed:
        raise MapfsError(f"{target}: {app.player.feed.ended}")
    ended = app.player.over and not app.player.feed.recorded
    click.echo("the mount has ended" if ended else f"next: mapfs summary {target}")
