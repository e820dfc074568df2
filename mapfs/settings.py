"""What a mount is asked to be, on the command line, behind -o and in a TOML file, put together and checked once."""

import os
from collections.abc import Mapping
from typing import Any

from mapfs.errors import SpecError, UsageError
from mapfs.fuse import fstab, idling
from mapfs.fuse.options import MountOptions
from mapfs.sources import catalogue
from mapfs.sources import spec as grammar
from mapfs.sources.ahead import parse_prefetch
from mapfs.sources.spec import Spec
from mapfs.sources.warm import warmed_by
from mapfs.toml import parse_toml, read_text
from mapfs.trace.address import parse_address
from mapfs.trace.evidence import tiers
from mapfs.trace.planning import plan_for
from mapfs.tree.build import parse_name
from mapfs.units import parse_seconds, parse_size

_THREADS, _MOST_THREADS = 16, 1000
#: The keys of the TOML file, and the types of their values.
KEYS: dict[str, type] = {
    "mountpoint": str,
    "trace": str,
    "force": bool,
    "readahead": str,
    "prefetch": str,
    "threads": int,
    "spin": str,
    "low_latency": bool,
    "allow_other": bool,
    "ro": bool,
    "nonempty": bool,
    "link": str,
    "evidence": str,
    "metrics": str,
    "warm": list,
    "quiet": bool,
    "no_labels": bool,
    "files": dict,
}


def read_config(path: str) -> dict[str, Any]:
    """The settings in a TOML file. Raises UsageError for what is not TOML, or not a setting."""
    try:
        settings = parse_toml(read_text(path), path)
    except FileNotFoundError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    for name, value in settings.items():
        if name not in KEYS:
            raise UsageError(f"{path} has the unknown key {name!r}; the keys are {', '.join(KEYS)}")
        if name == "prefetch" and isinstance(value, int) and not isinstance(value, bool):
            settings[name] = str(value)
        elif name == "warm" and isinstance(value, str):
            settings[name] = [value]
        elif name in ("readahead", "metrics") and isinstance(value, int) and not isinstance(value, bool):
            settings[name] = str(value)
        elif type(value) is not KEYS[name] or (name == "warm" and not _are_strings(value)):
            raise UsageError(f"{path}: {name} must be of the type {KEYS[name].__name__}")
    files = settings.get("files", {})
    for name, given in files.items():
        files[name] = given if isinstance(given, str) else _spec_in(path, name, given)
    return settings


def _are_strings(values: Any) -> bool:
    return all(isinstance(one, str) for one in values)


def _spec_in(path: str, name: str, table: Any) -> str:
    """The spec in a table such as `{ spec = "file:a", rw = true, delay = "20ms" }`. Raises UsageError."""
    if not isinstance(table, dict) or not isinstance(table.get("spec"), str):
        raise UsageError(
            f"{path}: the file {name!r} must be a spec in quotes, or a table with the key spec; "
            "quote a name that holds a dot"
        )
    spec = grammar.parse(table["spec"])
    options = dict(spec.options)
    for option, value in table.items():
        if option == "spec" or value is False:
            continue
        if not isinstance(value, str | int | float):
            raise UsageError(f"{path}: the option {option!r} of the file {name!r} must be a string, a number or true")
        options[option] = None if value is True else str(value)
    return str(Spec(spec.kind, spec.arg, options))


def specs_of(configured: Mapping[str, str], given: tuple[str, ...]) -> dict[str, Spec]:
    """The files of a TOML file, and those of the command line, NAME=SPEC. Raises SpecError."""
    specs = {}
    pairs = [*configured.items()]
    for text in given:
        name, equals, spec = text.partition("=")
        if not equals:
            raise SpecError(f"{text!r} is not NAME=SPEC; write it as in data=file:/etc/hosts")
        pairs.append((name, spec))
    for name, text in pairs:
        parse_name(name)
        if name in specs:
            raise SpecError(f"the name {name!r} is given twice")
        specs[name] = grammar.absolute(catalogue.parse(text))  # the trace is read elsewhere
    return specs


def options_of(settings: Mapping[str, Any], specs: Mapping[str, Spec], given: fstab.Options) -> MountOptions:
    """Checks all of it. Raises UsageError, SpecError, and TraceError for a trace to warm by that cannot be read."""
    if "mountpoint" not in settings:
        raise UsageError("where to mount is missing; write mapfs mount /tmp/x")
    link = settings.get("link", "own")
    threads = settings.get("threads", _THREADS)
    if link not in ("own", "plain"):
        raise UsageError(f"link must be own or plain, not {link!r}")
    if not 1 <= threads <= _MOST_THREADS:
        raise UsageError(f"threads must be 1 or more, {_MOST_THREADS} at most")
    evidence = settings.get("evidence", tiers.AUTO)
    if evidence not in (tiers.AUTO, *tiers.TIERS):
        raise UsageError(f"evidence must be {tiers.AUTO}, {', '.join(tiers.TIERS[:-1])} or {tiers.TIERS[-1]}")
    if link == "plain":
        if evidence not in (tiers.AUTO, tiers.REQUESTS_ALONE):
            raise UsageError("--evidence needs the own link: with --link=plain nobody knows whose a request is")
        evidence = tiers.REQUESTS_ALONE
    readahead = parse_size(settings.get("readahead", "0"))
    if readahead and link == "plain":
        raise UsageError("--readahead needs the own link; with --link=plain the kernel reads ahead as it likes")
    if link == "plain" and ("spin" in settings or settings.get("low_latency")):
        raise UsageError("--spin and --low-latency need the own link; with --link=plain pyfuse3 waits as it likes")
    trace, metrics = settings.get("trace"), settings.get("metrics")
    prefetch = parse_prefetch(settings.get("prefetch", "off"))
    if prefetch and link == "plain":
        raise UsageError("--prefetch needs the own link: with --link=plain the kernel takes no pages unasked")
    warm = plan_for(settings.get("warm", ()), warmed_by(specs))
    if warm is not None and link == "plain":
        raise UsageError("--warm needs the own link: with --link=plain the kernel takes no pages unasked")
    return MountOptions(
        mountpoint=settings["mountpoint"],
        files=specs,
        link=link,
        prefetch=prefetch,
        readahead=min(readahead, (1 << 32) - 1),
        threads=threads,
        spin=_spin(settings.get("spin", "auto")),
        low_latency=settings.get("low_latency", False),
        allow_other=settings.get("allow_other", False),
        read_only=settings.get("ro", False),
        nonempty=settings.get("nonempty", False),
        source=given.source or "mapfs",
        kernel=given.kernel,
        trace=os.path.abspath(trace) if trace else None,
        metrics=parse_address(metrics) if metrics is not None else None,
        replace_trace=settings.get("force", False),
        warm=warm,
        evidence=evidence,
    )


def _spin(text: str) -> int:
    """Nanoseconds. Raises SpecError."""
    named = {"auto": idling.AUTO, "off": 0}
    return named[text] if text in named else int(parse_seconds(text) * 1e9)
