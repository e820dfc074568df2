"""Whether to colour: only for a terminal, never against NO_COLOR (no-color.org) or TERM=dumb."""

import os
from typing import TextIO


def wants_colour(stream: TextIO) -> bool:
    """For `stream`, with the user's environment."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"
