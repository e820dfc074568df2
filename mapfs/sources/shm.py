"""`shm:NAME`: a POSIX shared-memory object (shm_open(3)), which Linux keeps as a file in /dev/shm.

`create` makes it where there is none, `rw` opens it for writing, `size=` makes it at least so long, `remove` removes
its name when the mount ends. `shm:` alone is the directory of all of them, live.
"""

import contextlib
import os
import stat

from mapfs.errors import SourceError, SpecError, errno_of, of_path
from mapfs.sources.backing import DescriptorSource
from mapfs.sources.base import DirectorySource, Source
from mapfs.sources.directory import BackingDirectory
from mapfs.sources.spec import Spec, is_set
from mapfs.units import parse_size

ROOT = "/dev/shm"  # noqa: S108 -- not a temporary file: shm_overview(7) names this place
_MODE = 0o600
_TRIES = 100


class RemovedSource(DescriptorSource):
    """The object at `path`, whose name goes with the source, unless it is another object's by then."""

    def __init__(self, fd: int, what: str, path: str, *, writable: bool) -> None:
        super().__init__(fd, what, writable=writable)
        self._path = path

    def close(self) -> None:
        remove(self._path, self.fd)
        super().close()


def open_shm(spec: Spec) -> "Source | DirectorySource":
    """The object NAME, with or without its leading slash. Raises SourceError where there is none."""
    name = spec.arg.removeprefix("/")
    create, removed = is_set(spec, "create"), is_set(spec, "remove")
    writable = is_set(spec, "rw") or create
    if not name:
        if spec.options:
            raise SpecError("shm: without a name lists all objects and takes no option of its own; name one")
        return BackingDirectory(ROOT)
    if "/" in name or name in (".", ".."):
        raise SpecError(f"{spec.arg!r} is no shm name; it has no slash but a leading one (shm_overview(7))")
    size = parse_size(spec.options["size"] or "") if "size" in spec.options else 0
    if "size" in spec.options and not writable:
        raise SpecError("size= makes shared memory longer, so it takes rw or create too")
    what, path = f"shared memory {name!r}", os.path.join(ROOT, name)
    try:
        fd, made = _opened(path, os.O_RDWR if writable else os.O_RDONLY, create=create)
    except OSError as error:
        raise of_path(error, what, missing="ls /dev/shm lists what there is") from error
    try:
        _prepare(fd, what, size, removed=removed)
    except BaseException:
        if made:
            remove(path, fd)
        os.close(fd)
        raise
    if removed:
        return RemovedSource(fd, what, path, writable=writable)
    return DescriptorSource(fd, what, writable=writable)


def _opened(path: str, flags: int, *, create: bool) -> tuple[int, bool]:
    """A descriptor, and whether the object was made for it. Raises OSError."""
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    for _ in range(_TRIES):
        if create:
            with contextlib.suppress(FileExistsError):
                return os.open(path, flags | os.O_CREAT | os.O_EXCL, _MODE), True
        try:
            return os.open(path, flags), False
        except FileNotFoundError:
            if not create:
                raise
    return os.open(path, flags), False  # it is made and removed as fast as we look


def _prepare(fd: int, what: str, size: int, *, removed: bool) -> None:
    """Makes the object at least `size` bytes long; never shorter, which would be SIGBUS for who has it mapped."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"{what} is not a shared-memory object")
    if removed and os.geteuid() not in (0, status.st_uid):
        raise SourceError(f"{what} belongs to another user, who alone may remove it; leave remove out")
    if status.st_size < size:
        try:
            os.ftruncate(fd, size)
        except OSError as error:
            raise SourceError(f"{what} cannot be made {size} bytes long: {error.strerror}", errno_of(error)) from error


def remove(path: str, fd: int) -> None:
    """Removes `path` if it is still a name of the file behind `fd`. A name that cannot be removed stays."""
    with contextlib.suppress(OSError):
        if os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd)):
            os.unlink(path)
