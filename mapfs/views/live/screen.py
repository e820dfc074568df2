"""What the terminal can do, and the view on it."""

import curses
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mapfs.errors import MapfsError

if TYPE_CHECKING:
    from mapfs.views.live.app import LiveApp

_FEW_COLOURS = 8


def is_plain(environment: Mapping[str, str]) -> bool:
    """Whether letters have to stand for colours: the user wants none (no-color.org), or the terminal has too few."""
    if environment.get("NO_COLOR"):
        return True
    if environment.get("TERM", "dumb") in ("dumb", "unknown"):
        return True
    try:
        curses.setupterm(environment["TERM"], sys.stdout.fileno())
        return curses.tigetnum("colors") < _FEW_COLOURS
    except (curses.error, OSError, ValueError):  # terminfo does not know it
        return False


def app_class() -> "type[LiveApp]":
    """The view. Raises MapfsError where the package that draws it is not installed."""
    try:
        from mapfs.views.live.app import LiveApp
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "textual":
            raise
        raise MapfsError("live needs the package textual; install it with pip install 'mapfs[live]'") from error
    return LiveApp


def watch(target: str, **options: Any) -> "LiveApp":
    """Shows `target` on the terminal until somebody closes the view, which it gives. `options` are those of LiveApp.
    Raises MapfsError where it cannot be shown, or no longer.
    """
    made = app_class()
    plain = is_plain(os.environ)
    if plain:
        os.environ["NO_COLOR"] = "1"
    app = made(target, plain=plain, **options)
    app.run()
    if app.failure is not None:
        raise app.failure
    if app.player.feed.failed:
        raise MapfsError(f"{target}: {app.player.feed.ended}")
    return app
