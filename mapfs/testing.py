"""For people who test sources, or code that uses them: a source that does as it is told, and a check of the contract.

    source = FakeSource(b"abc" * 1000)
    source.error = SourceError("no link", errno.EHOSTUNREACH)
    check_source(MySource(...), expected_content)

Needs nothing but mapfs; works with any test runner.
"""

import random
import stat
import threading
from collections.abc import Callable, Hashable, Iterator

from mapfs.errors import SourceError
from mapfs.sources.base import Buffer, Source

_WITHIN = 30.0  # seconds that a read may take before it counts as hanging


class FakeSource(Source):
    """`content`, held in memory, unless it is told otherwise; every read that was asked for is in `reads`.

    `error`: what each read raises. `gate`: an event that each read waits for, half a minute at most. `wrong`: gets
    the bytes of a read, and returns what is to be answered in their stead, which may be anything.
    """

    def __init__(self, content: bytes, *, writable: bool = False) -> None:
        self.writable = writable
        self.versioned = True
        self.reads: list[tuple[int, int]] = []
        self.error: BaseException | None = None
        self.gate: threading.Event | None = None
        self.wrong: Callable[[bytes], Buffer] | None = None
        self.closed = False
        self._content = bytearray(content)
        self._version = 0
        self._lock = threading.Lock()

    @property
    def content(self) -> bytes:
        """All of it. Setting it is a change of the backing: another `version()`, maybe another size."""
        with self._lock:
            return bytes(self._content)

    @content.setter
    def content(self, content: bytes) -> None:
        with self._lock:
            self._content[:] = content
            self._version += 1

    @property
    def size(self) -> int:
        return len(self._content)

    def version(self) -> Hashable:
        return self._version

    def read(self, offset: int, size: int) -> Buffer:
        self.reads.append((offset, size))
        if self.gate is not None and not self.gate.wait(_WITHIN):
            raise SourceError(f"nobody opened the gate within {_WITHIN:.0f} s")
        if self.error is not None:
            raise self.error
        with self._lock:
            data = bytes(self._content[offset : offset + size])
        return data if self.wrong is None else self.wrong(data)

    def try_read(self, offset: int, size: int) -> Buffer | None:
        return None if self.gate is not None else self.read(offset, size)

    def write(self, offset: int, data: Buffer) -> None:
        if not self.writable:
            super().write(offset, data)
        with self._lock:
            self._content += bytes(max(0, offset - len(self._content)))
            self._content[offset : offset + len(data)] = data
            self._version += 1

    def resize(self, size: int) -> None:
        if not self.writable:
            super().resize(size)
        with self._lock:
            self._content += bytes(max(0, size - len(self._content)))
            del self._content[size:]
            self._version += 1

    def close(self) -> None:
        _require(not self.closed, "closed twice")
        self.closed = True


def check_source(source: Source, content: bytes, *, threads: int = 8) -> None:
    """Reads all of `source`, which has to give `content` and must not change meanwhile, by the rules of the contract.

    Raises AssertionError that says what is broken. Closes nothing.
    """
    _require(source.size == len(content), f"size is {source.size}, its content has {len(content)} bytes")
    entry = source.entry()
    _require(entry.size == len(content), f"entry().size is {entry.size}, its content has {len(content)} bytes")
    _require(stat.S_ISREG(entry.mode), "entry().mode is no regular file's, and nothing else can be mapped")
    _require(source.entry() == entry, "entry() changes though the content does not: another mtime drops all pages")
    version = source.version()
    hash(version)
    for offset, size in _ranges(len(content), 0):
        _check_range(source, content, offset, size)
    _check_threads(source, content, threads)
    _require(source.version() == version, "version() changed though the content did not")


def _require(true: bool, broken: str) -> None:
    """An assertion that `python -O` leaves in."""
    if not true:
        raise AssertionError(broken)


def _check_range(source: Source, content: bytes, offset: int, size: int) -> None:
    held = source.hold(offset, size)
    _require(held >= 0, f"hold({offset}, {size}) is {held} s")
    quick = source.try_read(offset, size)
    if quick is not None:
        _check_answer(f"try_read({offset}, {size})", quick, content[offset : offset + size])
    into = bytearray(size)
    if source.try_fill(offset, memoryview(into)):
        _check_answer(f"try_fill({offset}, {size} bytes)", into, content[offset : offset + size])
    _check_answer(f"read({offset}, {size})", source.read(offset, size), content[offset : offset + size])


def _check_answer(what: str, data: object, expected: bytes) -> None:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise AssertionError(f"{what} gave a {type(data).__name__}")
    view = memoryview(data)
    single = view.contiguous and view.nbytes == len(data)
    _require(single, f"{what} gave a view that is not of single bytes in a row")
    _require(len(data) == len(expected), f"{what} gave {len(data)} bytes")
    _require(bytes(data) == expected, f"{what} gave other bytes than the content has there")


def _check_threads(source: Source, content: bytes, threads: int) -> None:
    """The same from several threads at once."""
    broken: list[BaseException] = []
    ready = threading.Barrier(threads)

    def read(seed: int) -> None:
        try:
            ready.wait(_WITHIN)
            for offset, size in _ranges(len(content), seed):
                _check_range(source, content, offset, size)
        except BaseException as error:
            broken.append(error)

    running = [threading.Thread(target=read, args=(seed,), daemon=True) for seed in range(1, threads + 1)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(_WITHIN)
    _require(not any(thread.is_alive() for thread in running), f"reads by {threads} threads at once hang")
    if broken:
        raise AssertionError(f"by {threads} threads at once: {broken[0]}") from broken[0]


def _ranges(size: int, seed: int) -> Iterator[tuple[int, int]]:
    """The edges, and any ranges; each seed has its own."""
    yield from ((0, size), (0, 0), (size, 0), (0, min(1, size)), (max(0, size - 1), min(1, size)))
    some = random.Random(seed)  # noqa: S311 -- the same ranges each time are wanted
    for _ in range(25):
        offset = some.randint(0, size)
        yield offset, some.randint(0, min(size - offset, some.choice((100, 5000, size))))
