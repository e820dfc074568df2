"""What the terminal can do."""

import curses
import sys
from collections.abc import Mapping

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
