"""The directory to mount on: checked before, made if it is missing, and removed again if mapfs made it."""

import contextlib
import os

from mapfs.errors import MountError
from mapfs.fuse.device import mounted_at, real_mount_path


def prepare(path: str, *, nonempty: bool) -> tuple[str, bool]:
    """The absolute path of the mount point, and whether it was made now. Raises MountError."""
    real = real_mount_path(path)
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


def _refuse_mounted(path: str, real: str) -> None:
    there = mounted_at(real)
    if there is not None:
        raise MountError(f"{path} is mounted already ({there.type}); unmount it with mapfs umount {path}")


def remove(path: str) -> None:
    """Removes a mount point that `prepare` made, if it is empty, as it should be."""
    with contextlib.suppress(OSError):
        os.rmdir(path)
