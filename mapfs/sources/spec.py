"""The text that names a source: `KIND:ARG[,OPTION[=VALUE]]...`.

A comma within ARG or VALUE is doubled; nothing else is special in a spec. `parse` and `str` are each
other's inverse. The grammar is in docs/SOURCES.md.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mapfs.errors import SpecError

_KIND = re.compile(r"[a-z][a-z0-9+.-]*", re.ASCII)
_PATHS = frozenset({"file", "dir", "device"})  # kinds whose argument is a path, where there is one
_OPTION = re.compile(r"[a-z][a-z0-9_-]*", re.ASCII)
_PARTS = re.compile(r"((?:[^,]|,,)*)(?:,|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Spec:
    """A spec in its parts. `options` maps a name to its value, None where it was given without one."""

    kind: str
    arg: str
    options: Mapping[str, str | None] = field(default_factory=dict)

    def __str__(self) -> str:
        words = [self.arg] + [name if value is None else f"{name}={value}" for name, value in self.options.items()]
        return f"{self.kind}:" + ",".join(word.replace(",", ",,") for word in words)


def parse(text: str) -> Spec:
    """The parts of `text`. Raises SpecError, which quotes it, where it does not follow the grammar."""
    kind, colon, rest = text.partition(":")
    if not colon or not _KIND.fullmatch(kind):
        raise SpecError(f"{text!r} is not a spec; write KIND:ARG, as in file:/etc/hosts or zero:64K")
    if "\0" in rest:
        raise SpecError(f"{text!r} holds a NUL byte, which no path or text here can")
    arg, *words = _split(rest)
    options: dict[str, str | None] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not _OPTION.fullmatch(name):
            raise SpecError(f"{text!r} has the option {word!r}, which has no proper name; a comma in ARG is doubled")
        if name in options:
            raise SpecError(f"{text!r} has the option {name!r} twice")
        options[name] = value if equals else None
    return Spec(kind, arg, options)


def absolute(spec: Spec) -> Spec:
    """`spec` as it means the same in any directory: of the kinds that have a path, the path made absolute."""
    if spec.kind not in _PATHS or not spec.arg or os.path.isabs(spec.arg):
        return spec
    return Spec(spec.kind, os.path.join(os.getcwd(), spec.arg), spec.options)  # `..` behind a link stays what it is


def is_set(spec: Spec, name: str) -> bool:
    """Whether `spec` has the option `name`, one that takes no value. Raises SpecError where it was given one."""
    if spec.options.get(name) is not None:
        raise SpecError(f"{name} takes no value; write {name} alone")
    return name in spec.options


def _split(text: str) -> list[str]:
    """`text` at its single commas, the doubled ones undone. Pairs are taken from the left."""
    parts, at = [], 0
    while True:
        match = _PARTS.match(text, at)
        assert match is not None, "the pattern matches the empty string"
        parts.append(match[1].replace(",,", ","))
        at = match.end()
        if at == len(text) and not (match[0].endswith(",") and len(match[0]) > len(match[1])):
            return parts
