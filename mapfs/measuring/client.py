"""The process that touches pages for `mapfs bench`: `python -m mapfs.measuring.client`, an order and an answer a line.

What is measured must not be this interpreter. A page is touched by a slice of the mapping with a step, `m[a:b:step]`: a
loop in C that loads a byte each few pages, 63 pages to a step of the interpreter, which costs it about 2 ns a page. A
slice in random order takes every n-th page, and goes on 64 bytes further into each, or all would compete for the same
few sets of the CPU's caches. A read(2) of a page takes a call of os.preadv(), which costs some 0.3 us by itself. What
that leaves of the interpreter is measured too, by `floor`: the same work on memory that is no file's, and on /dev/null.

    {"do": "cold", "path", "way", "order", "pages", "seconds", "seed"}  each page once, as many as there is time for
    {"do": "resident", "seconds"}                                       the same again, in several passes
    {"do": "floor", "way", "order", "pages", "seconds", "seed"}         several passes over nothing
    {"do": "close"}                                                     unmaps and closes

`pages` make up a multiple of 128 KiB, for the calls in sequence.

The answers have `pages` and `ns`; of several passes it is the median.
"""

import json
import mmap
import os
import random
import resource
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

_PAGE = mmap.PAGESIZE
_IN_A_SLICE = 63  # 64 bytes further each: they stay within their pages
_APART = 33  # pages between two that are touched one after the other: further than the kernel reads ahead
_CHUNK = 128 << 10  # bytes of a read(2) in sequence, and told of at once
_TOLD = 2048  # pages that the kernel is told of before they are touched
_CALLS = 64  # read(2)s between two looks at the clock
_PASSES = 9
_STORED = 7  # what a store puts into a byte
_CLOCK = time.perf_counter_ns


@dataclass(frozen=True, slots=True)
class Batch:
    """A piece of work between two looks at the clock."""

    pages: int
    work: Callable[[], Any]


class Client:
    """What one client has open."""

    def __init__(self) -> None:
        self._fd = -1
        self._memory: mmap.mmap | None = None
        self._batches: list[Batch] = []

    def cold(self, path: str, way: str, order: str, pages: int, seconds: float, seed: int) -> dict[str, int]:
        """Opens and maps what is at `path`, and goes through it once."""
        writes = way in ("store", "write")
        self._fd = os.open(path, (os.O_RDWR if writes else os.O_RDONLY) | os.O_CLOEXEC)
        os.posix_fadvise(self._fd, 0, 0, _advice_for_file(way, order))
        if way not in ("read", "write"):
            access = mmap.PROT_READ | mmap.PROT_WRITE if writes else mmap.PROT_READ
            self._memory = mmap.mmap(self._fd, pages * _PAGE, prot=access)
            self._memory.madvise(mmap.MADV_NORMAL if way == "readahead" else mmap.MADV_RANDOM)
        batches = list(self._plan(way, order, pages, seed))
        done, taken = _go(batches, seconds)
        self._batches = batches[:done]
        if writes:
            began = _CLOCK()
            os.fsync(self._fd) if self._memory is None else self._memory.flush()
            taken += _CLOCK() - began
        return {"pages": sum(batch.pages for batch in self._batches), "ns": taken}

    def resident(self, seconds: float) -> dict[str, int]:
        """Goes through what was fetched again."""
        return _again(self._batches, seconds)

    def floor(self, way: str, order: str, pages: int, seconds: float, seed: int) -> dict[str, int]:
        """Goes through memory of its own, or asks /dev/null."""
        if way == "read":
            self._fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        else:
            self._memory = mmap.mmap(-1, pages * _PAGE)
            for start in range(0, pages * _PAGE, _PAGE):
                self._memory[start] = 1  # or all of it is the one page of zeroes
        told = _again(list(self._plan(way, order, pages, seed)), seconds)
        self.close()
        return told

    def close(self) -> dict[str, int]:
        """Leaves nothing mapped or open, so that pages can be dropped."""
        self._batches = []
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        return {}

    def _plan(self, way: str, order: str, pages: int, seed: int) -> Iterator[Batch]:
        some = random.Random(seed)  # noqa: S311 -- no secret
        if way in ("read", "write"):
            yield from self._calls(os.preadv if way == "read" else os.pwritev, order, pages, some)
        elif order == "sequential":
            for first in range(0, pages, _IN_A_SLICE):
                stop = min(first + _IN_A_SLICE, pages)
                yield self._touches(stop - first, slice(first * _PAGE, stop * _PAGE, _PAGE), store=way == "store")
        elif way != "readahead":
            yield from self._scattered(0, pages, some, store=way == "store")
        else:
            for first in range(0, pages, _TOLD):
                count = min(_TOLD, pages - first)
                touches = list(self._scattered(first, count, some))
                yield Batch(count, self._told(first, count, touches))

    def _scattered(self, first: int, count: int, some: random.Random, *, store: bool = False) -> Iterator[Batch]:
        """`count` pages from `first` on, each once: those of one slice lie `stride` apart."""
        stride = min(count, max(_APART, -(-count // _IN_A_SLICE)))
        starts = list(range(first, first + stride))
        some.shuffle(starts)
        step = stride * _PAGE + 64
        for start in starts:
            pages = -(-(first + count - start) // stride)
            yield self._touches(pages, slice(start * _PAGE, (first + count) * _PAGE, step), store=store)

    def _touches(self, pages: int, where: slice, *, store: bool = False) -> Batch:
        memory = self._memory
        assert memory is not None
        if store:
            stored = bytes([_STORED]) * pages
            return Batch(pages, lambda: memory.__setitem__(where, stored))
        return Batch(pages, lambda: memory[where])

    def _told(self, first: int, count: int, touches: Sequence[Batch]) -> Callable[[], None]:
        fd = self._fd

        def work() -> None:
            for offset in range(first * _PAGE, (first + count) * _PAGE, _CHUNK):
                os.posix_fadvise(fd, offset, _CHUNK, os.POSIX_FADV_WILLNEED)
            for touch in touches:
                touch.work()

        return work

    def _calls(self, call: Callable[..., int], order: str, pages: int, some: random.Random) -> Iterator[Batch]:
        fd = self._fd
        size = _PAGE if order == "random" else _CHUNK
        offsets = list(range(0, pages * _PAGE, size))
        if order == "random":
            some.shuffle(offsets)
        buffers = (bytearray(size),)

        def calls(some_offsets: Sequence[int]) -> Callable[[], Any]:
            return lambda: deque(map(call, repeat(fd), repeat(buffers), some_offsets), 0)

        calls_a_batch = _CALLS if order == "random" else 1
        for at in range(0, len(offsets), calls_a_batch):
            group = offsets[at : at + calls_a_batch]
            yield Batch(sum(min(size, pages * _PAGE - offset) for offset in group) // _PAGE, calls(group))


def _advice_for_file(way: str, order: str) -> int:
    calls = way in ("read", "write")
    return os.POSIX_FADV_RANDOM if calls and order == "random" else os.POSIX_FADV_NORMAL


def _go(batches: Sequence[Batch], seconds: float) -> tuple[int, int]:
    """Does as many of them as there is time for, at least one; how many, and ns."""
    began = now = _CLOCK()
    end = began + int(seconds * 1e9)
    done = 0
    for batch in batches:
        batch.work()
        done += 1
        now = _CLOCK()
        if now >= end:
            break
    return done, now - began


def _again(batches: Sequence[Batch], seconds: float) -> dict[str, int]:
    """Several passes, after one that does not count; at least one."""
    end = _CLOCK() + int(seconds * 1e9)
    done, _ = _go(batches, seconds / 2)
    passes: list[int] = []
    while not passes or (_CLOCK() < end and len(passes) < _PASSES):
        passes.append(_go(batches[:done], 1e9)[1])
    return {"pages": sum(batch.pages for batch in batches[:done]), "ns": int(statistics.median(passes))}


def main() -> None:
    """Takes orders until there are no more."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a file that shrinks meanwhile ends it by SIGBUS
    client = Client()
    for line in sys.stdin:
        order = json.loads(line)
        do = order.pop("do")
        try:
            answer: dict[str, Any] = getattr(client, do)(**order)
        except (OSError, ValueError) as error:  # ValueError: a mapping would be longer than the file
            client.close()
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
