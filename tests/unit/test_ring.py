"""The ring: what is written is delivered or counted as lost, exactly."""

import os
import select
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapfs.trace.ring import DIRECT, Reader, Record, Ring

SLOTS = 16
STEPS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), max_size=20)


@contextmanager
def made(slots: int = SLOTS) -> Iterator[Ring]:
    ring = Ring(slots)
    try:
        yield ring
    finally:
        os.close(ring.wake)
        ring.memory.close()


@pytest.fixture
def ring() -> Iterator[Ring]:
    with made() as ring:
        yield ring


def put(ring: Ring, number: int, writer: int = 0) -> None:
    """A record whose fields all follow from `number` and `writer`."""
    ring.append(
        number, number + 1, number << 20, number * 3, number % 4097, number % 101, writer, writer + 7, 1, 1, 5, 9
    )


def whole(record: Record) -> bool:
    """Whether all fields come from one `put`."""
    number, writer = record.time_ns, record.thread
    expected = (
        number,
        number + 1,
        number << 20,
        number * 3,
        number % 4097,
        number % 101,
        writer,
        writer + 7,
        1,
        1,
        5,
        9,
    )
    return record[:-1] == expected


def append(ring: Ring, count: int) -> None:
    for number in range(count):
        put(ring, number)


def serials(records: list[Record]) -> list[int]:
    return [record.serial for record in records]


def drain(reader: Reader, most: int = 8192) -> list[Record]:
    """All that is left when no writer is."""
    records: list[Record] = []
    while True:
        lost = reader.lost
        taken = reader.take(most, final=True)
        records += taken
        if not taken and reader.lost == lost:
            return records


def test_a_record_comes_out_as_it_went_in(ring: Ring) -> None:
    largest = Record._make([*[(1 << 64) - 1] * 4, *[(1 << 32) - 1] * 4, 255, 255, 65535, (1 << 32) - 1, 1])
    ring.append(*largest[:-1])
    ring.append(10, 20, 30, 40, 50, 60, 70, 80, 2)
    ring.append(10, 20, 30, 40, 50, 60, 70, 80, 1, DIRECT, 5, 3)
    assert Reader(ring).take() == [
        largest,
        Record(10, 20, 30, 40, 50, 60, 70, 80, 2, 0, 0, 0, 2),
        Record(10, 20, 30, 40, 50, 60, 70, 80, 1, DIRECT, 5, 3, 3),
    ]


def test_nothing_is_taken_from_an_empty_ring(ring: Ring) -> None:
    reader = Reader(ring)
    assert reader.take() == reader.take(final=True) == []
    assert (reader.next, reader.lost) == (1, 0)


def test_order_and_wrap_around(ring: Ring) -> None:
    reader = Reader(ring)
    seen: list[int] = []
    for _ in range(20):
        append(ring, 7)
        seen += serials(reader.take(5))
        seen += serials(reader.take())
    assert seen == list(range(1, 141))
    assert (reader.lost, reader.next) == (0, 141)


def test_at_most_as_many_as_asked_for(ring: Ring) -> None:
    append(ring, 10)
    reader = Reader(ring)
    assert [serials(reader.take(4)) for _ in range(4)] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], []]


def test_what_was_overwritten_is_counted(ring: Ring) -> None:
    append(ring, 40)
    reader = Reader(ring)
    assert drain(reader)[0].serial == 25
    assert reader.lost == 24


def test_while_writers_may_be_at_work_a_margin_counts_as_lost(ring: Ring) -> None:
    append(ring, 40)
    reader = Reader(ring)
    assert reader.take() == []
    assert reader.lost == 28, "the four oldest may be overwritten at this moment"
    assert serials(reader.take()) == list(range(29, 41))


@given(STEPS)
def test_delivered_and_lost_are_what_was_written(steps: list[tuple[int, int]]) -> None:
    with made() as ring:
        reader = Reader(ring)
        written = 0
        delivered: list[Record] = []
        for count, most in steps:
            for _ in range(count):
                written += 1
                put(ring, written)
            delivered += reader.take(most)
            assert reader.next - 1 == len(delivered) + reader.lost <= written
        delivered += drain(reader)
        assert len(delivered) + reader.lost == written == reader.next - 1
        assert all(record.time_ns == record.serial and whole(record) for record in delivered)
        assert serials(delivered) == sorted(set(serials(delivered)))


@given(STEPS, st.lists(st.booleans(), max_size=SLOTS // 4), st.integers(1, 40))
def test_killed_writers_leave_holes_that_are_neither(
    steps: list[tuple[int, int]], filled: list[bool], most: int
) -> None:
    """The last few numbers were taken by as many writers; those that were killed filled nothing."""
    with made() as ring:
        reader = Reader(ring)
        written = taken = 0
        delivered: list[Record] = []
        for count, some in steps:
            for _ in range(count):
                taken += 1
                put(ring, taken)
            written += count
            delivered += reader.take(some)
        for fill in filled:
            taken += 1
            written += fill
            if fill:
                put(ring, taken)
            else:
                ring._next()
        delivered += drain(reader, most)
        assert all(record.time_ns == record.serial and whole(record) for record in delivered)
        assert serials(delivered) == sorted(set(serials(delivered)))
        assert len(delivered) + reader.lost == written


def test_a_hole_is_waited_for_and_in_the_end_stepped_over(ring: Ring) -> None:
    reader = Reader(ring)
    append(ring, 2)
    ring._next()
    ring._next()
    append(ring, 2)
    assert serials(reader.take()) == [1, 2]
    assert reader.take() == []
    assert serials(reader.take(final=True)) == [5, 6]
    assert (reader.lost, reader.next) == (0, 7)
    assert reader.take(final=True) == []


def test_behind_a_hole_nothing_is_delivered_twice(ring: Ring) -> None:
    append(ring, 23)
    ring._next()  # 24: where the search for the head looks first
    append(ring, 3)
    reader = Reader(ring)
    delivered = serials(drain(reader))
    assert delivered == sorted(set(delivered))
    assert delivered[-6:] == [21, 22, 23, 25, 26, 27]
    assert len(delivered) + reader.lost == 26


@pytest.mark.parametrize("slots", [16, 64])
def test_head_and_oldest(slots: int) -> None:
    with made(slots) as ring:
        for count in range(3 * slots):
            assert ring.head() == count + 1
            assert ring.oldest() == max(1, count + 1 - slots + slots // 4)
            assert ring.oldest(final=True) == max(1, count + 1 - slots)
            put(ring, count)


def test_a_second_cursor_sees_the_same(ring: Ring) -> None:
    append(ring, 20)
    late = Reader(ring, ring.oldest())
    assert serials(late.take()) == list(range(9, 21))
    assert late.lost == 0
    assert Reader(ring, 21).take() == []


def test_a_sleeping_reader_is_roused_once(ring: Ring) -> None:
    put(ring, 1)
    ring.rouse()
    with pytest.raises(BlockingIOError):
        os.eventfd_read(ring.wake)
    ring.memory[0] = 1
    ring.rouse()
    ring.rouse()
    assert ring.memory[0] == 0
    assert os.eventfd_read(ring.wake) == 1
    assert serials(Reader(ring).take()) == [1]


def writing(ring: Ring, work: Callable[[], None]) -> int:
    """`work` in a process of its own: its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        ring.barrier.register()
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def follow(ring: Ring, reader: Reader, child: int) -> list[Record]:
    """Takes what `child` writes, sleeping as the recorder does, until the child has ended."""
    ended = os.pidfd_open(child)
    poll = select.poll()
    poll.register(ring.wake, select.POLLIN)
    poll.register(ended, select.POLLIN)
    records: list[Record] = []
    try:
        while True:
            records += reader.take()
            ring.memory[0] = 1
            ring.barrier.run()
            records += reader.take()
            ready = dict(poll.poll(20_000))
            assert ready, "neither records nor an end within 20 s"
            ring.memory[0] = 0
            if ring.wake in ready:
                os.eventfd_read(ring.wake)
            if ended in ready:
                break
    finally:
        os.close(ended)
        _, status = os.waitpid(child, 0)
    assert status == 0
    return records + drain(reader)


def test_eight_writers_of_another_process_and_nothing_is_lost_or_torn() -> None:
    each, writers = 2_000, 8
    with made(1 << 15) as ring:

        def write(writer: int) -> None:
            for number in range(each):
                put(ring, number, writer)
                ring.rouse()

        def work() -> None:
            threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        reader = Reader(ring)
        records = follow(ring, reader, writing(ring, work))
    assert serials(records) == list(range(1, each * writers + 1))
    assert reader.lost == 0
    assert all(whole(record) for record in records)
    for writer in range(writers):
        own = [record.time_ns for record in records if record.thread == writer]
        assert own == list(range(each)), "a writer's own records keep their order"


def test_a_writer_that_laps_its_reader_tears_nothing() -> None:
    count = 30_000
    with made(256) as ring:

        def work() -> None:
            for number in range(1, count + 1):
                put(ring, number)
                ring.rouse()

        reader = Reader(ring)
        records = follow(ring, reader, writing(ring, work))
    assert len(records) + reader.lost == count
    assert serials(records) == sorted(set(serials(records)))
    assert all(record.time_ns == record.serial and whole(record) for record in records)
    assert records[-1].serial == count


def test_a_writer_says_that_the_ring_is_half_full_of_what_was_not_read() -> None:
    ring, said = Ring(1 << 14), list[int]()
    ring.filling = lambda: said.append(ring.head())
    fill(ring, 3 << 12)
    assert len(said) == 1 and 2 << 12 < said[0] <= (3 << 12) + 1
    ring.read(3 << 12)
    fill(ring, 2 << 12)
    assert len(said) == 1


def fill(ring: Ring, count: int) -> None:
    for _ in range(count):
        ring.append(*[0] * 9)
