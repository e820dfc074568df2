"""Spec -> source. A kind is a line in `KINDS` and a module of its own, imported when it is first asked for; a
wrapper is a line in `wrap.WRAPPERS`. Other packages add kinds by the entry-point group `mapfs.sources`: a
callable that takes a `Spec` and returns a source.
"""

import difflib
import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass

from mapfs.errors import SpecError, reason_of
from mapfs.sources import spec as grammar
from mapfs.sources import wrap
from mapfs.sources.base import DirectorySource, Source
from mapfs.sources.coherency import OPTIONS as COHERENCY_OPTIONS
from mapfs.sources.coherency import Coherency, Terms, terms_of
from mapfs.sources.spec import Spec

Opener = Callable[[Spec], Source | DirectorySource]
GROUP = "mapfs.sources"


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind is opened. `module` is as import_module takes it; `options` None: it takes any."""

    module: str
    function: str
    about: str
    options: frozenset[str] | None = frozenset()
    #: What `coherency=` is where a spec does not say.
    coherency: Coherency = Coherency.OPEN
    #: Whether a spec of this kind names code to run: then it may not come through `.mapfs/ctl`.
    code: bool = False


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
    "concat": Kind(".concat", "open_concat", "sources one after another"),
    "sparse": Kind(".sparse", "open_sparse", "sources at offsets, zeroes between"),
    "python": Kind(".python", "open_python", "what a Python callable returns", None, code=True),
}
#: Options of any kind: how it keeps up with its backing, and what is wrapped around it.
COMMON = COHERENCY_OPTIONS | frozenset(wrap.WRAPPERS)


def kind_of(name: str) -> Kind | None:
    """The kind called `name`, of mapfs or of another package; None where there is none."""
    if name in KINDS:
        return KINDS[name]
    found = importlib.metadata.entry_points(group=GROUP, name=name)
    for point in found:
        return Kind(point.module, point.attr, f"of {point.dist.name if point.dist else point.module}", None,
                    code=True)  # fmt: skip
    return None


def parse(text: str) -> Spec:
    """The spec in `text`, its kind and options known. Raises SpecError. Opens nothing."""
    spec = grammar.parse(text)
    kind = kind_of(spec.kind)
    if kind is None:
        close = difflib.get_close_matches(spec.kind, KINDS, n=1)
        hint = f"did you mean {close[0]}:?" if close else f"the kinds are {', '.join(KINDS)}"
        raise SpecError(f"there is no source of the kind {spec.kind!r}; {hint}")
    for name in spec.options:
        if kind.options is not None and name not in kind.options and name not in COMMON:
            can = f"it takes {', '.join(sorted(kind.options))}" if kind.options else "it takes none of its own"
            close = difflib.get_close_matches(name, kind.options | COMMON, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise SpecError(f"{spec.kind}: has no option {name!r}; {can}{hint} (a comma in ARG is doubled)")
    terms_of(spec.options, kind.coherency)
    return spec


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
        raise SpecError(f"there is no source of the kind {spec.kind!r}")
    opener = _opener(spec.kind, kind)
    wrappers = [(name, value) for name, value in spec.options.items() if name in wrap.WRAPPERS]
    own = Spec(spec.kind, spec.arg, {name: value for name, value in spec.options.items() if name not in COMMON})
    return wrap.around(opener(own), wrappers)


def _opener(name: str, kind: Kind) -> Opener:
    """Raises SpecError where the module of another package cannot be imported."""
    if name in KINDS:
        opener: Opener = getattr(importlib.import_module(kind.module, __package__), kind.function)
        return opener
    try:
        (point, *_) = importlib.metadata.entry_points(group=GROUP, name=name)
        opener = point.load()
    except Exception as error:  # another package's code
        raise SpecError(f"the kind {name!r} of another package cannot be loaded: {reason_of(error)}") from error
    return opener
