"""The contract of a source (sources/base.py), held by every kind."""

import contextlib
import os
import random
import stat
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mapfs.errors import SourceError
from mapfs.units import PAGE_SIZE
from tests.contract.places import (
    AT_ONCE,
    CAN_SHRINK,
    CONTENT,
    KINDS,
    SIZE,
    WITHIN,
    Place,
    Served,
    checked,
    of_file,
    ranges,
)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def served(place: Place, kind: str) -> Iterator[Served]:
    served = KINDS[kind](place)
    yield served
    served.source.close()


def test_its_size_is_that_of_its_content(served: Served) -> None:
    assert served.source.size == len(served.content)
    entry = served.source.entry()
    assert entry.size == len(served.content)
    assert stat.S_ISREG(entry.mode), "only a regular file can be mapped"


def test_a_read_is_exactly_what_was_asked_for(served: Served) -> None:
    for offset, size in ranges(len(served.content)):
        assert checked(served.source.read(offset, size), size) == served.content[offset : offset + size]


def test_a_read_that_does_not_wait_gives_the_same_or_nothing(served: Served, kind: str) -> None:
    for offset, size in ranges(len(served.content)):
        data = served.source.try_read(offset, size)
        assert data is not None or kind not in AT_ONCE, "what is in memory needs no waiting thread"
        if data is not None:
            assert checked(data, size) == served.content[offset : offset + size]
        into = bytearray(size)
        filled = served.source.try_fill(offset, memoryview(into))
        assert filled or kind not in AT_ONCE
        assert not filled or into == served.content[offset : offset + size]


@pytest.mark.parametrize("kind", ["device-block", "device-character", "fd-block", "device-entry"], indirect=True)
def test_a_device_is_waited_for_only_by_a_read(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its node lies in memory, on devtmpfs; its bytes do not."""

    real = os.preadv

    def waits(*_: object) -> bytes:
        raise AssertionError("try_read waits")

    def does_not_wait(fd: int, buffers: Any, offset: int, flags: int = 0) -> int:
        assert flags & os.RWF_NOWAIT
        return real(fd, buffers, offset, flags)

    monkeypatch.setattr(os, "pread", waits)
    monkeypatch.setattr(os, "preadv", does_not_wait)
    assert served.source.try_read(0, PAGE_SIZE) in (None, served.content[:PAGE_SIZE])


def test_eight_threads_read_at_once(served: Served) -> None:
    wrong: list[tuple[int, int]] = []
    ready = threading.Barrier(8)

    def read(seed: int) -> None:
        wanted = list(ranges(len(served.content), 25))
        random.Random(seed).shuffle(wanted)
        ready.wait(WITHIN)
        for offset, size in wanted:
            expected = served.content[offset : offset + size]
            quick = served.source.try_read(offset, size)
            if bytes(served.source.read(offset, size)) != expected or (quick is not None and bytes(quick) != expected):
                wrong.append((offset, size))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN)
    assert wrong == []


def test_what_does_not_change_says_so(served: Served) -> None:
    assert served.source.version() == served.source.version()
    hash(served.source.version())
    before = served.source.entry()
    assert served.source.entry() == before, "a new mtime would make the kernel drop the cached pages"


def test_a_backing_descriptor_gives_the_same_bytes(served: Served) -> None:
    fd = served.source.backing_fd
    if fd is None:
        return
    assert not os.get_inheritable(fd)
    for offset, size in ranges(len(served.content), 10):
        assert os.pread(fd, size, offset) == served.content[offset : offset + size]


def test_closing_leaves_nothing_open(place: Place, kind: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    served = KINDS[kind](place)
    if served.content:
        served.source.read(0, 1)
    served.source.close()
    place.stack.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("kind", CAN_SHRINK, indirect=True)
def test_a_backing_that_shrank_is_an_error_and_no_short_read(served: Served, kind: str) -> None:
    assert served.shrink is not None
    size, left = served.source.size, 64 * PAGE_SIZE
    served.source.read(0, size)
    served.shrink(left)
    for offset, wanted in (
        (left, PAGE_SIZE),
        (left - 10, 20),
        (0, size),
        (size - 1, 1),
        (left - PAGE_SIZE, 2 * PAGE_SIZE),
    ):
        with pytest.raises(SourceError, match=f"has no bytes at {max(left, offset)}: it shrank") as caught:
            served.source.read(offset, wanted)
        assert str(caught.value).endswith("or is shorter than its size says")
        with contextlib.suppress(SourceError):
            assert served.source.try_read(offset, wanted) is None
    assert bytes(served.source.read(left - 10, 10)) == served.content[left - 10 : left]
    assert served.source.size == left


@pytest.mark.parametrize("kind", ["file", "shm", "fd", "dir-entry"], indirect=True)
def test_a_change_of_the_content_is_a_new_version(served: Served) -> None:
    before = served.source.version()
    assert served.shrink is not None
    served.shrink(PAGE_SIZE)
    assert served.source.version() != before
    assert served.source.entry().size == PAGE_SIZE


def test_generated_content_reaches_as_far_as_a_file_can(place: Place) -> None:
    most = (1 << 63) - 1
    for spec in ("zero", "pages", "random"):
        source = place.open(f"{spec}:{most}")
        assert source.size == most
        end = source.read(most - 5000, 5000)
        assert checked(end, 5000)[-1000:] == bytes(source.read(most - 1000, 1000))
        source.close()
    number = most // PAGE_SIZE
    pages = place.open(f"pages:{most}")
    assert bytes(pages.read(number * PAGE_SIZE, 8)) == number.to_bytes(8, "little")


def test_seeds_differ(place: Place) -> None:
    assert len({bytes(place.open(f"random:4K,seed={seed}").read(0, 4096)) for seed in range(5)}) == 5


def test_a_disk_of_which_nothing_is_cached_is_read_by_waiting(place: Place) -> None:
    served = of_file(place)
    fd = served.source.backing_fd
    assert fd is not None
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    served.source.try_read(SIZE // 2, PAGE_SIZE)  # None, but who knows what the machine has cached
    assert bytes(served.source.read(SIZE // 2, PAGE_SIZE)) == CONTENT[SIZE // 2 : SIZE // 2 + PAGE_SIZE]
    assert served.source.try_read(SIZE // 2, PAGE_SIZE) == CONTENT[SIZE // 2 : SIZE // 2 + PAGE_SIZE]
    served.source.close()


def test_a_device_without_bytes_is_an_error_and_no_short_read(place: Place) -> None:
    source = place.open("device:/dev/null,size=4K")
    assert source.try_read(0, 4096) is None
    with pytest.raises(SourceError, match="device '/dev/null' has no bytes at 0"):
        source.read(0, 4096)
    source.close()
