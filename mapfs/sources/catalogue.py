"""Spec -> source. A kind is a line in `KINDS` and a module of its own, imported when it is first asked for; a
wrapper is a line in `wrap.WRAPPERS`. Other packages add kinds by entry points (`foreign`); they cannot take the
place of those in `KINDS`.
"""

import difflib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mapfs.errors import SpecError, reason_of
from mapfs.sources import foreign, wrap
from mapfs.sources import spec as grammar
from mapfs.sources.ahead import OPTIONS as AHEAD_OPTIONS
from mapfs.sources.base import DirectorySource, Source
from mapfs.sources.coherency import OPTIONS as COHERENCY_OPTIONS
from mapfs.sources.coherency import Coherency, Terms, terms_of
from mapfs.sources.spec import Spec
from mapfs.sources.warm import OPTIONS as WARM_OPTIONS
from mapfs.sources.warm import trace_of

Opener = Callable[[Spec], Source | DirectorySource]
DEEPEST = 8  # specs within specs


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind is opened. `module` is as import_module takes it; `options` None: it takes any."""

    module: str
    function: str
    about: str
    options: frozenset[str] | None = frozenset()
    #: What `coherency=` is where a spec does not say.
    coherency: Coherency = Coherency.OPEN
    #: Whether a spec of this kind names code to run (see `runs_code`).
    code: bool = False
    #: The function of the module that gives the specs within a spec of this kind, where there are any.
    parts: str | None = None


_FIXED, _LIVE = Coherency.FIXED, Coherency.LIVE
KINDS: dict[str, Kind] = {
    "file": Kind(".file", "open_file", "a regular file", frozenset({"rw"})),
    "dir": Kind(".directory", "open_dir", "a directory, mirrored", frozenset({"rw"})),
    "device": Kind(
        ".device", "open_device", "a block device, or a character device with size=", frozenset({"size", "rw"})
    ),
    "shm": Kind(
        ".shm", "open_shm", "a POSIX shared-memory object", frozenset({"size", "create", "rw", "remove"}), _LIVE
    ),
    "sysv": Kind(".sysv", "open_sysv", "a System V segment", frozenset({"size", "create", "rw", "remove"}), _LIVE),
    "memfd": Kind(".memfd", "open_memfd", "new anonymous memory, writable", frozenset(), _FIXED),
    "fd": Kind(".inherited", "open_fd", "a descriptor that mapfs inherited, or another process's", frozenset({"rw"})),
    "process": Kind(".process", "open_process", "the memory of another process", frozenset(), _LIVE),
    "http": Kind(".remote", "open_url", "an object of an HTTP server", None),
    "https": Kind(".remote", "open_url", "the same, encrypted", None),
    "s3": Kind(".remote", "open_url", "an object of an S3 server", None),
    "remote": Kind(".remote", "open_remote", "any URL that fsspec knows", None),
    "zero": Kind(".zero", "open_zero", "zero bytes", frozenset(), _FIXED),
    "pages": Kind(".pages", "open_pages", "pages that carry their own number", frozenset(), _FIXED),
    "random": Kind(".random", "open_random", "seeded random bytes", frozenset({"seed"}), _FIXED),
    "text": Kind(".text", "open_text", "the text itself", frozenset(), _FIXED),
    "data": Kind(".data", "open_data", "bytes described in a small language", frozenset(), _FIXED),
    "concat": Kind(".concat", "open_concat", "sources one after another", parts="parts_of"),
    "sparse": Kind(".sparse", "open_sparse", "sources at offsets, zeroes between", parts="parts_of"),
    "python": Kind(".python", "open_python", "what a Python callable returns", None, code=True),
}
#: Options of any kind: how it keeps up with its backing, and what is wrapped around it.
COMMON = COHERENCY_OPTIONS | AHEAD_OPTIONS | WARM_OPTIONS | frozenset(wrap.WRAPPERS)


def kind_of(name: str) -> Kind | None:
    """The kind called `name`, of mapfs or of another package; None where there is none."""
    if name in KINDS:
        return KINDS[name]
    try:
        offered = {point.name: point for point in foreign.offered()}
    except Exception:  # a package on sys.path is broken; `_unknown` says so
        return None
    point = offered.get(name)
    return Kind("", "", f"of {foreign.package_of(point)}", None, code=True) if point else None


def parse(text: str) -> Spec:
    """The spec in `text`, its kind and options known. Raises SpecError. Opens nothing."""
    spec = grammar.parse(text)
    kind = kind_of(spec.kind)
    if kind is None:
        raise _unknown(spec.kind)
    for name in spec.options:
        if kind.options is not None and name not in kind.options and name not in COMMON:
            can = f"it takes {', '.join(sorted(kind.options))}" if kind.options else "it takes none of its own"
            close = difflib.get_close_matches(name, kind.options | COMMON, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise SpecError(f"{spec.kind}: has no option {name!r}; {can}{hint} (a comma in ARG is doubled)")
    terms_of(spec.options, kind.coherency)
    trace_of(spec.options)
    return spec


def _unknown(name: str) -> SpecError:
    known, broken = list(KINDS), ""
    try:
        known += sorted({point.name for point in foreign.offered()} - set(KINDS))
    except Exception as error:  # whatever is wrong with whichever package
        broken = f" (those of other packages cannot be listed: {reason_of(error)})"
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}:?" if close else f"the kinds are {', '.join(known)}"
    return SpecError(f"there is no source of the kind {name!r}; {hint}{broken}")


def within(spec: Spec, depth: int = 0) -> Iterator[Spec]:
    """`spec` and all specs within it, down to the last. Raises SpecError where one of them cannot be read."""
    yield spec
    kind = kind_of(spec.kind)
    if kind is None or kind.parts is None:
        return
    if depth == DEEPEST:
        raise SpecError(f"{spec.kind}: sources of parts are nested deeper than {DEEPEST}; name the innermost parts")
    parts: Callable[[Spec], list[Spec]] = getattr(importlib.import_module(kind.module, __package__), kind.parts)
    for part in parts(spec):
        yield from within(part, depth + 1)


def runs_code(spec: Spec) -> bool:
    """Whether opening it runs code that `spec`, or a spec within it, names: it may not come through `.mapfs/ctl`.
    Raises SpecError where a spec within it cannot be read.
    """
    kinds = [kind_of(one.kind) for one in within(spec)]
    return any(kind is not None and kind.code for kind in kinds)


def terms(spec: Spec) -> Terms:
    """How a file of `spec` keeps up with its backing."""
    kind = kind_of(spec.kind)
    return terms_of(spec.options, kind.coherency if kind else Coherency.OPEN)


def open_spec(spec: Spec) -> Source | DirectorySource:
    """The source that `spec` names, its wrappers around it. Raises SpecError for a bad argument, SourceError where it
    fails; then nothing stays open.
    """
    kind = kind_of(spec.kind)
    if kind is None:
        raise _unknown(spec.kind)
    for _ in within(spec):
        pass  # all of it can be read, before the first part is opened
    opener = _opener(spec.kind, kind)
    wrappers = [(name, value) for name, value in spec.options.items() if name in wrap.WRAPPERS]
    own = Spec(spec.kind, spec.arg, {name: value for name, value in spec.options.items() if name not in COMMON})
    return wrap.around(opener(own), wrappers)


def _opener(name: str, kind: Kind) -> Opener:
    """Raises SourceError where the module of another package cannot be imported."""
    if name not in KINDS:
        return foreign.opener_of(name)
    opener: Opener = getattr(importlib.import_module(kind.module, __package__), kind.function)
    return opener
