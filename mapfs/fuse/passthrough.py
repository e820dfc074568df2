"""`coherency=passthrough`: the kernel takes the pages of an opened file from its backing file.

The backing's descriptor is registered with the device (ioctl), and the reply to OPEN names it. The client then maps
the backing's own pages: nothing is copied, nobody is asked, and there is no request to see. It takes CAP_SYS_ADMIN
and a kernel from 6.9 on (Documentation/filesystems/fuse-passthrough.rst); where it cannot be had, the file is
served like one with `coherency=open`, and a sentence says why.
"""

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Callable

from mapfs.fuse.files import Files
from mapfs.sources.coherency import Coherency
from mapfs.tree.filenodes import FileNode

_OPEN = 0x4010E501  # FUSE_DEV_IOC_BACKING_OPEN: _IOW(229, 1, struct fuse_backing_map)
_CLOSE = 0x4004E502  # FUSE_DEV_IOC_BACKING_CLOSE: _IOW(229, 2, uint32_t)
_MAP = struct.Struct("=iIQ")  # fd flags padding
_REASONS = {
    errno.EPERM: "it takes root (CAP_SYS_ADMIN)",
    errno.ENOTTY: "this kernel has no FUSE passthrough (6.9 and newer have it)",
    errno.EOPNOTSUPP: "this kernel has no FUSE passthrough (6.9 and newer have it)",
    errno.ELOOP: "the backing lies on a stacked filesystem (overlayfs)",
    errno.EINVAL: "this mount was made without it, or the backing is no regular file",
}


class Passthrough:
    """The backing files of one mount that the kernel knows. Called from the link's thread and the trio thread."""

    def __init__(self, device: int, files: Files, warn: Callable[[str], None]) -> None:
        self._device = device
        self._files = files
        self._warn = warn
        self._ids: dict[FileNode, int] = {}
        self._told: set[str] = set()

    def id_for(self, handle: int) -> int | None:
        """What the kernel calls the backing of the file that was opened as `handle`; None: mapfs serves it."""
        file = self._files.handles.get(handle)
        return None if file is None else self._ids.get(file.node)

    def opened(self, node: FileNode) -> None:
        """A handle of `node` was made. Its first one decides for all, since the kernel wants one way for an inode."""
        if node.terms.coherency is Coherency.PASSTHROUGH and node.opens == 1:
            known = self._registered(node)
            if known is not None:
                self._ids[node] = known
                node.passed_through = True

    def _registered(self, node: FileNode) -> int | None:
        fd = node.source.backing_fd if node.source is not None else None
        if fd is None:
            self._say(node, "what it is made of is no file that the kernel can map, or wrappers are around it")
            return None
        try:
            return int(fcntl.ioctl(self._device, _OPEN, bytearray(_MAP.pack(fd, 0, 0))))
        except OSError as error:
            self._say(node, _REASONS.get(error.errno or 0, os.strerror(error.errno or 0)))
            return None

    def _say(self, node: FileNode, why: str) -> None:
        name = os.fsdecode(node.path())
        if name not in self._told:
            self._told.add(name)
            self._warn(f"{name} is served by mapfs, not passed through: {why}")

    def released(self, node: FileNode) -> None:
        """A handle of `node` went."""
        if not node.opens and (known := self._ids.pop(node, None)) is not None:
            node.passed_through = False
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._device, _CLOSE, struct.pack("=I", known))
