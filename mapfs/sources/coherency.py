"""How a file keeps up with what it is made of: `coherency=` and `interval=`, options of every kind.

fixed        never changes: looked at once, caches are kept for good
open         looked at when the file is opened, looked up or asked for its attributes
live         watched: changed pages alone are pushed or dropped, within `interval`
passthrough  the client maps the backing's own pages, where the kernel and the rights of mapfs allow it
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from mapfs.errors import SpecError
from mapfs.sources.ahead import prefetch_of
from mapfs.units import parse_seconds

OPTIONS = frozenset({"coherency", "interval"})
_SHORTEST = 0.01  # seconds


class Coherency(enum.Enum):
    """The four ways; docs/SEMANTICS.md says what each guarantees."""

    FIXED = "fixed"
    OPEN = "open"
    LIVE = "live"
    PASSTHROUGH = "passthrough"


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for one file. `interval` in seconds."""

    coherency: Coherency
    interval: float = 1.0
    #: Bytes that are pushed ahead of demands that run forward, at most; None: as the mount has it.
    prefetch: int | None = None


def terms_of(options: Mapping[str, str | None], default: Coherency) -> Terms:
    """The terms that the options of a spec name. Raises SpecError."""
    prefetch = prefetch_of(options)
    text = options.get("coherency", default.value)
    try:
        coherency = Coherency(text)
    except ValueError:
        names = ", ".join(one.value for one in Coherency)
        raise SpecError(f"coherency={text or ''} is none of {names}") from None
    if "interval" not in options:
        return Terms(coherency, prefetch=prefetch)
    if coherency is not Coherency.LIVE:
        raise SpecError("interval= goes with coherency=live: the other ways look at no interval")
    seconds = parse_seconds(options["interval"] or "")
    if seconds < _SHORTEST:
        raise SpecError(f"interval={options['interval']} is too short; the shortest is 10ms")
    return Terms(coherency, seconds, prefetch)
