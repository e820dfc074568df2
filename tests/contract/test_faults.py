"""Wrappers that break things: delays, errors, corruptions, rates, and tries again."""

import errno
import os
import threading

import pytest

from mapfs.errors import SourceError, SpecError
from mapfs.sources import wrap
from mapfs.sources.base import Source
from mapfs.sources.wrap.inject import Injected, Rules
from mapfs.sources.wrap.rate import Bucket, Rate
from mapfs.sources.wrap.retry import Retry
from mapfs.units import PAGE_SIZE
from tests.contract.places import WITHIN, Place, pages_content, spec_of
from tests.contract.places_wraps import MADE
from tests.contract.watched import Watched


def page(number: int) -> tuple[int, int]:
    return number * PAGE_SIZE, PAGE_SIZE


def made(number: int) -> bytes:
    return pages_content((number + 1) * PAGE_SIZE)[number * PAGE_SIZE :]


def injected(*texts: str, content: bytes = MADE, slow: bool = False) -> tuple[Injected, Watched, Rules]:
    rules, inner = Rules(), Watched(content, slow=slow)
    for text in texts:
        rules.add(text)
    return Injected(inner, rules), inner, rules


def test_a_delay_is_told_by_hold_and_sleeps_nowhere(place: Place) -> None:
    source = place.open("pages:100p,delay=1h@3+5-")
    assert source.backing_fd is None
    for number in (0, 1, 2, 4):
        assert source.try_read(*page(number)) is not None
        assert source.hold(*page(number)) == 0.0
    for number in (3, 5, 99):
        assert source.try_read(*page(number)) is None
        assert source.hold(*page(number)) == 3600.0
        assert bytes(source.read(*page(number))) == made(number), "whoever asks not hold does not wait"
    assert source.try_read(2 * PAGE_SIZE, 2 * PAGE_SIZE) is None, "one of its pages waits, and so does the request"
    source.close()


def test_what_try_read_drew_is_what_hold_says() -> None:
    source, _, _ = injected("delay=1s-2s:50%")
    waited = answered = 0
    for _ in range(400):
        if source.try_read(*page(0)) is None:
            assert 1.0 <= source.hold(*page(0)) <= 2.0
            waited += 1
        else:
            answered += 1
    assert waited > 100
    assert answered > 100


def test_a_source_that_has_to_wait_anyway_is_delayed_as_often_as_was_said() -> None:
    """Drawn once a request: not by try_read and by hold again."""
    source, inner, _ = injected("delay=1s:3x", slow=True)
    inner.holds = 0.5
    held = []
    for number in range(6):
        assert source.try_read(*page(number)) is None
        held.append(source.hold(*page(number)))
    assert held == [1.5, 1.5, 1.5, 0.5, 0.5, 0.5]
    source, _, _ = injected("delay=1s:3x")
    assert [source.hold(*page(0)) for _ in range(5)] == [1.0, 1.0, 1.0, 0.0, 0.0], "hold alone draws too"


def test_several_threads_count_together() -> None:
    source, _, rules = injected("delay=1s:1000x")
    waited: list[int] = []

    def run(number: int) -> None:
        count = 0
        for _ in range(400):
            if source.try_read(*page(number % 2)) is None:
                count += source.hold(*page(number % 2)) == 1.0
        waited.append(count)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN)
    assert sum(waited) == 1000
    assert rules.describe() == []


def test_a_request_that_touches_a_named_page_fails_as_a_whole(place: Place) -> None:
    source = place.open(f"pages:300001,error=EIO@{20}")
    for read in (source.read, source.try_read):
        for offset, size in (page(20), (19 * PAGE_SIZE, 4 * PAGE_SIZE), (20 * PAGE_SIZE + 7, 1)):
            with pytest.raises(SourceError) as caught:
                read(offset, size)
            assert str(caught.value) == "error=EIO was asked for on page 20"
            assert caught.value.errno == errno.EIO
    assert source.try_read(*page(19)) == made(19)
    assert source.read(*page(21)) == made(21)
    source.close()


def test_an_error_that_passes() -> None:
    source, _, _ = injected("error=ENOSPC@2-:2")
    assert source.try_read(*page(1)) is not None
    for _ in range(2):
        with pytest.raises(SourceError, match="error=ENOSPC was asked for on page 5") as caught:
            source.try_read(*page(5))
        assert caught.value.errno == errno.ENOSPC
    assert source.try_read(*page(5)) is not None


def test_a_limit_is_that_of_all_files_of_a_directory(place: Place) -> None:
    place.file("one")
    place.file("two")
    directory = place.directory(spec_of("dir", place.path) + ",error=EIO:3")
    failed = 0
    for name in (b"one", b"two", b"one", b"two", b"one"):
        source = directory.open(name)
        try:
            source.read(0, 1)
        except SourceError:
            failed += 1
        source.close()
    assert failed == 3


def test_writes_fail_by_the_pages_that_are_written() -> None:
    source, inner, rules = injected("write-error=ENOSPC@3")
    source.write(0, b"x" * PAGE_SIZE)
    with pytest.raises(SourceError, match="write-error=ENOSPC was asked for on page 3") as caught:
        source.write(2 * PAGE_SIZE, b"x" * (PAGE_SIZE + 1))
    assert caught.value.errno == errno.ENOSPC
    assert inner.content[2 * PAGE_SIZE : 3 * PAGE_SIZE] == made(2)
    source.flush()
    assert inner.flushed == 1, "fsync(2) is about no page"
    rules.add("write-error=EDQUOT:1")
    with pytest.raises(SourceError, match="write-error=EDQUOT was asked for") as caught:
        source.flush()
    assert caught.value.errno == errno.EDQUOT
    source.flush()
    assert bytes(source.read(*page(3))) == made(3), "reads do not fail"


def test_one_bit_of_each_named_page_is_flipped_whatever_the_request() -> None:
    source, _, _ = injected("corrupt=flip@1-3+73")
    whole = bytes(source.read(0, len(MADE)))
    wrong = [at for at in range(len(MADE)) if whole[at] != MADE[at]]
    assert [at // PAGE_SIZE for at in wrong] == [1, 2, 3, 73], "a short last page has a bit as well"
    assert len(MADE) // PAGE_SIZE == 73
    assert all((whole[at] ^ MADE[at]).bit_count() == 1 for at in wrong)
    for offset, size in [(0, 0), (wrong[0], 1), (wrong[0] + 1, 10), (PAGE_SIZE + 7, 3 * PAGE_SIZE), page(2), page(4)]:
        assert bytes(source.read(offset, size)) == whole[offset : offset + size]
        assert bytes(source.try_read(offset, size) or b"") == whole[offset : offset + size]


def test_whole_pages_of_zeroes_or_noise() -> None:
    source, _, _ = injected("corrupt=zero@1", "corrupt=random@2-")
    whole = bytes(source.read(0, len(MADE)))
    assert len(whole) == len(MADE) == source.size
    assert whole[:PAGE_SIZE] == MADE[:PAGE_SIZE]
    assert whole[PAGE_SIZE : 2 * PAGE_SIZE] == bytes(PAGE_SIZE)
    assert whole[2 * PAGE_SIZE : 3 * PAGE_SIZE] != made(2)
    assert whole[2 * PAGE_SIZE : 3 * PAGE_SIZE] != whole[3 * PAGE_SIZE : 4 * PAGE_SIZE]
    assert bytes(source.read(PAGE_SIZE + 10, 2 * PAGE_SIZE)) == whole[PAGE_SIZE + 10 : 3 * PAGE_SIZE + 10]


def test_rules_change_while_they_are_in_use() -> None:
    rules = Rules()
    sources = [Injected(Watched(MADE), rules) for _ in range(3)]
    assert all(source.try_read(*page(0)) == made(0) for source in sources)
    rules.add("error=EIO@0:2x")
    rules.add("delay=1s@1")
    rules.add("write-error=ENOSPC:0.5")
    assert rules.describe() == ["error=EIO@0:2x", "delay=1s@1", "write-error=ENOSPC:0.5"]
    for source in sources[:1]:
        with pytest.raises(SourceError):
            source.read(0, 1)
    assert rules.describe() == ["error=EIO@0:1x", "delay=1s@1", "write-error=ENOSPC:0.5"]
    assert sources[2].try_read(*page(1)) is None
    rules.clear()
    assert rules.describe() == []
    assert sources[2].hold(*page(1)) == 0.0, "drawn before they were cleared"
    assert all(source.try_read(0, 2 * PAGE_SIZE) == MADE[: 2 * PAGE_SIZE] for source in sources)


def test_a_caller_who_never_asks_hold_costs_no_memory() -> None:
    source, _, _ = injected("delay=1s")
    for number in range(5000):
        assert source.try_read(number, 1) is None
    assert len(source._drawn) <= 1024
    assert source.hold(0, 1) == 1.0


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_rate_is_kept_by_putting_off() -> None:
    clock = Clock()
    bucket = Bucket(4 * PAGE_SIZE, clock)
    one, other = Rate(Watched(MADE), bucket), Rate(Watched(MADE), bucket)
    assert one.try_read(*page(0)) is not None, "a quarter of a second may come at once"
    assert other.try_read(*page(1)) is None, "the bucket is shared"
    assert [one.hold(*page(1)), other.hold(*page(2))] == [0.25, 0.5]
    clock.now += 0.5
    assert one.try_read(*page(3)) is None
    clock.now += 0.25
    assert one.try_read(*page(3)) is not None
    clock.now += 1000
    assert one.try_read(*page(3)) is not None
    assert one.try_read(*page(4)) is None, "what was not used for long is not saved up"
    assert one.hold(0, 40 * PAGE_SIZE) == 10.0
    assert bytes(one.read(*page(9))) == made(9)


def test_what_was_not_answered_costs_nothing() -> None:
    clock = Clock()
    source = Rate(Watched(MADE, slow=True), Bucket(4 * PAGE_SIZE, clock))
    for _ in range(10):
        assert source.try_read(*page(0)) is None
    assert source.hold(*page(0)) == 0.0
    assert source.hold(*page(0)) == 0.25


def test_reads_are_tried_again_with_longer_and_longer_pauses() -> None:
    pauses: list[float] = []
    inner = Watched(MADE)
    source = Retry(inner, 3, 0.1, pauses.append)
    inner.failing = [errno.EIO, errno.ETIMEDOUT, errno.EIO]
    assert source.read(*page(0)) == made(0)
    assert pauses == [0.1, 0.2, 0.4]
    inner.failing = [errno.ETIMEDOUT] * 4
    with pytest.raises(SourceError) as caught:
        source.read(*page(0))
    assert (str(caught.value), caught.value.errno) == ("it fails (tried 4 times)", errno.ETIMEDOUT)
    inner.failing = [errno.EIO]
    assert source.try_read(*page(0)) is None, "what failed without waiting is tried again by one that may"
    assert source.read(*page(0)) == made(0)


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENXIO, errno.EINVAL, errno.ESTALE, errno.ENOENT, errno.EACCES, errno.EPERM])  # fmt: skip
def test_what_no_other_try_can_mend_fails_at_once(number: int) -> None:
    inner = Watched(MADE)
    source = Retry(inner, 3, 0.1, lambda _: pytest.fail("it waited"))
    inner.failing = [number, number]
    for read in (source.read, source.try_read):
        with pytest.raises(SourceError, match="^it fails$"):
            read(0, 1)


def test_tries_end_within_a_minute() -> None:
    pauses: list[float] = []
    inner = Watched(MADE)
    inner.failing = [errno.EIO] * 200
    with pytest.raises(SourceError, match=r"\(tried \d+ times\)"):
        Retry(inner, 100, 10.0, pauses.append).read(0, 1)
    assert pauses == [10.0] * 6


def test_errors_of_the_system_are_tried_again_and_defects_are_not() -> None:
    class Odd(Watched):
        error: Exception = OSError(errno.EIO, "x")

        def read(self, offset: int, size: int) -> bytes:
            raise self.error

    inner = Odd(MADE)
    pauses: list[float] = []
    with pytest.raises(SourceError, match=f"^{os.strerror(errno.EIO)} \\(tried 2 times\\)$"):
        Retry(inner, 1, 0.5, pauses.append).read(0, 1)
    inner.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        Retry(inner, 1, 0.5, pauses.append).read(0, 1)
    assert pauses == [0.5]


NO_VALUE = [
    ("rate", None, "rate= needs bytes a second, as in rate=10M"),
    ("rate", "fast", "'fast' is not a size; write 4096, 64K, 1.5G or 3p (pages)"),
    ("rate", "1000", "rate=1000 is too slow; the slowest is 1K a second"),
    ("retry", None, "retry= is no number of times from 1 to 100, as in retry=3 or retry=3:100ms"),
    ("retry", "0", "retry=0 is no number of times from 1 to 100, as in retry=3 or retry=3:100ms"),
    ("retry", "1000", "retry=1000 is no number of times from 1 to 100, as in retry=3 or retry=3:100ms"),
    ("retry", "3:11s", "retry=3:11s has too long a first pause; the longest is 10s"),
    ("retry", "3:", "'' is not a time; write 20ms, 1.5s or 2m"),
    ("delay", None, "delay= needs a value, as in delay=20ms or delay=20ms@3+5-9:25%"),
    ("write-error", "", "write-error= needs a value, as in write-error=ENOSPC or write-error=ENOSPC@3+5-9:25%"),
    ("slice", None, "slice= is not OFFSET+SIZE, as in slice=4K+64K"),
    ("slice", "4K", "slice=4K is not OFFSET+SIZE, as in slice=4K+64K"),
    ("slice", "4K+x", "'x' is not a size; write 4096, 64K, 1.5G or 3p (pages)"),
    ("truncate", None, "truncate= needs a size, as in truncate=64K"),
    ("truncate", "-1", "'-1' is not a size; write 4096, 64K, 1.5G or 3p (pages)"),
    ("cache", None, "cache= needs a size, as in cache=64M, cache=64M/256K or cache=1G:/var/tmp"),
    ("cache", ":/tmp", "cache= needs a size, as in cache=64M, cache=64M/256K or cache=1G:/var/tmp"),
    ("cache", "1M/", "'' is not a size; write 4096, 64K, 1.5G or 3p (pages)"),
    ("cache", "1M/12K", "cache=1M/12K has blocks of 12288 bytes; they must be a power of two and at least a page"),
    ("cache", "1M/1K", "cache=1M/1K has blocks of 1024 bytes; they must be a power of two and at least a page"),
    ("cache", "60K", "cache=60K has no room for a block of 65536 bytes; write cache=65536 or more"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "sentence"), NO_VALUE, ids=[f"{name}={value}" for name, value, _ in NO_VALUE]
)
def test_a_value_that_makes_no_sense(place: Place, name: str, value: str | None, sentence: str) -> None:
    spec = f"zero:1M,{name}" if value is None else f"zero:1M,{name}={value}"
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(SpecError) as caught:
        place.open(spec)
    assert str(caught.value) == sentence
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("spec", "sentence", "number"),
    [
        ("zero:64K,slice=4K+64K", "slice=4K+64K does not lie within the 65536 bytes that there are", errno.EINVAL),
        ("zero:1M,cow=/missing", "cow= cannot make a file in '/missing': No such file or directory; name a directory that can be written", errno.ENOENT),
        ("zero:1M,cache=1M:/dev/null", "cache= cannot make a file in '/dev/null': Not a directory; name a directory that can be written", errno.ENOTDIR),
    ],
)  # fmt: skip
def test_what_cannot_be_had(place: Place, spec: str, sentence: str, number: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(SourceError) as caught:
        place.open(spec)
    assert (str(caught.value), caught.value.errno) == (sentence, number)
    assert len(os.listdir("/proc/self/fd")) == before


def test_every_wrapper_closes_what_it_is_around_once(place: Place) -> None:
    values = {"delay": "1ms", "error": "EIO", "write-error": "EIO", "corrupt": "flip", "rate": "1M", "retry": "1",
              "cache": "64K", "cow": None, "slice": "0+1", "truncate": "1"}  # fmt: skip
    assert set(values) == set(wrap.WRAPPERS)
    for name, value in values.items():
        inner = Watched(MADE)
        source: Source = wrap.maker(name, value)(inner)
        assert source.backing_fd is None, name
        source.refresh()
        assert inner.refreshed == 1, name
        assert source.versioned, name
        assert source.writable == (name != "truncate"), name
        source.close()
        assert inner.closed == 1, name
