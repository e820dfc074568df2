"""`mapfs mount MNT [NAME=SPEC]...`: makes a mount and serves it."""

import functools
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from mapfs.errors import MapfsError, SpecError, UsageError, reason_of
from mapfs.fuse import fstab
from mapfs.fuse.options import MountOptions
from mapfs.sources import catalogue
from mapfs.sources import spec as grammar
from mapfs.sources.ahead import parse_prefetch
from mapfs.sources.spec import Spec
from mapfs.sources.warm import warmed_by
from mapfs.systemd import notify
from mapfs.trace.address import parse_address
from mapfs.trace.evidence import tiers
from mapfs.trace.planning import plan_for
from mapfs.trace.sinks import warn
from mapfs.tree.build import default_files, parse_name
from mapfs.tree.nodes import DirectoryNode
from mapfs.tree.tree import Tree
from mapfs.units import parse_size

_THREADS = 16
_SETTINGS: dict[str, type] = {
    "mountpoint": str,
    "trace": str,
    "force": bool,
    "readahead": str,
    "prefetch": str,
    "threads": int,
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


@click.command(short_help="Mount, and log each page demand.")
@click.argument("mountpoint", metavar="MNT", required=False)
@click.argument("files", metavar="[NAME=SPEC]...", nargs=-1)
@click.option("-o", "chosen", metavar="OPTIONS", multiple=True, help="Mount options as in fstab: ro,readahead=1M,...")
@click.option("--daemon", is_flag=True, help="Return when the mount answers; it goes on in the background.")
@click.option("-q", "--quiet", is_flag=True, default=None, help="No log on standard error.")
@click.option("--no-labels", is_flag=True, default=None, help="Read no file to tell what an offset is called.")
@click.option("--trace", metavar="FILE", help="Record every demand in FILE, a SQLite database.")
@click.option("-f", "--force", is_flag=True, default=None, help="Replace FILE if it is a trace already.")
@click.option("--metrics", metavar="[ADDR:]PORT", help="Serve Prometheus metrics by HTTP; without ADDR on loopback.")
@click.option(
    "--readahead", metavar="SIZE", help="How far the kernel may read ahead.  [default: 0, one request a page]"
)
@click.option("--prefetch", metavar="auto|off|SIZE", help="Push files ahead that are read forward.  [default: off]")
@click.option("--warm", metavar="TRACE", multiple=True, help="Push what a recorded run needed, before it is demanded.")
@click.option("--threads", type=click.IntRange(1, 1000), metavar="N", help="Slow reads at once.  [default: 16]")
@click.option("--allow-other", is_flag=True, default=None, help="Let other users in; the files' modes are checked.")
@click.option("--ro", is_flag=True, default=None, help="Let nobody write, whatever the sources allow.")
@click.option("--nonempty", is_flag=True, default=None, help="Cover a directory that is not empty.")
@click.option(
    "--link",
    type=click.Choice(["own", "plain"]),
    help="plain: by pyfuse3 alone; who demands a page is not known then.  [default: own]",
)
@click.option(
    "--evidence",
    type=click.Choice([tiers.AUTO, *tiers.TIERS]),
    help="What is seen beyond the requests: page faults of this user's processes (faults), or all that the kernel's "
    "page cache does (kernel, root).  [default: auto, the most that is possible]",
)
@click.option(
    "-c",
    "--config",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Options and files from a TOML file.",
)
def command(
    mountpoint: str | None,
    files: tuple[str, ...],
    chosen: tuple[str, ...],
    daemon: bool,
    config: str | None,
    **given: Any,
) -> None:
    """Mount on MNT, and log one line for each page that a thread has to wait for.

    A file is NAME=SPEC, as in  data=file:/var/lib/data.bin  or  a/b=pages:64p . Without any, a tree that
    shows every kind is served. MNT is made if it is missing, and removed at the end. Ctrl-C, or
    mapfs umount MNT, ends the mount.

    \b
    Kinds: file:PATH  dir:PATH  device:PATH  shm:NAME  sysv:KEY  memfd:SIZE
           fd:N  fd:PID:N  process:PID[:RANGE]  http://…  s3://…  remote:URL
           zero:SIZE  pages:SIZE  random:SIZE  text:TEXT  data:TEXT
           concat:SPEC|SPEC  sparse:SIZE|OFFSET=SPEC  python:MODULE:CALLABLE
    Behind each: rw  coherency=fixed|open|live|passthrough  interval=TIME
           warm=TRACE  prefetch=auto|off|SIZE
           delay= error= write-error= corrupt= rate= retry= cache= cow slice= truncate=
    """
    mount_options = fstab.parse_options(",".join(chosen))
    config = config or mount_options.config
    settings = {**(_read_config(config) if config else {}), **mount_options.settings}
    settings.update({name: value for name, value in given.items() if value not in (None, ())})
    if mountpoint is not None and "=" in mountpoint and "mountpoint" in settings:
        files, mountpoint = (mountpoint, *files), None  # the mount point comes from the TOML file
    settings.update({"mountpoint": mountpoint} if mountpoint else {})
    specs = _specs(settings.get("files", {}), files) or default_files()
    options = _options(settings, specs, mount_options)
    quiet = bool(settings.get("quiet", False))
    if daemon:
        _in_background(options, quiet=quiet)
    else:
        _serve(options, quiet=quiet, labels=not settings.get("no_labels", False))


def _read_config(path: str) -> dict[str, Any]:
    """The settings in a TOML file. Raises UsageError for what is not TOML, or not a setting."""
    try:
        with open(path, "rb") as file:
            settings = tomllib.load(file)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    for name, value in settings.items():
        if name not in _SETTINGS:
            raise UsageError(f"{path} has the unknown key {name!r}; the keys are {', '.join(_SETTINGS)}")
        if name == "prefetch" and isinstance(value, int) and not isinstance(value, bool):
            settings[name] = str(value)
        elif name == "warm" and isinstance(value, str):
            settings[name] = [value]
        elif name in ("readahead", "metrics") and isinstance(value, int) and not isinstance(value, bool):
            settings[name] = str(value)
        elif type(value) is not _SETTINGS[name] or (name == "warm" and not _are_strings(value)):
            raise UsageError(f"{path}: {name} must be of the type {_SETTINGS[name].__name__}")
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


def _specs(configured: Mapping[str, str], given: tuple[str, ...]) -> dict[str, Spec]:
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


def _options(settings: Mapping[str, Any], specs: Mapping[str, Spec], given: fstab.Options) -> MountOptions:
    if "mountpoint" not in settings:
        raise UsageError("where to mount is missing; write mapfs mount /tmp/x")
    link = settings.get("link", "own")
    threads = settings.get("threads", _THREADS)
    if link not in ("own", "plain"):
        raise UsageError(f"link must be own or plain, not {link!r}")
    if threads < 1:
        raise UsageError(f"threads must be 1 or more, not {threads}")
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


def _serve(options: MountOptions, *, quiet: bool, labels: bool) -> None:
    from mapfs.fuse.daemon import Mount  # pyfuse3 and trio are for those who mount
    from mapfs.views.log import standard_error

    def ready(tree: Tree) -> None:
        notify("READY=1", f"STATUS={options.mountpoint} serves {_listing(tree)}")
        if not quiet:
            warn(f"{options.mountpoint} serves {_listing(tree)}; Ctrl-C ends it")

    def stopping() -> None:
        notify("STOPPING=1", f"STATUS={options.mountpoint} is ending")

    log = functools.partial(standard_error, labels=labels)
    mount = Mount(options, [] if quiet else [log], ready=ready, stopping=stopping, warn=warn)
    try:
        mount.run()
    except MapfsError as error:
        notify(f"STATUS={reason_of(error)}")
        raise
    _conclude(options, complete=mount.complete, quiet=quiet)


def _listing(tree: Tree) -> str:
    names = [
        os.fsdecode(name) + ("/" if isinstance(node, DirectoryNode) else "")
        for name, node in tree.root.children.items()
        if not name.startswith(b".mapfs")
    ]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _conclude(options: MountOptions, *, complete: bool, quiet: bool) -> None:
    if not complete:
        raise MapfsError("the log or the trace of this mount is not complete; see the warnings above")
    if options.trace and not quiet:
        warn(f"the trace is in {options.trace}; next: mapfs summary {os.path.relpath(options.trace)}")


def _in_background(options: MountOptions, *, quiet: bool) -> None:
    """Forks; returns in the parent when the mount answers. Raises the child's error."""
    from mapfs.fuse.daemon import Mount
    from mapfs.trace.spawn import null_stdio

    ours, theirs = os.pipe()
    pid = os.fork()
    if pid:
        os.close(theirs)
        with os.fdopen(ours, "rb") as answer:
            text = answer.read()
        if text == b"ready":
            if not quiet:
                click.echo(f"{options.mountpoint} is mounted; next: mapfs log -f {options.mountpoint}")
            return
        os.waitpid(pid, 0)
        number, _, sentence = text.partition(b" ")
        error = UsageError if number == b"2" else MapfsError
        raise error(sentence.decode(errors="replace") or "the mount ended before it answered")
    os.close(ours)
    os.setsid()
    answered = False

    def ready(_: Tree) -> None:
        nonlocal answered
        answered = True
        null_stdio()
        os.chdir("/")  # keep nothing busy but what is served
        os.write(theirs, b"ready")
        os.close(theirs)

    code = 0
    try:
        Mount(replace(options, detach=True), ready=ready, warn=warn).run()
    except BaseException as error:
        code = error.exit_code if isinstance(error, MapfsError) else 1
        if not answered:
            os.write(theirs, f"{code} {error}".encode(errors="replace"))
    sys.stderr.flush()
    os._exit(code)
