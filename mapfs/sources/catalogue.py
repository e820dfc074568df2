"""Spec -> source. A kind is a line here and a module of its own, imported when it is first asked for."""

import difflib
import importlib
from collections.abc import Callable

from mapfs.errors import SpecError
from mapfs.sources import spec as grammar
from mapfs.sources.base import DirectorySource, Source
from mapfs.sources.spec import Spec

Opener = Callable[[Spec], Source | DirectorySource]

#: kind: (module, as import_module takes it, function, the options it knows, what it is)
KINDS: dict[str, tuple[str, str, frozenset[str], str]] = {
    "file": (".file", "open_file", frozenset(), "a regular file"),
    "dir": (".directory", "open_dir", frozenset(), "a directory, mirrored"),
    "device": (
        ".device",
        "open_device",
        frozenset({"size"}),
        "a block device, or a character device with size=",
    ),
    "shm": (".shm", "open_shm", frozenset(), "a POSIX shared-memory object"),
    "fd": (".inherited", "open_fd", frozenset(), "a descriptor that mapfs inherited"),
    "zero": (".zero", "open_zero", frozenset(), "zero bytes"),
    "pages": (".pages", "open_pages", frozenset(), "pages that carry their own number"),
    "random": (".random", "open_random", frozenset({"seed"}), "seeded random bytes"),
    "text": (".text", "open_text", frozenset(), "the text itself"),
}


def parse(text: str) -> Spec:
    """The spec in `text`, its kind and options known. Raises SpecError. Opens nothing."""
    spec = grammar.parse(text)
    if spec.kind not in KINDS:
        close = difflib.get_close_matches(spec.kind, KINDS, n=1)
        hint = f"did you mean {close[0]}:?" if close else f"the kinds are {', '.join(KINDS)}"
        raise SpecError(f"there is no source of the kind {spec.kind!r}; {hint}")
    known = KINDS[spec.kind][2]
    for name in spec.options:
        if name not in known:
            can = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
            raise SpecError(f"{spec.kind}: has no option {name!r}; {can} (a comma in ARG is doubled)")
    return spec


def open_spec(spec: Spec) -> Source | DirectorySource:
    """The source that `spec` names. Raises SpecError for a bad argument, SourceError where it fails."""
    module, function, *_ = KINDS[spec.kind]
    opener: Opener = getattr(importlib.import_module(module, __package__), function)
    return opener(spec)
