"""`shm:NAME`: a POSIX shared-memory object (shm_open(3)), which Linux keeps as a file in /dev/shm.

`shm:` alone is the directory of all of them, live.
"""

import os
import stat

from mapfs.errors import SourceError, SpecError, of_path
from mapfs.sources.backing import DescriptorSource
from mapfs.sources.base import DirectorySource, Source
from mapfs.sources.directory import BackingDirectory
from mapfs.sources.spec import Spec

ROOT = "/dev/shm"  # noqa: S108 -- not a temporary file: shm_overview(7) names this place


def open_shm(spec: Spec) -> "Source | DirectorySource":
    """The object NAME, with or without its leading slash. Raises SourceError where there is none."""
    name = spec.arg.removeprefix("/")
    if not name:
        return BackingDirectory(ROOT)
    if "/" in name or name in (".", ".."):
        raise SpecError(f"{spec.arg!r} is no shm name; it has no slash but a leading one (shm_overview(7))")
    what = f"shared memory {name!r}"
    try:
        fd = os.open(os.path.join(ROOT, name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise of_path(error, what, missing="ls /dev/shm lists what there is") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise SourceError(f"{what} is not a shared-memory object")
    return DescriptorSource(fd, what)
