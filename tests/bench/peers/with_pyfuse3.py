"""pyfuse3 on trio, as its examples have it."""

import errno
import os
import stat
from typing import Any

import pyfuse3
import trio

from tests.bench.peers.common import FOREVER, NAME, Backing

_INODE = pyfuse3.InodeT(2)


class _Operations(pyfuse3.Operations):
    def __init__(self, backing: Backing) -> None:
        super().__init__()
        self._backing = backing

    async def getattr(self, inode: pyfuse3.InodeT, ctx: Any = None) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        root = inode == pyfuse3.ROOT_INODE
        entry.st_ino = inode
        entry.st_mode = pyfuse3.ModeT(stat.S_IFDIR | 0o755 if root else stat.S_IFREG | 0o444)
        entry.st_size = 0 if root else self._backing.size
        entry.attr_timeout = entry.entry_timeout = FOREVER
        return entry

    async def lookup(self, parent_inode: pyfuse3.InodeT, name: bytes, ctx: Any = None) -> pyfuse3.EntryAttributes:
        if name != NAME.encode():
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(_INODE)

    async def open(self, inode: pyfuse3.InodeT, flags: int, ctx: Any) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), keep_cache=True)

    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        return self._backing.read(off, size)


def main() -> None:
    """Serves until it is unmounted."""
    backing = Backing()
    pyfuse3.init(_Operations(backing), os.fspath(backing.mountpoint), set(pyfuse3.default_options))
    trio.run(pyfuse3.main)
    pyfuse3.close(unmount=False)


if __name__ == "__main__":
    main()
