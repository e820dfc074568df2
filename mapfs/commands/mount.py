"""`mapfs mount MNT [NAME=SPEC]...`: makes a mount and serves it."""

import functools
import os
import sys
from dataclasses import replace
from typing import Any

import click

from mapfs.errors import MapfsError, UsageError, reason_of
from mapfs.fuse import fstab
from mapfs.fuse.options import MountOptions
from mapfs.settings import options_of, read_config, specs_of
from mapfs.systemd import notify
from mapfs.trace.evidence import tiers
from mapfs.trace.sinks import warn
from mapfs.tree.build import default_files
from mapfs.tree.nodes import DirectoryNode
from mapfs.tree.tree import Tree


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
@click.option(
    "--spin",
    metavar="auto|off|TIME",
    help="How long a pager asks for the next request before it sleeps.  [default: auto]",
)
@click.option("--low-latency", is_flag=True, default=None, help="Keep CPUs from deep sleep while requests flow (root).")
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
    settings = {**(read_config(config) if config else {}), **mount_options.settings}
    settings.update({name: value for name, value in given.items() if value not in (None, ())})
    if mountpoint is not None and "=" in mountpoint and "mountpoint" in settings:
        files, mountpoint = (mountpoint, *files), None  # the mount point comes from the TOML file
    settings.update({"mountpoint": mountpoint} if mountpoint else {})
    specs = specs_of(settings.get("files", {}), files) or default_files()
    options = options_of(settings, specs, mount_options)
    quiet = bool(settings.get("quiet", False))
    if daemon:
        _in_background(options, quiet=quiet)
    else:
        _serve(options, quiet=quiet, labels=not settings.get("no_labels", False))


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
