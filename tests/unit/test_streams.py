"""How a thread is followed through a file: by its demands, and by what evidence saw of what was pushed for it."""

from mapfs.fuse.ahead import Ahead
from mapfs.fuse.notifier import Notifier
from mapfs.fuse.streams import Stream
from mapfs.trace.facts import HeldBackFact, PassedBy
from tests.unit.test_ring import made


def pushing(until: int = 5) -> Stream:
    """One that demanded the pages up to `until`, behind which a window of 8 pages was pushed."""
    stream = Stream(1, 1)
    for page in range(1, until):
        stream.demands(page, page + 1)
    assert stream.run >= stream.needed
    assert stream.grow(until, 8, 64) == 8
    stream.next = stream.end = until + 8
    return stream


def reached(stream: Stream, first: int, most: int = 200) -> int:
    """How many demands, one page after the other, it takes until something is to be pushed."""
    for page in range(first, first + most):
        if stream.demands(page, page + 1):
            return page - first + 1
    return 0


def test_four_demands_in_a_row_and_windows_double() -> None:
    stream = Stream(1, 1)
    assert [stream.demands(page, page + 1) for page in range(1, 6)] == [False, False, False, True, True]
    assert [stream.grow(6, 8, 30) for _ in range(3)] == [8, 16, 30]


def test_demands_a_little_further_on_are_forward_and_others_are_not() -> None:
    stream = Stream(1, 1)
    assert [stream.demands(page, page + 1) for page in (33, 66, 99, 132)] == [False, False, False, True]
    assert not stream.demands(200, 201) and stream.run == 0
    assert not stream.demands(150, 151) and stream.run == 0


def test_held_back_it_takes_demands_without_a_gap_until_something_is_pushed() -> None:
    stream = pushing()
    assert stream.demands(13, 14)
    assert stream.hold_back(5)
    assert not any(stream.demands(page, page + 1) for page in range(45, 2000, 32)), "a stride shows that it is one"
    assert reached(stream, 2000) == 9  # the first is the end of the stride
    assert stream.grow(2009, 8, 64) == 8, "windows begin small"


def test_held_back_twice_it_takes_twice_as_many_and_no_more_than_64() -> None:
    stream = pushing()
    for needed in (8, 16, 32, 64, 64):
        stream.demands(stream.next, stream.next + 1)
        stream.needed = max(stream.needed, needed // 2)
        assert stream.hold_back(stream.began)
        assert stream.needed == needed
        reached(stream, stream.last)
        stream.grow(stream.last, 8, 64)
        stream.next = stream.last + 8


def test_who_goes_on_behind_its_windows_is_followed_as_before() -> None:
    stream = pushing()
    stream.demands(13, 14)
    assert stream.hold_back(5)
    assert reached(stream, 14) == 8
    stream.grow(22, 8, 64)
    stream.next = 30
    assert stream.demands(30, 31) and stream.needed == 4
    stream.window, stream.next = 16, 46
    assert stream.demands(50, 51), "a little further on is forward again"


def test_what_is_told_late_holds_nobody_back() -> None:
    stream = pushing()
    assert not stream.hold_back(4), "of windows before the ones that are pushed now"
    assert not stream.hold_back(13), "of pages that the thread has not come to"
    stream.demands(500, 501)
    assert not stream.hold_back(5), "nothing is pushed any more"
    assert (stream.needed, stream.near) == (8, 32)


def test_what_is_told_of_a_file_that_nobody_has_open_any_more_is_dropped() -> None:
    told: list[HeldBackFact] = []
    with made() as ring:
        Ahead(Notifier(ring), 0, told.append).passed(PassedBy(inode=7, tid=1, first=0, pushed=63, untouched=63))
    assert told == []
