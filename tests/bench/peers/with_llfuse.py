"""llfuse with one worker, as its examples have it."""

import errno
import importlib
import stat
from typing import Any

from tests.bench.peers.common import FOREVER, NAME, Backing

_INODE = 2
llfuse: Any = importlib.import_module("llfuse")  # of the extra `bench`, and not typed


class _Operations(llfuse.Operations):  # type: ignore[misc] # it is not typed
    def __init__(self, backing: Backing) -> None:
        super().__init__()
        self._backing = backing

    def getattr(self, inode: int, ctx: Any = None) -> Any:
        entry = llfuse.EntryAttributes()
        root = inode == llfuse.ROOT_INODE
        entry.st_ino = inode
        entry.st_mode = stat.S_IFDIR | 0o755 if root else stat.S_IFREG | 0o444
        entry.st_size = 0 if root else self._backing.size
        entry.attr_timeout = entry.entry_timeout = FOREVER
        return entry

    def lookup(self, parent_inode: int, name: bytes, ctx: Any = None) -> Any:
        if name != NAME.encode():
            raise llfuse.FUSEError(errno.ENOENT)
        return self.getattr(_INODE)

    def open(self, inode: int, flags: int, ctx: Any) -> int:
        return inode

    def read(self, fh: int, off: int, size: int) -> bytes:
        return self._backing.read(off, size)


def main() -> None:
    """Serves until it is unmounted."""
    backing = Backing()
    llfuse.init(_Operations(backing), backing.mountpoint, set(llfuse.default_options))
    try:
        llfuse.main(workers=1)
    finally:
        llfuse.close(unmount=False)


if __name__ == "__main__":
    main()
