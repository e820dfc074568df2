"""fusepy, and mfusepy, which has the same calls: the high-level API of libfuse by ctypes, one thread.

`python -m tests.bench.peers.with_fusepy fuse|mfusepy MNT FILE [LOG]`
"""

import errno
import importlib
import stat
import sys
from typing import Any

from tests.bench.peers.common import NAME, Backing


def main() -> None:
    """Serves until it is unmounted."""
    library: Any = importlib.import_module(sys.argv.pop(1))
    backing = Backing()

    class Operations(library.Operations):  # type: ignore[misc] # it is not typed
        use_ns = True

        def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
            if path != f"/{NAME}":
                raise library.FuseOSError(errno.ENOENT)
            return {"st_mode": stat.S_IFREG | 0o444, "st_nlink": 1, "st_size": backing.size}

        def open(self, path: str, flags: int) -> int:
            return 0

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            return backing.read(offset, size)

    library.FUSE(Operations(), backing.mountpoint, foreground=True, nothreads=True, kernel_cache=True)


if __name__ == "__main__":
    main()
