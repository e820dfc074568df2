"""What programs stored is written back before a mount that they still use is detached.

syncfs(2) has the kernel write all that is dirty, but waits for no answer of FUSE; fsync(2) waits for those that concern
its file. Whatever is mapped for writing is open for writing, so the handles tell which files those are.
"""

import contextlib
import ctypes
import os
from collections.abc import Sequence

import trio

from mapfs.errors import MapfsError
from mapfs.fuse.demand import Answers
from mapfs.fuse.naming import waiting
from mapfs.fuse.notifier import Notifier
from mapfs.tree.filenodes import FileNode

_GIVEN_UP_AFTER = 10.0  # seconds in which no request was answered


class Settling:
    """Of one mount, at `path`."""

    def __init__(self, path: str, notifier: Notifier, answers: Answers) -> None:
        self._path = path
        self._notifier = notifier
        self._answers = answers

    async def settle(self, opened: Sequence[FileNode]) -> bool:
        """Returns when it is done for all files that are `opened`; False where it was given up, since nothing was
        answered any more. What fails is in the log.
        """
        written, done = [node for node in opened if node.writers], False
        async with trio.open_nursery() as nursery:

            async def write_back() -> None:
                nonlocal done
                await waiting(self._write_back, written)
                done = True
                nursery.cancel_scope.cancel()

            nursery.start_soon(write_back)
            before = -1
            while before != self._answers.given:
                before = self._answers.given
                await trio.sleep(_GIVEN_UP_AFTER)
            nursery.cancel_scope.cancel()
        return done

    def _write_back(self, nodes: Sequence[FileNode]) -> None:
        _begin(self._path)
        for node in nodes:
            try:
                fd = os.open(os.path.join(os.fsencode(self._path), node.path()), os.O_RDONLY | os.O_CLOEXEC)
            except OSError:  # it was removed, or may not be read: the kernel writes back what it is told to drop
                with contextlib.suppress(MapfsError):
                    self._notifier.drop(node)
                continue
            with contextlib.suppress(OSError):  # the log has the request that failed
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)


def _begin(path: str) -> None:
    """All files at once; those whose program has closed them have been waited for by close(2)."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            ctypes.CDLL(None).syncfs(fd)
        finally:
            os.close(fd)
