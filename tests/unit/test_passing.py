"""What evidence saw of pages that were pushed: which were passed by, and what it does not claim."""

import pytest

from mapfs.trace.events import PUSH
from mapfs.trace.evidence.pages import DEMANDED, PUSHED, Pages
from mapfs.trace.evidence.sample import EVICTED, FAULT, MAPPED, TAKEN
from mapfs.trace.facts import FileFact, PassedBy
from mapfs.trace.ring import Record
from mapfs.units import PAGE_SIZE
from tests.unit.test_account import ANN, BEN, FILE, INODE, World


class Reader(World):
    """Ann demands the page behind each window of 31 that was pushed: 32, 64, 96 and so on. Times in us."""

    def __init__(self, *, kernel: bool = True, via: int = TAKEN) -> None:
        super().__init__(kernel=kernel)
        self._via = via
        self.now = 1000

    def push(self, first: int, count: int, began: int = 0) -> None:
        record = Record((began or self.now) * 1000, 100_000, first * PAGE_SIZE, 0, count * PAGE_SIZE, FILE, 0, 0, PUSH,
                        0, 0, 0, 1)  # fmt: skip
        self.account.request(record, None, 0)

    def demand(self, page: int, tid: int = ANN) -> None:
        if self._via == FAULT:
            self.see(self.now + 1, FAULT, tid, page)
        self.ask(self.now + 5, 10, tid, page)
        if self._via == TAKEN:
            self.see(self.now + 20, TAKEN, tid, page)
        self.now += 100

    def window(self, number: int, touch: range = range(0), by: int = BEN) -> None:
        """Ann passes by a window, of which `touch` is touched."""
        self.push(32 * number + 1, 31)
        self.now += 10
        if touch:
            self.see(self.now, MAPPED, by, touch.start, touch.stop - 1)
        self.now += 10
        self.demand(32 * (number + 1))

    def passed(self) -> list[PassedBy]:
        return self.account.passing.take()


@pytest.mark.parametrize("via", [TAKEN, FAULT])
def test_what_nobody_touched_is_told_once_the_next_window_is_passed_by_as_well(via: int) -> None:
    reader = Reader(via=via)
    reader.push(300, 1)  # so that Ann is followed
    reader.demand(0)
    reader.window(0)
    assert reader.passed() == []
    reader.window(1)
    assert reader.passed() == [PassedBy(INODE, ANN, 1, 31, 31)]
    assert reader.passed() == []
    reader.window(2)
    assert reader.passed() == [PassedBy(INODE, ANN, 33, 31, 31)], "each window once"


@pytest.mark.parametrize(("touched", "told"), [(14, 17), (15, 16), (16, None), (31, None)])
def test_only_where_more_than_half_was_left(touched: int, told: int | None) -> None:
    reader = Reader()
    reader.push(300, 1)
    reader.demand(0)
    for number in range(2):
        reader.window(number, range(32 * number + 1, 32 * number + 1 + touched), by=ANN)
    expected = [] if told is None else [PassedBy(INODE, ANN, 1, 31, told)]
    assert reader.passed() == expected


def test_who_touches_it_and_when_is_all_the_same_until_the_next_window_is_passed_by() -> None:
    reader = Reader()
    reader.push(300, 1)
    reader.demand(0)
    reader.window(0)
    reader.see(reader.now, TAKEN, BEN, 0, 31)  # another process, later
    reader.window(1)
    assert reader.passed() == []


def test_pages_that_left_untouched_count_and_pages_that_left_after_a_touch_do_not() -> None:
    reader = Reader()
    reader.push(300, 1)
    reader.demand(0)
    reader.window(0)
    reader.see(reader.now, EVICTED, BEN, 1, 31)
    reader.window(1, range(33, 64))
    assert reader.passed() == [PassedBy(INODE, ANN, 1, 31, 31)]
    reader.see(reader.now, EVICTED, BEN, 33, 63)
    reader.window(2)
    assert reader.passed() == []


def test_a_thread_of_which_it_was_not_seen_how_it_gets_its_pages_is_not_judged() -> None:
    reader = Reader(via=0)
    reader.push(300, 1)
    reader.demand(0)
    for number in range(4):
        reader.window(number)
    assert reader.passed() == []


def test_after_samples_were_lost_nothing_is_concluded_of_what_was_pushed_before() -> None:
    reader = Reader()
    reader.push(300, 1)
    reader.demand(0)
    reader.window(0)
    reader.account.missed(reader.now * 1000)
    reader.window(1)
    assert reader.passed() == []
    reader.window(2)
    reader.window(3)
    assert [one.first for one in reader.passed()] == [65], "of what came later it is"


@pytest.mark.parametrize("via", [TAKEN, FAULT])
def test_nothing_is_concluded_of_the_very_round_that_lost_samples(via: int) -> None:
    """They are missed before what came in with them is looked at."""
    reader = Reader(via=via)
    reader.push(300, 1)
    reader.demand(0)
    reader.account.missed((reader.now + 1_000) * 1000)
    for number in range(3):
        reader.window(number)
    assert reader.passed() == []
    reader.now += 1_000
    for number in range(3, 7):
        reader.window(number)
    first = [one.first for one in reader.passed()]
    assert first and min(first) >= 97, "of what came later it is"


def test_a_push_whose_pages_may_have_been_touched_before_it_came_in_is_not_counted() -> None:
    reader = Reader()
    reader.push(300, 1)
    reader.demand(0)
    began = reader.now
    reader.account.settled((began + 50) * 1000)
    reader.push(1, 31, began)
    reader.demand(32)
    reader.window(1)
    reader.window(2)
    assert [one.first for one in reader.passed()] == [33]


def test_the_tier_faults_cannot_tell() -> None:
    reader = Reader(kernel=False)
    reader.push(300, 1)
    reader.demand(0)
    for number in range(4):
        reader.window(number)
    assert reader.passed() == []


def test_who_goes_back_or_anywhere_else_passes_nothing_by() -> None:
    reader = Reader()
    reader.push(1, 310)
    for page in (400, 0, 500, 350, 900, 320, 311):
        reader.demand(page)
        reader.demand(page, BEN)
    assert reader.passed() == []


def test_a_page_that_was_there_is_not_pushed_and_one_that_is_asked_for_is_not_any_more() -> None:
    pages = Pages(FILE)
    pages.bring(0, 9, 1, DEMANDED)
    pages.bring(5, 700, 0, PUSHED)
    assert pages.passed(range(1000)) == (691, 691)
    pages.touch(600, 2000)
    assert pages.passed(range(1000)) == (691, 590)
    pages.evict(20, 29)
    pages.demanded(20, 1, None)
    pages.bring(21, 29, 1, DEMANDED)
    assert pages.passed(range(1000)) == (681, 580)
    pages.bring(20, 29, 0, PUSHED)
    assert pages.passed(range(1000)) == (681, 580)
    pages.doubt(10, 699)
    assert pages.passed(range(1000)) == (1, 0)


def test_what_is_remembered_of_pushes_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapfs.trace.evidence.pages._PUSHED_WORDS", 4)
    pages = Pages(FILE)
    for first in range(0, 512 * 10, 512):
        pages.bring(first, first + 511, 0, PUSHED)
    assert pages.passed(range(512 * 10)) == (4 * 512, 4 * 512)
    assert pages.passed(range(512 * 6)) == (0, 0), "the oldest are forgotten"


def test_threads_that_are_followed_and_what_is_told_have_a_bound() -> None:
    reader = Reader()
    passing = reader.account.passing
    pages = Pages(FILE)
    pages.bring(1, 100, 0, PUSHED)
    for page in (0, 40, 80):
        for tid in range(5000):
            passing.demanded(tid, INODE, range(page, page + 1), pages)
    assert len(passing._trails) == 1024
    assert passing.take() == []
    for tid in range(1000):
        for page in (0, 40, 80):
            passing.demanded(tid, INODE, range(page, page + 1), pages)
    assert len(passing.take()) == 64


def test_another_version_of_a_file_has_not_been_pushed_to() -> None:
    reader = Reader()
    reader.push(300, 1)
    reader.demand(0)
    reader.window(0)
    reader.account.known(FileFact(2, INODE, "f", "?", 1 << 30, 2))
    reader.window(1)
    assert reader.passed() == []
