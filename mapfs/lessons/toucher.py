"""What a process of a lesson runs: `python -m mapfs.lessons.toucher NAME FILE`, NAME being what the trace calls it.

It takes an order a line, and answers each with a line of numbers. It opens FILE at the first order that needs it, so
that nothing happens unasked.

    map shared|private|write     maps all of FILE; the number of bytes
    touch PAGE... · read PAGE... the first byte of each page, by the mapping · by pread(2), which keeps a copy
    kept PAGE...                 the same byte in the copy that was kept
    store PAGE BYTE              into the mapping
    zeroes FROM                  how many bytes of the mapping's last page, from FROM on in the file, are zero
    forget                       posix_fadvise(2), POSIX_FADV_DONTNEED: none of it is needed any more
    errno PAGE                   by pread(2): the errno, 0 where there is none
"""

import mmap
import os
import resource
import sys
from collections.abc import Callable, Iterable

PAGE = mmap.PAGESIZE
_FLAGS = {"shared": mmap.MAP_SHARED, "private": mmap.MAP_PRIVATE, "write": mmap.MAP_SHARED}


class Toucher:
    """One process's view of one file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._map: mmap.mmap | None = None
        self._kept: dict[int, bytes] = {}

    def _file(self, flags: int = os.O_RDONLY) -> int:
        if self._fd < 0:
            self._fd = os.open(self._path, flags)
        return self._fd

    @property
    def _mapped(self) -> mmap.mmap:
        assert self._map is not None, "map it first"
        return self._map

    def map(self, how: str) -> Iterable[int]:
        """Maps all of the file."""
        fd = self._file(os.O_RDWR if how == "write" else os.O_RDONLY)
        prot = mmap.PROT_READ | (0 if how == "shared" else mmap.PROT_WRITE)
        self._map = mmap.mmap(fd, 0, flags=_FLAGS[how], prot=prot)
        return [len(self._map)]

    def touch(self, *pages: str) -> Iterable[int]:
        """Loads a byte of each."""
        return [self._mapped[int(page) * PAGE] for page in pages]

    def read(self, *pages: str) -> Iterable[int]:
        """One pread(2) for each."""
        for page in pages:
            self._kept[int(page)] = os.pread(self._file(), PAGE, int(page) * PAGE)
        return self.kept(*pages)

    def kept(self, *pages: str) -> Iterable[int]:
        """From the copy, whatever the file holds by now."""
        return [self._kept[int(page)][0] for page in pages]

    def store(self, page: str, byte: str) -> Iterable[int]:
        """One byte."""
        self._mapped[int(page) * PAGE] = int(byte)
        return [int(byte)]

    def zeroes(self, start: str) -> Iterable[int]:
        """To the end of the page that `start` lies in, which for the last page is past the end of the file.

        Python's mmap ends with the file; the mapping does not, which a pointer shows.
        """
        import ctypes

        begin = int(start)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._mapped))
        rest = ctypes.string_at(base + begin, -begin % PAGE)
        return [rest.count(0)]

    def forget(self) -> Iterable[int]:
        """Of the whole file."""
        os.posix_fadvise(self._file(), 0, 0, os.POSIX_FADV_DONTNEED)
        return []

    def errno(self, page: str) -> Iterable[int]:
        """Of reading it."""
        try:
            os.pread(self._file(), PAGE, int(page) * PAGE)
        except OSError as error:
            return [error.errno or 0]
        return [0]


def main() -> None:
    """Takes orders until there are no more."""
    name, path = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one of the lessons ends in SIGBUS
    with open("/proc/self/comm", "w", encoding="utf-8") as comm:
        comm.write(name)
    toucher = Toucher(path)
    for line in sys.stdin:
        do, *words = line.split()
        order: Callable[..., Iterable[int]] = getattr(toucher, do)
        print(*order(*words), flush=True)


if __name__ == "__main__":
    main()
