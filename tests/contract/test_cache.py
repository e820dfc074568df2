"""The cache: one fetch a block, nothing stale, never more than was allowed; and stacks of wrappers."""

import errno
import os
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapfs.errors import SourceError
from mapfs.sources.wrap.cache import Cache
from mapfs.sources.wrap.cow import CopyOnWrite
from mapfs.sources.wrap.inject import Injected, Rules
from mapfs.sources.wrap.slice import Slice
from mapfs.sources.wrap.storage import in_memory, unnamed_file
from mapfs.sources.wrap.truncate import Truncate
from mapfs.units import PAGE_SIZE
from tests.contract.places import CONTENT, WITHIN, Place, spec_of
from tests.contract.places_wraps import MADE
from tests.contract.watched import Watched
from tests.support import wait_until

BLOCK = 2 * PAGE_SIZE
MANY = 64 * BLOCK


def cache_of(content: bytes = CONTENT[:MANY], *, size: int = 1 << 20, slow: bool = True) -> tuple[Cache, Watched]:
    inner = Watched(content, slow=slow)
    return Cache(inner, in_memory("cache"), size, BLOCK), inner


def together(count: int, run: "object") -> None:
    assert callable(run)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN)
        assert not thread.is_alive()


def test_each_block_is_fetched_once_by_eight_threads() -> None:
    cache, inner = cache_of()
    ready = threading.Barrier(8)
    wrong: list[int] = []

    def read(own: int) -> None:
        ready.wait(WITHIN)
        for at in range(64):
            block = (at + own % 2 * 32) % 64
            data = bytes(cache.read(block * BLOCK + own, PAGE_SIZE))
            if data != CONTENT[block * BLOCK + own :][:PAGE_SIZE]:
                wrong.append(block)

    together(8, read)
    assert wrong == []
    assert inner.asked("read") == {(block * BLOCK, BLOCK): 1 for block in range(64)}
    assert (cache.misses, cache.hits, cache.bytes) == (64, 7 * 64, MANY)
    cache.close()


def test_who_comes_while_a_block_is_fetched_waits_for_it() -> None:
    cache, inner = cache_of()
    inner.gate = threading.Event()
    got: list[bytes] = []
    threads = [threading.Thread(target=lambda: got.append(bytes(cache.read(0, 10)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: inner.asked("read").total() == 1, "the fetch")
    assert cache.try_read(0, 10) is None
    assert cache.hold(0, 10) == 0.0
    assert not inner.asked("hold"), "it is on its way already"
    inner.gate.set()
    for thread in threads:
        thread.join(WITHIN)
    assert got == [CONTENT[:10]] * 8
    assert inner.asked("read").total() == 1
    assert cache.try_read(0, BLOCK) == CONTENT[:BLOCK]
    cache.close()


def test_neighbours_are_fetched_by_one_read() -> None:
    cache, inner = cache_of()
    cache.read(3 * BLOCK, 1)
    cache.read(BLOCK + 1, 4 * BLOCK)
    assert inner.asked("read") == {(3 * BLOCK, BLOCK): 1, (BLOCK, 2 * BLOCK): 1, (4 * BLOCK, 2 * BLOCK): 1}
    assert cache.try_read(BLOCK, 5 * BLOCK) == CONTENT[BLOCK : 6 * BLOCK]
    assert (cache.misses, cache.hits) == (5, 6)
    cache.close()


def test_a_failed_fetch_keeps_nothing_and_everybody_is_told() -> None:
    cache, inner = cache_of()
    inner.gate = threading.Event()
    inner.failing = [errno.ETIMEDOUT]
    failed: list[tuple[str, int]] = []

    def read() -> None:
        with pytest.raises(SourceError) as caught:
            cache.read(0, 10)
        failed.append((str(caught.value), caught.value.errno))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: inner.asked("read").total() == 1, "the fetch")
    wait_until(lambda: len(cache._blocks._flights) == 1, "the flight")
    # those who wait cannot be seen to wait; whoever comes late would fetch, and not fail, for only one read fails
    inner.failing = [errno.ETIMEDOUT] * 3
    inner.gate.set()
    for thread in threads:
        thread.join(WITHIN)
    inner.failing = []
    assert failed == [("it fails", errno.ETIMEDOUT)] * 3
    assert cache.bytes == cache.misses == 0
    assert cache.read(0, 10) == CONTENT[:10]
    cache.close()


@pytest.mark.parametrize("where", ["memory", "file"])
def test_it_never_keeps_more_than_it_may(tmp_path: Path, where: str) -> None:
    store = in_memory("cache") if where == "memory" else unnamed_file("cache", str(tmp_path))
    cache = Cache(Watched(CONTENT[:MANY], slow=True), store, 4 * BLOCK + 100, BLOCK)
    for block in range(64):
        assert cache.read(block * BLOCK, BLOCK) == CONTENT[block * BLOCK : (block + 1) * BLOCK]
        assert cache.bytes <= 4 * BLOCK
        assert store.size <= 4 * BLOCK
    assert cache.try_read(63 * BLOCK, 1) is not None
    assert cache.try_read(59 * BLOCK, 1) is None
    assert bytes(cache.read(0, MANY)) == CONTENT[:MANY], "more at once than it may keep"
    cache.close()


def test_the_least_recently_used_goes_first() -> None:
    cache, inner = cache_of(size=3 * BLOCK)
    for block in (0, 1, 2, 0, 3):
        cache.read(block * BLOCK, 1)
    assert cache.try_read(0, 1) is not None
    assert cache.try_read(BLOCK, 1) is None
    assert inner.asked("read") == Counter({(block * BLOCK, BLOCK): 1 for block in range(4)})
    cache.close()


def test_eviction_under_many_readers_gives_nobody_another_block() -> None:
    cache, _ = cache_of(size=3 * BLOCK)
    wrong: list[int] = []

    def read(own: int) -> None:
        for at in range(600):
            block = (at * (own + 3)) % 64
            for data in (cache.read(block * BLOCK, BLOCK), cache.try_read(block * BLOCK, BLOCK)):
                right = data is None or bytes(data) == CONTENT[block * BLOCK : (block + 1) * BLOCK]
                wrong.extend([] if right else [block])

    together(8, read)
    assert wrong == []
    assert cache.bytes <= 3 * BLOCK
    cache.close()


def test_another_version_empties_it() -> None:
    cache, inner = cache_of()
    cache.read(0, 4 * BLOCK)
    inner.content[:10] = b"0123456789"
    assert cache.try_read(0, 10) == CONTENT[:10], "nothing said that it changed"
    inner.changed += 1
    assert cache.try_read(0, 10) is None
    assert cache.bytes == 0
    assert cache.read(0, 10) == b"0123456789"
    del inner.content[BLOCK + 10 :]
    inner.changed += 1
    assert cache.read(BLOCK, 10) == CONTENT[BLOCK : BLOCK + 10]
    with pytest.raises(SourceError):
        cache.read(BLOCK, 11)
    assert cache.size == BLOCK + 10
    cache.close()


def test_what_was_fetched_before_a_change_is_not_kept() -> None:
    cache, inner = cache_of()
    inner.gate = threading.Event()
    thread = threading.Thread(target=lambda: cache.read(0, 10))
    thread.start()
    wait_until(lambda: inner.asked("read").total() == 1, "the fetch")
    cache.write(0, b"new")
    inner.gate.set()
    thread.join(WITHIN)
    assert cache.bytes == 0
    assert cache.read(0, 3) == b"new"
    cache.close()


def test_writes_go_through_and_drop_their_blocks_alone() -> None:
    cache, inner = cache_of()
    cache.read(0, 8 * BLOCK)
    cache.write(2 * BLOCK - 1, b"ab")
    assert inner.content[2 * BLOCK - 1 : 2 * BLOCK + 1] == b"ab"
    assert cache.bytes == 6 * BLOCK
    assert cache.try_read(BLOCK, BLOCK) is None
    assert cache.try_read(3 * BLOCK, BLOCK) is not None
    assert cache.read(2 * BLOCK - 1, 2) == b"ab"
    cache.resize(5 * BLOCK + 1)
    assert cache.try_read(5 * BLOCK, 1) is None
    assert cache.try_read(4 * BLOCK, BLOCK) is not None
    cache.write(7 * BLOCK, b"end")
    assert cache.size == 7 * BLOCK + 3
    assert cache.read(5 * BLOCK, 2 * BLOCK + 3) == CONTENT[5 * BLOCK :][:1] + bytes(2 * BLOCK - 1) + b"end"
    cache.close()


@settings(deadline=None)
@given(st.integers(0, 5 * BLOCK), st.lists(st.tuples(st.sampled_from(["read", "write", "resize"]), st.integers(0, 6 * BLOCK), st.integers(0, 2 * BLOCK)), max_size=25))  # fmt: skip
def test_it_gives_what_the_source_inside_has(size: int, steps: list[tuple[str, int, int]]) -> None:
    cache, inner = cache_of(CONTENT[:size], size=3 * BLOCK)
    model = bytearray(CONTENT[:size])
    for what, offset, extent in steps:
        if what == "read":
            offset = min(offset, len(model))
            extent = min(extent, len(model) - offset)
            quick = cache.try_read(offset, extent)
            assert quick is None or bytes(quick) == model[offset : offset + extent]
            assert bytes(cache.read(offset, extent)) == model[offset : offset + extent]
        elif what == "write" and extent:
            cache.write(offset, b"w" * extent)
            model.extend(bytes(max(0, offset - len(model))))
            model[offset : offset + extent] = b"w" * extent
        elif what == "resize":
            cache.resize(offset)
            model.extend(bytes(max(0, offset - len(model))))
            del model[offset:]
    assert inner.content == model
    cache.close()


def test_only_misses_are_put_off_and_a_block_once() -> None:
    cache, inner = cache_of()
    inner.holds = 5.0
    assert cache.hold(0, 2 * BLOCK) == 5.0
    assert inner.asked("hold") == {(0, 2 * BLOCK): 1}
    assert 4.0 < cache.hold(BLOCK, BLOCK) <= 5.0, "what is left of the first wait"
    assert inner.asked("hold").total() == 1
    cache.read(0, 2 * BLOCK)
    assert cache.hold(0, 2 * BLOCK) == 0.0
    assert cache.hold(BLOCK, 2 * BLOCK) == 5.0
    assert inner.asked("hold") == {(0, 2 * BLOCK): 1, (2 * BLOCK, BLOCK): 1}
    cache.close()


def test_a_store_that_fails_costs_a_fetch_and_no_error(tmp_path: Path) -> None:
    store = unnamed_file("cache", str(tmp_path))
    cache = Cache(Watched(CONTENT[:MANY], slow=True), store, 1 << 20, BLOCK)
    cache.read(0, BLOCK)
    os.truncate(store.fd, 0)
    assert cache.try_read(0, 10) is None
    assert cache.read(0, 10) == CONTENT[:10]
    assert cache.try_read(0, 10) == CONTENT[:10]
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, store.fd, inheritable=False)
    os.close(full)
    assert cache.read(5 * BLOCK, 10) == CONTENT[5 * BLOCK :][:10], "what cannot be kept is given all the same"
    cache.close()


def test_a_source_that_gives_too_little_is_not_kept() -> None:
    class Short(Watched):
        def read(self, offset: int, size: int) -> bytes:
            return super().read(offset, size)[:-1]

    cache = Cache(Short(CONTENT[:MANY], slow=True), in_memory("cache"), 1 << 20, BLOCK)
    with pytest.raises(SourceError, match=f"the source gave {BLOCK - 1} bytes where {BLOCK} were asked for"):
        cache.read(0, 1)
    assert cache.bytes == 0
    cache.close()


def test_a_slice_of_a_cache_of_what_is_slow() -> None:
    rules = Rules()
    inner = Watched(CONTENT[:MANY])
    cache = Cache(Injected(inner, rules), in_memory("cache"), 1 << 20, BLOCK)
    source = Slice(cache, BLOCK + 5, 10 * BLOCK)
    rules.add("delay=2s@4-5")  # block 2 of the source, the second of the slice
    assert source.try_read(0, 10) is None
    assert source.hold(0, 10) == 0.0
    assert source.hold(BLOCK, 10) == 2.0
    assert source.read(BLOCK, 10) == CONTENT[2 * BLOCK + 5 :][:10]
    assert source.hold(BLOCK, 10) == 0.0
    assert source.try_read(BLOCK, 10) == CONTENT[2 * BLOCK + 5 :][:10], "it is delayed once: it is kept now"
    source.write(BLOCK, b"abc")
    assert inner.content[2 * BLOCK + 5 :][:3] == b"abc"
    assert source.try_read(BLOCK, 10) is None
    rules.clear()
    assert source.read(BLOCK, 3) == b"abc"
    assert (source.size, source.entry().size) == (10 * BLOCK, 10 * BLOCK)
    with pytest.raises(SourceError, match=f"a slice has a fixed size and ends before {10 * BLOCK + 1}") as caught:
        source.write(10 * BLOCK - 1, b"ab")
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(SourceError, match="a slice has a fixed size; write into it only"):
        source.resize(5)
    source.resize(10 * BLOCK)
    version = source.version()
    inner.resize(2 * BLOCK)
    assert source.version() != version
    assert source.size == BLOCK - 5
    source.close()
    assert inner.closed == 1


def test_a_slice_of_a_file_punches_and_seeks_within_itself(place: Place) -> None:
    path = place.file()
    source = place.open(spec_of("file", path) + f",rw,slice={PAGE_SIZE}+{4 * PAGE_SIZE}")
    assert source.writable
    source.allocate(3, 2 * PAGE_SIZE, 100 * PAGE_SIZE)
    wanted = CONTENT[: 3 * PAGE_SIZE] + bytes(2 * PAGE_SIZE) + CONTENT[5 * PAGE_SIZE :]
    assert path.read_bytes() == wanted
    assert source.seek(0, os.SEEK_HOLE) in (2 * PAGE_SIZE, 4 * PAGE_SIZE)
    assert source.seek(0, os.SEEK_DATA) == 0
    for mode in (8, 32):
        with pytest.raises(SourceError, match="a slice has a fixed size: nothing can be shifted in it"):
            source.allocate(mode, 0, PAGE_SIZE)
    with pytest.raises(SourceError, match=f"a slice has a fixed size and ends before {5 * PAGE_SIZE}"):
        source.allocate(0, PAGE_SIZE, 4 * PAGE_SIZE)
    with pytest.raises(SourceError, match="there is nothing at or past the end"):
        source.seek(4 * PAGE_SIZE, os.SEEK_HOLE)
    source.flush()
    source.close()


def test_a_hole_that_ends_a_slice(place: Place) -> None:
    path = place.path / "sparse"
    with path.open("wb") as file:
        file.write(b"x" * PAGE_SIZE)
        file.seek(12 * PAGE_SIZE)
        file.write(b"x" * 4 * PAGE_SIZE)
    source = place.open(f"file:{path},slice={PAGE_SIZE}+{4 * PAGE_SIZE}")
    longer = place.open(f"file:{path},truncate={4 * PAGE_SIZE}")
    for one, offset in ((source, 0), (longer, PAGE_SIZE)):
        assert one.seek(offset, os.SEEK_HOLE) == offset
        with pytest.raises(SourceError, match="there is no data before the end") as caught:
            one.seek(offset, os.SEEK_DATA)
        assert caught.value.errno == errno.ENXIO
        one.close()


def test_zeroes_behind_a_file_are_a_hole() -> None:
    source = Truncate(Watched(MADE), 400_000)
    assert (source.size, source.entry().size) == (400_000, 400_000)
    assert source.seek(5, os.SEEK_DATA) == 5
    assert source.seek(5, os.SEEK_HOLE) == len(MADE)
    assert source.seek(350_000, os.SEEK_HOLE) == 350_000
    with pytest.raises(SourceError):
        source.seek(350_000, os.SEEK_DATA)
    for change in (lambda: source.write(0, b"x"), lambda: source.resize(5), lambda: source.allocate(0, 0, 1)):
        with pytest.raises(SourceError, match="truncate= is read-only; put cow behind it") as caught:
            change()  # type: ignore[no-untyped-call] # a lambda
        assert caught.value.errno == errno.EROFS
    assert not source.writable
    assert not source.entry().mode & 0o222
    source.close()


def test_the_zeroes_follow_what_the_file_does() -> None:
    inner = Watched(b"x" * 100)
    source = Truncate(inner, 200)
    version = source.version()
    assert source.read(90, 20) == b"x" * 10 + bytes(10)
    inner.resize(95)
    assert source.version() != version
    assert source.read(90, 20) == source.try_read(90, 20) == b"x" * 5 + bytes(15)
    inner.write(0, b"y" * 300)
    assert source.read(90, 110) == b"y" * 110
    inner.holds = 3.0
    assert source.hold(0, 200) == 3.0
    inner.resize(0)
    assert source.hold(0, 200) == 0.0
    source.close()


def test_a_copy_of_what_is_cut_off_can_be_written(place: Place) -> None:
    source = place.open("pages:300001,truncate=1M,cow")
    assert isinstance(source, CopyOnWrite)
    source.write(500_000, b"here")
    assert bytes(source.read(499_999, 6)) == b"\0here\0"
    assert bytes(source.read(0, len(MADE))) == MADE
    assert source.entry().mode & 0o222 == 0o222
    with pytest.raises(SourceError, match="is read-only"):
        source.commit()
    source.close()
