"""What a shell completes an argument to: mounts, files in them, traces. Asks no mount, and opens nothing but traces.

A parameter is completed by what its metavar says that it is, so that a command need not do anything for it. What is
offered here is only what the shell itself cannot know; where there is nothing of that, it completes paths.
"""

import os
from collections.abc import Iterator
from typing import Any

import click
from click.shell_completion import CompletionItem

from mapfs.fuse.device import TYPE, mount_points

_MOST_FILES = 2000  # of a directory, that are looked into for traces; a key press must not take long
_SQLITE = b"SQLite format 3\0"
_ID_AT = 68  # of application_id in the header of a SQLite database, https://www.sqlite.org/fileformat.html


class Completed(click.ParamType):  # type: ignore[type-arg] # generic in new versions of click alone
    """A type as `inner`, completed to mounts, to files in mounts, and to traces."""

    def __init__(self, inner: Any, *, mounts: bool, inside: bool, traces: bool) -> None:
        self.inner = inner
        self.name = str(inner.name)
        self._mounts, self._inside, self._traces = mounts, inside, traces

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """What the inner type makes of it."""
        return self.inner.convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Mounts and traces that begin with `incomplete`; else the shell is to complete a path."""
        found = list(_mounts(incomplete, "/" if self._inside else "")) if self._mounts else []
        if self._traces:
            found += _traces(incomplete)
        return [CompletionItem(path) for path in found] or [CompletionItem(incomplete, type="file")]


#: metavar: whether it may be a mount, a file in a mount, a trace
_METAVARS = {
    "MNT": (True, False, False),
    "MNT...": (True, False, False),
    "MNT/FILE": (True, True, False),
    "MNT|MNT/FILE": (True, True, False),
    "TRACE|MNT": (True, False, True),
    "A": (True, False, True),
    "B": (True, False, True),
    "FILE": (False, False, False),
    "[FILE]": (False, False, False),
}


def complete_paths(command: click.Command, name: str) -> None:
    """Has the parameters of the command called `name` completed."""
    for parameter in command.params:
        what = _METAVARS.get(parameter.metavar or "")
        if what is not None and not isinstance(parameter.type, Completed):
            mounts, inside, traces = what
            # a mount that is to be made is none yet
            mounts = mounts and not (name == "mount" and parameter.param_type_name == "argument")
            parameter.type = Completed(parameter.type, mounts=mounts, inside=inside, traces=traces)


def _mounts(incomplete: str, end: str) -> Iterator[str]:
    """Where mapfs is mounted, written as `incomplete` begins: absolute, or from the working directory."""
    here = os.getcwd()
    for mount in mount_points():
        if mount.type == TYPE:
            relative = os.path.relpath(mount.path, here)
            below = not relative.startswith("..")
            ways = (relative, f"./{relative}", mount.path) if below else (mount.path, relative)
            found = next((path for path in ways if path.startswith(incomplete)), None)
            if found is not None:
                yield found + end


def _traces(incomplete: str) -> list[str]:
    """The traces in the directory that `incomplete` names."""
    from mapfs.trace.store import APPLICATION_ID  # SQLite is for those who want a trace

    directory = os.path.dirname(incomplete)
    number = APPLICATION_ID.to_bytes(4, "big")
    found = []
    try:
        with os.scandir(directory or ".") as entries:
            for _, entry in zip(range(_MOST_FILES), entries, strict=False):
                path = os.path.join(directory, entry.name)
                if path.startswith(incomplete) and entry.is_file() and _is_trace(path, number):
                    found.append(path)
    except OSError:
        return []
    return sorted(found)


def _is_trace(path: str, number: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(_ID_AT + len(number))
    except OSError:
        return False
    # the number is not yet in the file itself while a mount writes the trace
    return head.startswith(_SQLITE) and (head.endswith(number) or os.path.exists(f"{path}-wal"))
