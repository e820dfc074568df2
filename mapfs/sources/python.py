"""`python:MODULE:CALLABLE[,NAME=VALUE...]`: what CALLABLE of MODULE returns for these arguments.

MODULE is imported as by `python -m`: the current directory comes first. It runs with all the rights of mapfs,
so such a spec is never taken from a running mount's control file (`Kind.code`).
"""

import contextlib
import difflib
import errno
import importlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from mapfs.errors import SourceError, SpecError, reason_of
from mapfs.sources.base import DirectorySource, Source
from mapfs.sources.foreign import outcome
from mapfs.sources.spec import Spec

_ARG = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*(?:\.[^\W\d]\w*)*)")
_lock = threading.RLock()  # sys.path is one for all threads; a callable may open another such spec


def open_python(spec: Spec) -> Source | DirectorySource:
    """Raises SpecError for an ARG that is no MODULE:CALLABLE, SourceError for whatever goes wrong in there."""
    match = _ARG.fullmatch(spec.arg)
    if match is None:
        raise SpecError(f"{spec.arg!r} is not MODULE:CALLABLE; write python:package.module:function")
    arguments = _arguments(spec)
    with _here_first():
        called = _callable(*match.groups())
        return outcome(f"python:{spec.arg}", lambda: called(**arguments))


def _arguments(spec: Spec) -> dict[str, str | bool]:
    """The options, a `-` in a name as `_`; one without a value is True."""
    arguments: dict[str, str | bool] = {}
    for option, value in spec.options.items():
        name = option.replace("-", "_")
        if name in arguments:
            raise SpecError(f"python: the argument {name!r} is given twice, with '-' and with '_'")
        arguments[name] = True if value is None else value
    return arguments


def _callable(module: str, name: str) -> Callable[..., Any]:
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module}.".startswith(f"{missing}."):
            raise SourceError(
                f"python: there is no module {missing!r}; install it, or start mapfs where it lies", errno.ENOENT
            ) from error
        raise SourceError(f"python: importing {module} failed: {reason_of(error)}") from error
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except Exception as error:  # a module's __getattr__ may raise anything
            close = difflib.get_close_matches(part, dir(found), n=1)
            hint = f"did you mean {close[0]}?" if close else "check the name"
            raise SourceError(f"python: there is no {name} in {module}; {hint}", errno.ENOENT) from error
    if not callable(found):
        raise SourceError(
            f"python: {module}:{name} cannot be called, being of the type {type(found).__name__}; name a function"
        )
    made: Callable[..., Any] = found
    return made


@contextlib.contextmanager
def _here_first() -> Iterator[None]:
    """Imports look in the current directory first, also those that the callable makes."""
    here = os.getcwd()
    with _lock:
        sys.path.insert(0, here)
        importlib.invalidate_caches()  # what was written a moment ago is found too
        try:
            yield
        finally:
            with contextlib.suppress(ValueError):
                sys.path.remove(here)
