"""Wrappers: sources around sources, one class a file, stacked as the options of a spec from left to right.

A wrapper is a line in `WRAPPERS` and a module with a function that takes the inner source and the text of the
option's value, and returns the wrapped source.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mapfs.errors import SpecError
from mapfs.sources.base import DirectorySource, Source
from mapfs.sources.wrap.directory import wrapped_directory

#: Takes the text behind `=`, None where there is none, and returns what wraps a source. Raises SpecError.
Maker = Callable[[str | None], Callable[[Source], Source]]


@dataclass(frozen=True, slots=True)
class WrapperKind:
    """How a wrapper is made. `each`: it can be put around every file of a directory."""

    module: str
    function: str
    about: str
    each: bool = False


WRAPPERS: dict[str, WrapperKind] = {
    "delay": WrapperKind(".delay", "make_delay", "demands wait", each=True),
    "error": WrapperKind(".error", "make_error", "demands fail", each=True),
    "write-error": WrapperKind(".error", "make_write_error", "writes fail", each=True),
    "corrupt": WrapperKind(".corrupt", "make_corrupt", "bytes are wrong", each=True),
    "rate": WrapperKind(".rate", "make_rate", "bytes a second are limited", each=True),
    "retry": WrapperKind(".retry", "make_retry", "reads that fail are tried again", each=True),
    "cache": WrapperKind(".cache", "make_cache", "what was read is kept"),
    "cow": WrapperKind(".cow", "make_cow", "writes stay in a private overlay"),
    "slice": WrapperKind(".slice", "make_slice", "a part of it"),
    "truncate": WrapperKind(".truncate", "make_truncate", "its beginning, or it and zeroes"),
}


def maker(name: str, value: str | None) -> Callable[[Source], Source]:
    """What puts the wrapper `name`, set up by `value`, around a source. Raises SpecError."""
    kind = WRAPPERS[name]
    make: Maker = getattr(importlib.import_module(kind.module, __name__), kind.function)
    return make(value)


def around(source: Source | DirectorySource, options: Sequence[tuple[str, str | None]]) -> Source | DirectorySource:
    """`source` with wrappers around it, the first one innermost. Raises SpecError; `source` is closed then."""
    try:
        if isinstance(source, DirectorySource):
            for name, _ in options:
                if not WRAPPERS[name].each:
                    raise SpecError(f"{name}= goes around a file, not around a directory; serve the file alone")
            return wrapped_directory(source, [maker(name, value) for name, value in options])
        for name, value in options:
            source = maker(name, value)(source)
    except BaseException:
        source.close()
        raise
    return source
