"""`error=EIO[@PAGES][:LIMIT]` and `write-error=ENOSPC[@PAGES][:LIMIT]`: demands, or writes and fsync(2), fail.

A demand that fails is SIGBUS for a mapping, whatever the errno, and that errno for read(2). The files of a directory
share a limit: `error=EIO:3` is three times in all.
"""

from collections.abc import Callable

from mapfs.sources.base import Source
from mapfs.sources.wrap.faults import rule
from mapfs.sources.wrap.inject import Injected, Rules


def make_error(value: str | None) -> Callable[[Source], Source]:
    """Raises SpecError for what is no name of an errno."""
    rules = Rules(rule("error", value))
    return lambda inner: Injected(inner, rules)


def make_write_error(value: str | None) -> Callable[[Source], Source]:
    """Raises SpecError for what is no name of an errno."""
    rules = Rules(rule("write-error", value))
    return lambda inner: Injected(inner, rules)
