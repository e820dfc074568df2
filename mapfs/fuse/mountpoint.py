"""The directory to mount on: checked before, made if it is missing, and removed again if mapfs made it."""

import contextlib
import errno
import os
from collections.abc import Callable

from mapfs.errors import MountError
from mapfs.fuse.asking import outcomes
from mapfs.fuse.device import TYPE, mounted_at, real_mount_path, unmount

_ANSWER_WITHIN = 2.0  # seconds


def prepare(path: str, warn: Callable[[str], None], *, nonempty: bool) -> tuple[str, bool]:
    """The absolute path of the mount point, and whether it was made now. What a killed daemon left there is detached,
    and `warn` told: a restart is to work. Raises MountError.
    """
    real = real_mount_path(path)
    if _left(real):
        unmount(real, lazy=True)
        warn(f"{path} was left by a daemon that was killed; it is detached")
    _refuse_mounted(path, real)
    try:
        os.mkdir(real)
    except FileExistsError:
        pass
    except FileNotFoundError:
        raise MountError(f"{os.path.dirname(real)} does not exist; make it with mkdir -p") from None
    except OSError as error:
        raise MountError(f"cannot make the mount point {path}: {error.strerror}") from error
    else:
        return real, True
    real = os.path.realpath(real)
    _refuse_mounted(path, real)
    if not os.path.isdir(real):
        raise MountError(f"{path} is not a directory; choose a directory, or a name that does not exist yet")
    try:
        full = not nonempty and any(os.scandir(real))
    except OSError as error:
        raise MountError(f"cannot look into the mount point {path}: {error.strerror}") from error
    if full:
        raise MountError(f"{path} is not empty; choose another directory, or cover it with --nonempty")
    return real, False


def _left(real: str) -> bool:
    """Whether a mount of mapfs is there that nobody serves: statfs(2) is never answered from a cache."""
    there = mounted_at(real)
    if there is None or there.type != TYPE:
        return False
    return outcomes([lambda: os.statvfs(real)], _ANSWER_WITHIN) == [errno.ENOTCONN]


def _refuse_mounted(path: str, real: str) -> None:
    there = mounted_at(real)
    if there is not None:
        raise MountError(f"{path} is mounted already ({there.type}); unmount it with mapfs umount {path}")


def remove(path: str) -> None:
    """Removes a mount point that `prepare` made, if it is empty, as it should be."""
    with contextlib.suppress(OSError):
        os.rmdir(path)
