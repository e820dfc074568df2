"""`mapfs umount MNT...`: ends mounts, also busy ones and those whose daemon was killed."""

import contextlib
import os
import threading
from typing import Any

import click

from mapfs.client import ask
from mapfs.errors import MapfsError, MountError, UsageError
from mapfs.fuse import device
from mapfs.fuse.finishing import await_end
from mapfs.trace.reader import mount_stats
from mapfs.trace.users import users_of

_ANSWER_WITHIN = 2.0  # seconds for a mount to say who serves it; one that hangs is unmounted all the same
_END_WITHIN = 60.0  # seconds in which the daemon and its recorder neither end nor write to the trace


@click.command(short_help="End a mount: idle, busy, or left by a killed daemon.")
@click.argument("mountpoints", metavar="MNT...", nargs=-1, required=True)
@click.option("-l", "--lazy", is_flag=True, help="Detach it now if it is busy; it ends with its last user.")
def command(mountpoints: tuple[str, ...], lazy: bool) -> None:
    """Unmount, and return when the daemon has ended and its trace is complete."""
    for path in mountpoints:
        _unmount(path, lazy=lazy)


def _unmount(path: str, *, lazy: bool) -> None:
    mounted = device.mounted_at(path)
    if mounted is None:
        raise MountError(f"nothing is mounted on {path}")
    if mounted.type != device.TYPE:
        raise UsageError(f"{path} is no mapfs mount but {mounted.type}; use umount {path}")
    with contextlib.ExitStack() as stack:
        alive, servers, trace = _servers(path, stack)
        busy = _try(path, lazy=lazy, alive=alive)
        if busy and not lazy:
            users = ", ".join(user.name for user in users_of(mounted.device).users[:5]) or "some program"
            raise MountError(f"{path} is busy: used by {users}; end them, or detach it with --lazy")
        if busy:
            click.echo(f"{path} is detached; it ends with the last program that uses it")
            return
        for server in servers:
            if not await_end(server, trace, _END_WITHIN, lambda said: click.echo(f"{path}: {said}", err=True)):
                raise MountError(f"{path} is unmounted, but its daemon goes on; see mapfs doctor")


def _try(path: str, *, lazy: bool, alive: bool) -> bool:
    """Unmounts; True if it was busy, which with `lazy` means that it was only detached."""
    try:
        device.unmount(path)
    except MountError as error:
        if not isinstance(error.__cause__, OSError) and alive:
            raise
        if lazy or not alive:
            if alive:
                _hurry(path)
            device.unmount(path, lazy=True)
        return alive
    return False


def _hurry(path: str) -> None:
    """Ends delays that were asked for: they are not to keep a mount that nobody sees. A daemon that hangs is left."""

    def ask_it() -> None:
        with contextlib.suppress(MapfsError):
            ask(path, "hurry")

    asker = threading.Thread(target=ask_it, daemon=True)
    asker.start()
    asker.join(_ANSWER_WITHIN)


def _servers(path: str, stack: contextlib.ExitStack) -> tuple[bool, list[int], str | None]:
    """Whether somebody may still serve the mount; descriptors of daemon and recorder, as far as they are known here,
    which become readable when they end (pidfd_open(2)); and their trace.
    """
    answer: list[dict[str, Any]] = []

    def ask() -> None:
        with contextlib.suppress(MapfsError):
            answer.append(mount_stats(path, now=True))

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    asker.join(_ANSWER_WITHIN)
    if asker.is_alive():
        click.echo(f"{path}: its daemon does not answer; whether its trace is complete is not known", err=True)
    found: list[int] = []
    for stats in answer:
        for pid in (stats["daemon"]["pid"], stats["recorder_pid"]):
            with contextlib.suppress(OSError, ValueError):
                if _is_mapfs(pid):  # in another pid namespace the number means somebody else
                    found.append(os.pidfd_open(pid))
                    stack.callback(os.close, found[-1])
    return bool(answer) or asker.is_alive(), found, answer[0]["trace"] if answer else None


def _is_mapfs(pid: int) -> bool:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return b"mapfs" in file.read() and pid != os.getpid()
