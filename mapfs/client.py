"""A running mount from outside: finding it, and asking it by `.mapfs/ctl` (docs/COMMANDS.md)."""

import os
import stat
from dataclasses import dataclass
from typing import Any

import msgspec

from mapfs.errors import MapfsError, MountError, UsageError, reason_of
from mapfs.fuse.device import TYPE, MountPoint, mount_points

CTL = os.path.join(".mapfs", "ctl")


@dataclass(frozen=True, slots=True)
class Target:
    """A file in a mount. `name` is its path within the mount."""

    mount: str
    name: str
    inode: int


def ask(mount: str, do: str, **fields: Any) -> dict[str, Any]:
    """What the mount answers to a request. Raises UsageError or MapfsError with its sentence where it refuses."""
    try:
        fd = os.open(os.path.join(mount, CTL), os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise _unreachable(mount, error) from error
    try:
        os.write(fd, msgspec.json.encode({"do": do, **fields}) + b"\n")
        answer = b""
        while not answer.endswith(b"\n") and (piece := os.read(fd, 1 << 17)):
            answer += piece
        told = msgspec.json.decode(answer)
    except (OSError, msgspec.DecodeError, UnicodeEncodeError) as error:
        raise MountError(f"{mount} does not answer: {reason_of(error)}") from error
    finally:
        os.close(fd)
    if not isinstance(told, dict) or not told.pop("ok", False):
        failed = UsageError if told.get("exit") == UsageError.exit_code else MapfsError
        raise failed(told.get("error", "it was refused"))
    return told


def _unreachable(mount: str, error: OSError) -> MapfsError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return MountError(f"{mount} is no mapfs mount; give the directory that it is mounted on")
    if isinstance(error, PermissionError):
        return MountError(f"{mount} takes orders only from the user who made it, and from root")
    return MountError(f"{mount} does not answer: {error.strerror}; mapfs umount {mount} cleans up")


def target(path: str) -> Target:
    """The file at `path`, which lies in a mount. Raises MountError where it does not, UsageError for a directory."""
    status = _status(path)
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{path} is a directory; name a file in it, as in /tmp/x/pages")
    mount = mount_of(path)
    return Target(mount.path, os.path.relpath(os.path.realpath(path), mount.path), status.st_ino)


def mount_of(path: str) -> MountPoint:
    """The mount that `path` lies in. Raises MountError where that is none of mapfs."""
    device, real = _status(path).st_dev, os.path.realpath(path)
    for mount in reversed(mount_points()):
        if mount.type == TYPE and mount.device == device and (real == mount.path or real.startswith(mount.path + "/")):
            return mount
    raise MountError(f"{path} is in no mapfs mount; give MNT/FILE, as in /tmp/x/pages")


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise MountError(f"cannot look at {path}: {error.strerror}") from error
