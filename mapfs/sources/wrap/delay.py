"""`delay=20ms[@PAGES][:LIMIT]`, `delay=10ms-30ms…`: demands wait, without a thread (see `inject.Injected`)."""

from collections.abc import Callable

from mapfs.sources.base import Source
from mapfs.sources.wrap.faults import rule
from mapfs.sources.wrap.inject import Injected, Rules


def make_delay(value: str | None) -> Callable[[Source], Source]:
    """Raises SpecError for what is no time, or one of more than an hour."""
    rules = Rules(rule("delay", value))
    return lambda inner: Injected(inner, rules)
