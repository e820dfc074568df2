"""`process:PID[:RANGE]`: the memory of another process, read-only, through /proc/PID/mem (proc(5)).

RANGE is START-END in hex, or a name out of /proc/PID/maps: `[heap]`, `[stack]`, the path of a file. Without it, a
directory of all its mappings, live. An open /proc/PID/mem is tied to the memory itself, not to the number: after the
end of the process, and after execve(2), it gives no byte more, whoever has the number then.

A read brings pages of the other process in and may wait for their disk, so it is never answered by `try_read`.
A page that the process maps out of a mapfs mount is refused: the thread that reads it would wait for another demand
of the same mount, so that demands enough at once would leave no thread to answer, and a mapping of this very file
would wait for itself.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Hashable

from mapfs.errors import SourceError, SpecError
from mapfs.sources.base import Buffer, DirectorySource, Entry, Source
from mapfs.sources.maps import Mapping, mappings, named, range_of
from mapfs.sources.procfs import Process, hold
from mapfs.sources.spec import Spec

_ARG = re.compile(r"(\d{1,9})(?::(.+)|/(.+))?", re.ASCII | re.DOTALL)
_ADDRESSES = re.compile(r"(?:0x)?([0-9a-f]{1,16})-(?:0x)?([0-9a-f]{1,16})", re.ASCII | re.IGNORECASE)
_HIGHEST = (1 << 63) - 1  # what pread(2) takes
_MODE = stat.S_IFREG | 0o400  # memory holds secrets: nobody's but the mounting user's, even with --allow-other

#: From the text of /proc/PID/maps to the addresses to serve; None where they are not mapped.
Find = Callable[[bytes], tuple[int, int] | None]


class MemorySource(Source):
    """The addresses that `find` names, as they were when `refresh` last looked; takes over `process`.

    Offset 0 is the lowest address. `refresh` reads /proc/PID/maps, which may wait while the process itself waits for
    a page: for that reason `size` and `version()` do not.
    """

    def __init__(self, process: Process, find: Find, missing: str) -> None:
        self._process = process
        self._find = find
        self._ended = False
        try:
            self._memory = process.open("mem")
        except OSError as error:
            raise process.refusal(error) from error
        try:
            found = find(maps_of(process))
            if found is None:
                raise SourceError(f"{process.what} maps nothing at {missing}; see /proc/{process.number}/maps")
        except BaseException:
            os.close(self._memory)
            raise
        self._range = found
        self._there = True

    @property
    def size(self) -> int:
        start, end = self._range
        return end - start

    def version(self) -> Hashable:
        return self._range, self._there, self._ended

    def entry(self) -> Entry:
        return Entry(_MODE, self.size)

    def refresh(self) -> None:
        if not self._alive():
            self._ended = True
            return
        try:
            found = self._find(self._process.read("maps"))
        except OSError:
            self._ended = True
            return
        self._there = found is not None
        self._range = found or self._range

    def read(self, offset: int, size: int) -> Buffer:
        at = self._range[0] + offset
        self._refuse_mapfs(at, at + size)
        pieces, got = [b""], 0
        while got < size:
            pieces.append(self._piece(at + got, size - got))
            got += len(pieces[-1])
        return pieces[1] if len(pieces) == 2 else b"".join(pieces)

    def close(self) -> None:
        os.close(self._memory)
        self._process.close()

    def _piece(self, at: int, size: int) -> bytes:
        try:
            data = os.pread(self._memory, size, at) if at <= _HIGHEST else None
        except OSError:
            data = None
        if data is None:
            raise SourceError(f"{self._process.what} has nothing at {at:#x} that can be read")
        if not data:
            self._ended = True
            raise SourceError(f"{self._process.what} has ended, or runs another program since (execve(2))")
        return data

    def _alive(self) -> bool:
        """By one byte at address 0: an error (nothing is mapped there) as long as there is a memory, else none."""
        try:
            return bool(os.pread(self._memory, 1, 0))
        except OSError:
            return True

    def _refuse_mapfs(self, start: int, end: int) -> None:
        try:
            text = self._process.read("maps")
        except OSError:
            return  # it has ended: the read itself tells
        # a FUSE mount has an anonymous device number (major 0); anonymous memory has no inode
        suspects = [one for one in mappings(text, start, end) if one.inode and not os.major(one.device)]
        if not suspects:
            return
        mounts = {device for _, device in self._process.mapfs_mounts()}
        for one in suspects:
            if one.device in mounts:
                raise SourceError(
                    f"{self._process.what} maps a file of a mapfs mount at {one.start:#x}, so reading it there could "
                    "wait for itself; read that file in its mount"
                )


class ProcessDirectory(DirectorySource):
    """The mappings of `process`, a file each, as /proc/PID/maps lists them at the time; takes `process` over."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.what = process.what

    def tried(self) -> "ProcessDirectory":
        """Itself. Raises SourceError where the memory of its process may not be read."""
        _memory(self._process.another(), lambda _: (0, 0), "").close()
        return self

    def names(self, path: bytes) -> list[bytes]:
        if path:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return [one.file_name for one in mappings(self._process.read("maps"))]

    def entry(self, path: bytes) -> Entry:
        if not path:
            return Entry(stat.S_IFDIR | 0o500, nlink=2)
        mapping = self._mapping(path)
        return Entry(_MODE, mapping.end - mapping.start)

    def open(self, path: bytes) -> MemorySource:
        mapping = self._mapping(path)
        return _memory(self._process.another(), _fixed(mapping.start, mapping.end), os.fsdecode(path))

    def close(self) -> None:
        self._process.close()

    def _mapping(self, path: bytes) -> Mapping:
        mapping = named(self._process.read("maps"), path)
        if mapping is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return mapping


def open_process(spec: Spec) -> Source | DirectorySource:
    """The memory of the process in `spec.arg`, or the directory of it. Raises SourceError where it cannot be read."""
    match = _ARG.fullmatch(spec.arg)
    if match is None:
        raise SpecError(f"{spec.arg!r} is no process and range; write process:PID, or process:PID:RANGE as in 1:[heap]")
    number, text, file_name = int(match[1]), match[2], match[3]
    find = _finder(text) if text else None
    if number == os.getpid():
        raise SourceError(f"process {number} is mapfs itself, whose memory changes by being read; name another")
    process = hold(number)
    if find is not None:
        return _memory(process, find, text)
    directory = ProcessDirectory(process)
    try:
        return _of_directory(directory, file_name) if file_name else directory.tried()
    except BaseException:
        directory.close()
        raise


def _of_directory(directory: ProcessDirectory, file_name: str) -> Source:
    """What the directory has under that name, without the directory."""
    try:
        source = directory.open(os.fsencode(file_name))
    except FileNotFoundError as error:
        raise SourceError(f"{directory.what} maps nothing that is called {file_name!r}; list its directory") from error
    directory.close()
    return source


def maps_of(process: Process) -> bytes:
    """The text of its maps. Raises SourceError where it may not be read, or is empty: there is no memory then."""
    try:
        text = process.read("maps")
    except OSError as error:
        raise process.refusal(error) from error
    if not text:
        raise SourceError(f"{process.what} has no memory: it is a thread of the kernel, or has ended")
    return text


def _memory(process: Process, find: Find, missing: str) -> MemorySource:
    try:
        return MemorySource(process, find, missing)
    except BaseException:
        process.close()
        raise


def _fixed(start: int, end: int) -> Find:
    return lambda text: (start, end) if any(mappings(text, start, end)) else None


def _finder(text: str) -> Find:
    """What RANGE means. Raises SpecError."""
    addresses = _ADDRESSES.fullmatch(text)
    if addresses is None:
        if not text.startswith(("/", "[")):
            raise SpecError(f"{text!r} is no range of addresses; write START-END in hex, [heap], [stack] or a path")
        return lambda maps: range_of(maps, os.fsencode(text))
    start, end = int(addresses[1], 16), int(addresses[2], 16)
    if start >= end:
        raise SpecError(f"{text!r} ends before it begins; write START-END in hex, as in /proc/PID/maps")
    if end - start > _HIGHEST:
        raise SpecError(f"{text!r} is longer than a file can be")
    return _fixed(start, end)
