"""Where the content of a file lies on a disk: labels are read there, for reading them in the mount would demand pages.

What the trace keeps of a file is its spec. Of a spec no more is understood here than a label needs: `file:` and `dir:`
(of a mirrored file) have a path, and the options in `KEEPING` leave every byte where it is. Whatever else a spec says,
the file has no labels.
"""

import os
import stat
from dataclasses import dataclass

_KINDS = ("file", "dir")
#: Options that neither move nor change what is served: others do (slice, truncate, corrupt, cow), or may.
KEEPING = frozenset(
    {"rw", "coherency", "interval", "delay", "error", "write-error", "rate", "retry", "cache", "warm", "prefetch"}
)
_CUT = 4096  # characters: a trace keeps no more of a spec, and what is as long may have been longer
_MAPFS = b"fuse.mapfs"


@dataclass(frozen=True, slots=True)
class Backing:
    """Where the bytes of a file lie. `writable`: what the mount is told to store, changes it."""

    path: str
    writable: bool


def backing_of(spec: str) -> Backing | None:
    """The file that is served, byte by byte, by `spec`; None where there is none, or none that is known."""
    kind, _, rest = spec.partition(":")
    if kind not in _KINDS or len(spec) >= _CUT or "\0" in rest:
        return None
    path, *options = (part.replace("\0", ",") for part in rest.replace(",,", "\0").split(","))
    if not os.path.isabs(path) or not {option.partition("=")[0] for option in options} <= KEEPING:
        return None
    return Backing(path, "rw" in options)


def open_backing(path: str) -> int:
    """A descriptor of the regular file `path` for reading. Raises OSError, also where it lies in a mapfs mount, whose
    pages it would demand.
    """
    found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        status = os.fstat(found)
        if not stat.S_ISREG(status.st_mode):  # merely to open a device may do something
            raise OSError(f"{path} is not a regular file")
        if _serves(status.st_dev):
            raise OSError(f"{path} lies in a mapfs mount")
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(found)


def _serves(device: int) -> bool:
    """Whether mapfs serves the filesystem `device`."""
    wanted = b"%d:%d" % (os.major(device), os.minor(device))
    with open("/proc/self/mountinfo", "rb") as lines:
        return any(_MAPFS in line and line.split(maxsplit=3)[2] == wanted and _type(line) == _MAPFS for line in lines)


def _type(line: bytes) -> bytes:
    return line.partition(b" - ")[2].partition(b" ")[0]
