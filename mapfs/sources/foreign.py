"""Code of others that makes sources: kinds of other packages, by entry points, and what such code returns.

A package offers a kind by an entry point of the group `mapfs.sources`: its name is the kind, and it leads to a
callable that takes a `Spec` and returns what `outcome` accepts. Nothing is imported before the kind is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mapfs.errors import MapfsError, SourceError, errno_of, reason_of
from mapfs.sources.base import DirectorySource, Source
from mapfs.sources.text import BytesSource

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "mapfs.sources"


def offered() -> list[EntryPoint]:
    """What the packages on sys.path offer. Raises anything where one of them is broken."""
    from importlib.metadata import entry_points  # takes longer to import than all of mapfs.sources

    return list(entry_points(group=GROUP))


def package_of(point: EntryPoint) -> str:
    """Who offers it, for people."""
    try:
        return f"the package {point.dist.name}" if point.dist and point.dist.name else "a package without a name"
    except Exception:  # its metadata are broken
        return "a package without a name"


def opener_of(name: str) -> Callable[[Any], Source | DirectorySource]:
    """What opens the kind `name`, which is offered. Raises SourceError where that is not one thing to be called."""
    points = [point for point in offered() if point.name == name]
    packages = sorted({package_of(point) for point in points})
    if len({point.value for point in points}) > 1:
        raise SourceError(f"the kind {name!r} is offered by {' and by '.join(packages)}; uninstall all but one")
    what = f"the kind {name!r} of {packages[0]}"
    try:
        opener = points[0].load()
    except (Exception, SystemExit) as error:
        raise SourceError(f"{what} cannot be loaded: {reason_of(error)}; reinstall or mend it") from error
    if not callable(opener):
        raise SourceError(f"{what} cannot be called, being of the type {type(opener).__name__}; reinstall or mend it")
    return lambda spec: outcome(what, lambda: opener(spec))


def outcome(what: str, call: Callable[[], object]) -> Source | DirectorySource:
    """The source that `call` returns; bytes and text are the content of one. `what` names it in errors.

    Raises SourceError where `call` raises, or returns something else.
    """
    try:
        made = call()
    except MapfsError:
        raise
    except (Exception, SystemExit) as error:
        raise SourceError(f"{what} failed: {reason_of(error)}", errno_of(error)) from error
    if isinstance(made, Source | DirectorySource):
        return made
    if isinstance(made, str):
        return BytesSource(made.encode(errors="surrogateescape"))
    if isinstance(made, bytes | bytearray | memoryview):
        return BytesSource(bytes(made))
    raise SourceError(
        f"{what} returned a {type(made).__name__}; it has to return a mapfs.Source, a mapfs.DirectorySource, "
        "bytes or str"
    )
