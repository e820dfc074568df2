"""A mount for as long as a `with` block runs: `mapfs.mounted({"name": source_or_spec})`.

The daemon is a process of its own: a page fault of this process must not wait for this process's interpreter, which
the fault may hold up. Specs are served by a new interpreter; source objects take a fork, so the daemon has a copy of
each as it was when the block began. Either way the daemon ends with the block, and with this process.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mapfs import client
from mapfs.errors import MapfsError, MountError, UsageError
from mapfs.fuse.device import mounted_at, unmount
from mapfs.fuse.finishing import await_end
from mapfs.fuse.options import MountOptions
from mapfs.sources import catalogue
from mapfs.sources.ahead import parse_prefetch
from mapfs.sources.base import DirectorySource, Source
from mapfs.sources.spec import Spec, absolute
from mapfs.sources.warm import warmed_by
from mapfs.trace.evidence import tiers
from mapfs.trace.planning import plan_for
from mapfs.trace.reader import mount_events, mount_stats, open_trace
from mapfs.trace.sinks import warn
from mapfs.units import parse_size
from mapfs.views.summary import Summary, summarise

_PR_SET_PDEATHSIG = 1
_ANSWER = 10  # the descriptor by which a new interpreter answers
_READY, _FAILED = b"ready", b"failed "
_END_WITHIN = 30.0  # seconds for the daemon to write back, to unmount and to end, but for those that its trace takes


class Mounted:
    """A mount that is served while the block runs."""

    def __init__(self, path: Path) -> None:
        #: Where it is mounted.
        self.path = path

    def __truediv__(self, name: str) -> Path:
        """The path of a file in it: `mounted / "model.bin"`."""
        return self.path / name

    def ctl(self, do: str, **fields: Any) -> dict[str, Any]:
        """Asks the mount (`add`, `remove`, `inject`, `drop`, `files`, `commit`, `discard`; docs/COMMANDS.md).

        Raises UsageError or MapfsError with the sentence of what was refused.
        """
        return client.ask(str(self.path), do, **fields)

    def inject(self, file: str, *rules: str, clear: bool = False) -> list[str]:
        """Adds rules such as `"delay=20ms@3"` and `"error=EIO@200"` to `file`; all that hold now."""
        held: list[str] = self.ctl("inject", file=file, rules=list(rules), clear=clear)["rules"]
        return held

    def drop(self, file: str, pages: str | None = None) -> None:
        """Takes pages of `file` out of the page cache, such as `"3+5-9"`; all of them where none are named."""
        self.ctl("drop", file=file, pages=pages)

    def events(self) -> list[dict[str, Any]]:
        """What happened so far, oldest first, as docs/TRACE.md has it; at most the newest 65,000 events."""
        return list(mount_events(str(self.path), follow=False))

    def stats(self) -> dict[str, Any]:
        """What `.mapfs/stats` says."""
        return mount_stats(str(self.path))

    def summary(self) -> Summary:
        """What happened so far, added up."""
        reading = open_trace(str(self.path))
        try:
            return summarise(reading.connection)
        finally:
            reading.connection.close()


@contextlib.contextmanager
def mounted(
    files: Mapping[str, str | Source | DirectorySource],
    path: str | os.PathLike[str] | None = None,
    *,
    trace: str | os.PathLike[str] | None = None,
    readahead: int | str = 0,
    threads: int = 16,
    read_only: bool = False,
    allow_other: bool = False,
    evidence: str = "auto",
    warm: Sequence[str | os.PathLike[str]] = (),
    prefetch: str = "off",
) -> Iterator[Mounted]:
    """Serves `files` (name in the mount: spec, or source object) at `path`, or at a directory of its own.

    `trace` records each event in a SQLite file; `readahead` is in bytes, or a size such as `"64K"`; `evidence` and
    `prefetch` as in `mapfs mount`; what the traces `warm` needed is pushed before the block begins. Raises MapfsError
    where the mount cannot be made, or the evidence cannot be had. What is still mapped when the block ends is detached:
    its resident pages stay.
    """
    if evidence not in (tiers.AUTO, *tiers.TIERS):
        raise UsageError(f"evidence must be {tiers.AUTO}, {', '.join(tiers.TIERS[:-1])} or {tiers.TIERS[-1]}")
    made = None if path is not None else tempfile.mkdtemp(prefix="mapfs-")
    where = os.path.abspath(path if path is not None else os.path.join(made or "", "mount"))
    settings: dict[str, Any] = {
        "mountpoint": where,
        "readahead": readahead if isinstance(readahead, int) else parse_size(readahead),
        "threads": threads,
        "read_only": read_only,
        "allow_other": allow_other,
        "evidence": evidence,
        "prefetch": parse_prefetch(prefetch),
        "trace": os.path.abspath(trace) if trace is not None else None,
        "warm": [os.path.abspath(one) for one in warm],
    }
    try:
        pid = _start(files, settings)
        try:
            yield Mounted(Path(where))
        finally:
            _end(pid, where, settings["trace"])
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


def _start(files: Mapping[str, str | Source | DirectorySource], settings: dict[str, Any]) -> int:
    """Starts the daemon; its process id, once it answers. Raises what it could not do."""
    ours, theirs = os.pipe()
    specs = {name: given for name, given in files.items() if isinstance(given, str)}
    try:
        pid = _spawn(specs, settings, theirs) if len(specs) == len(files) else _fork(files, settings, theirs)
    finally:
        os.close(theirs)
    try:
        with os.fdopen(ours, "rb") as pipe:
            answer = pipe.read()
    except BaseException:  # Ctrl-C meanwhile
        _end(pid, settings["mountpoint"], settings["trace"])
        raise
    if answer == _READY:
        return pid
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    if not answer.startswith(_FAILED):
        raise MountError("the daemon ended before it answered; what it said is on standard error")
    code, _, sentence = answer.removeprefix(_FAILED).partition(b" ")
    raise (UsageError if code == b"2" else MapfsError)(sentence.decode(errors="replace"))


def _spawn(specs: Mapping[str, str], settings: dict[str, Any], answer: int) -> int:
    text = msgspec.json.encode({"files": specs, "settings": settings, "answer": _ANSWER}).decode()
    command = [sys.executable, "-m", "mapfs.mounting", text]
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, answer, _ANSWER)]
    # in a process group of its own: Ctrl-C is for this process, which then ends the daemon, once and in order
    return os.posix_spawn(sys.executable, command, os.environ, file_actions=actions, setpgroup=0)


def _fork(files: Mapping[str, str | Source | DirectorySource], settings: dict[str, Any], answer: int) -> int:
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        raise UsageError(
            "source objects cannot be served from within trio.run, whose state a fork would copy; "
            "give specs, such as python:MODULE:CALLABLE, or mount before trio.run"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the child starts anew with one
        pid = os.fork()
    if not pid:
        os.setpgid(0, 0)  # as above
        _serve(files, settings, answer)
    return pid


def _serve(files: Mapping[str, str | Source | DirectorySource], settings: dict[str, Any], answer: int) -> None:
    """The daemon's life; never returns."""
    from mapfs.fuse.daemon import Mount  # pyfuse3 and trio are for those who serve

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # what it warns of may stand on a terminal that it does not own
    code = 0
    told = False

    def ready(_: object) -> None:
        nonlocal told
        told = True
        with contextlib.suppress(BrokenPipeError):  # whoever wanted the mount was interrupted, and is about to end it
            os.write(answer, _READY)
        os.close(answer)

    try:
        given = {name: absolute(catalogue.parse(one)) if isinstance(one, str) else one for name, one in files.items()}
        warmed = warmed_by({name: spec for name, spec in given.items() if isinstance(spec, Spec)})
        plan = plan_for(settings.pop("warm"), warmed)
        Mount(MountOptions(files=given, warm=plan, warm_first=True, **settings), ready=ready, warn=warn).run()
    except BaseException as error:
        code = error.exit_code if isinstance(error, MapfsError) else 1
        if not told:
            with contextlib.suppress(OSError):  # whoever wanted the mount is gone
                os.write(answer, _FAILED + f"{code} {error or type(error).__name__}".encode(errors="backslashreplace"))
        else:
            warn(str(error))
    os._exit(code)


def _end(pid: int, where: str, trace: str | None) -> None:
    """Ends the daemon, orderly where it can be done, and waits for it."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        pidfd = os.pidfd_open(pid)
        with os.fdopen(pidfd):
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
            if not await_end(pidfd, trace, _END_WITHIN):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                select.select([pidfd], [], [], _END_WITHIN)
        os.waitpid(pid, 0)
    if mounted_at(where) is not None:
        with contextlib.suppress(MapfsError):
            unmount(where, lazy=True)


if __name__ == "__main__":
    wanted = msgspec.json.decode(sys.argv[1])
    _serve(wanted["files"], wanted["settings"], wanted["answer"])
