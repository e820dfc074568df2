"""What was served, and what has changed since: against a model of the page cache."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapfs.sources.wrap.served import Digests, Served, _hash
from mapfs.testing import FakeSource
from mapfs.units import PAGE_SIZE

PAGES = 600  # more than two chunks


def served(content: bytes) -> tuple[Served, FakeSource]:
    fake = FakeSource(content)
    fake.writable = True
    return Served(fake, Digests()), fake


def page(number: int, fill: int) -> bytes:
    return bytes([fill]) * PAGE_SIZE


def test_a_change_of_a_served_page_is_told_once_and_of_another_never() -> None:
    source, fake = served(bytes(PAGES * PAGE_SIZE))
    for number in range(0, PAGES, 2):
        source.read(number * PAGE_SIZE, PAGE_SIZE)
    assert list(source.changes()) == []
    content = bytearray(fake.content)
    for number in (3, 4, 300, 301, 598):
        content[number * PAGE_SIZE + 7] = 1
    fake.content = bytes(content)
    changed = list(source.changes())
    assert [number for number, _ in changed] == [4, 300, 598]
    assert all(data == fake.content[n * PAGE_SIZE : (n + 1) * PAGE_SIZE] for n, data in changed)
    assert list(source.changes()) == []
    fake.content = bytes(PAGES * PAGE_SIZE)  # back to what it was
    assert [number for number, _ in source.changes()] == [4, 300, 598]


def test_a_page_that_is_served_between_two_changes_is_compared_with_what_was_served() -> None:
    """A and A again when it is looked at, B when it was served: only its own hash tells."""
    source, fake = served(bytes(256 * PAGE_SIZE))
    for number in range(200):
        source.read(number * PAGE_SIZE, PAGE_SIZE)
    assert list(source.changes()) == []
    fake.content = bytes(220 * PAGE_SIZE) + page(220, 1) + bytes(35 * PAGE_SIZE)
    source.read(220 * PAGE_SIZE, PAGE_SIZE)
    fake.content = bytes(256 * PAGE_SIZE)
    assert [number for number, _ in source.changes()] == [220]


def test_what_is_served_while_its_chunk_is_compared_is_compared_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pager has read the page before it changed, and says so when the chunk was read anew."""
    source, fake = served(bytes(256 * PAGE_SIZE))
    for number in range(200):
        source.read(number * PAGE_SIZE, PAGE_SIZE)
    assert list(source.changes()) == []
    old, now = _hash(page(0, 0)), source._now

    def meanwhile(first: int, count: int, same: bool) -> bytes | None:
        data = now(first, count, same)
        source.digests.set(220, old)
        return data

    fake.content = bytes(220 * PAGE_SIZE) + page(220, 1) + bytes(35 * PAGE_SIZE)
    with monkeypatch.context() as patched:
        patched.setattr(source, "_now", meanwhile)
        assert list(source.changes()) == []
    assert [number for number, _ in source.changes()] == [220]


def test_what_was_read_twice_with_two_contents_is_suspect() -> None:
    source, fake = served(bytes(4 * PAGE_SIZE))
    source.read(PAGE_SIZE, PAGE_SIZE)
    fake.content = page(0, 1) * 4
    source.read(PAGE_SIZE, PAGE_SIZE)  # past the page cache, or into it: nobody can tell
    assert [number for number, _ in source.changes()] == [1]
    assert list(source.changes()) == []


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_own_writes_are_no_changes_and_others_are(data: st.DataObject) -> None:
    """The page cache of a kernel that reads, writes through, and is told what changed, never stays behind."""
    size = data.draw(st.integers(1, 5 * PAGE_SIZE))
    source, fake = served(random.Random(size).randbytes(size))
    cache: dict[int, bytes] = {}

    def cached(number: int) -> bytes:
        if number not in cache:
            length = min(PAGE_SIZE, source.size - number * PAGE_SIZE)
            cache[number] = bytes(source.read(number * PAGE_SIZE, length))
        return cache[number]

    for turn in range(data.draw(st.integers(1, 12))):
        what = data.draw(st.sampled_from(["read", "write", "outside", "resize", "look"]))
        if what == "read" and source.size:
            cached(data.draw(st.integers(0, (source.size - 1) // PAGE_SIZE)))
        elif what == "write":  # as write(2) does: through the pages that are cached, of those that it covers whole, too
            offset = data.draw(st.integers(0, source.size + PAGE_SIZE))
            text = bytes([turn + 1]) * data.draw(st.integers(1, 2 * PAGE_SIZE))
            old, end = source.size, max(source.size, offset + len(text))
            source.write(offset, text)
            for number in range(-(-end // PAGE_SIZE)):
                start, stop = number * PAGE_SIZE, min((number + 1) * PAGE_SIZE, end)
                whole = offset <= start and offset + len(text) >= stop
                if number in cache or whole:
                    before = bytearray(cache.get(number, b"").ljust(stop - start, b"\0"))
                    low, high = max(offset, start), min(offset + len(text), stop)
                    if low < high:
                        before[low - start : high - start] = text[low - offset : high - offset]
                    cache[number] = bytes(before)
            assert source.size == max(old, end)
        elif what == "outside" and fake.content:
            content = bytearray(fake.content)
            content[data.draw(st.integers(0, len(content) - 1))] ^= 0xFF
            fake.content = bytes(content)
        elif what == "resize":
            wanted = data.draw(st.integers(0, 5 * PAGE_SIZE))
            source.resize(wanted)
            for number in list(cache):
                start = number * PAGE_SIZE
                if start >= wanted:
                    del cache[number]
                else:
                    cache[number] = cache[number][: wanted - start].ljust(min(PAGE_SIZE, wanted - start), b"\0")
        elif what == "look":
            cache.update(source.changes())
            for number, kept in cache.items():
                assert kept == fake.content[number * PAGE_SIZE : (number + 1) * PAGE_SIZE], number
    cache.update(source.changes())
    assert all(cache[n] == fake.content[n * PAGE_SIZE : (n + 1) * PAGE_SIZE] for n in cache)
    assert list(source.changes()) == []
