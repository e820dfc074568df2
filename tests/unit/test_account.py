"""The account of the page cache, told of requests and samples by hand: what it says, and what it does not claim."""

import os
from pathlib import Path
from typing import Any

import pytest

from mapfs.trace.events import AHEAD, COLD, EVICT, JOINED, READ, SHARED, WRITE, WRITTEN
from mapfs.trace.evidence.account import Account
from mapfs.trace.evidence.item import Item
from mapfs.trace.evidence.names import Names
from mapfs.trace.evidence.pages import AHEAD as BROUGHT_AHEAD
from mapfs.trace.evidence.pages import DEMANDED, Pages
from mapfs.trace.evidence.sample import (
    EVICTED,
    EXEC,
    EXITED,
    FAULT,
    FORKED,
    MAPPED,
    TAKEN,
    TOUCHED_MAJOR,
    TOUCHED_MINOR,
    Sample,
)  # fmt: skip
from mapfs.trace.facts import FileFact, ThreadFact
from mapfs.trace.ring import DIRECT, Record
from mapfs.units import PAGE_SIZE

INODE, FILE = 7, 1
ANN, BEN = 100, 200  # processes; the first thread's key is the pid
LATE = 10**9


class World:
    """An account of one file, and the threads of two processes. Times in us."""

    def __init__(self, *, kernel: bool = True) -> None:
        self.learned: list[ThreadFact] = []
        self.names = Names(self.learned.append)
        for pid in (ANN, BEN):
            for tid in (pid, pid + 1):
                self.names.told(ThreadFact(tid, tid, "x", pid, 1, f"p{pid}", "", None, 0))
        self.account = Account(self.names, 5, kernel=kernel)
        self.account.known(FileFact(FILE, INODE, "f", "?", 1 << 30, 1))

    def see(self, us: int, kind: int, tid: int, first: int, last: int | None = None) -> None:
        pid = ANN if tid < BEN else BEN
        self.account.sample(Sample(us * 1000, kind, pid, tid, INODE, first, first if last is None else last))

    def ask(
        self, us: int, wait: int, tid: int, page: int, count: int = 1, *, op: int = READ, file: int = FILE, **more: Any
    ) -> None:
        cls = {READ: COLD, WRITE: WRITTEN}[op]
        record = Record(
            us * 1000, wait * 1000, page * PAGE_SIZE, 1, count * PAGE_SIZE, file, tid, tid, op,
            more.get("flags", 0), more.get("errno", 0), 0, 1,
        )  # fmt: skip
        self.account.request(record, cls, 0)

    def cold(self, us: int, tid: int, page: int) -> None:
        """A demand by a fault, and its end."""
        self.see(us, FAULT, tid, page)
        self.ask(us + 5, 10, tid, page)
        self.see(us + 20, MAPPED, tid, page // 16 * 16, page // 16 * 16 + 15)

    def told(self) -> list[tuple[Any, ...]]:
        return [told(item) for item in self.account.settled(LATE * 10**6)]


def told(item: Item) -> tuple[Any, ...]:
    pages = (item.offset // PAGE_SIZE, item.size // PAGE_SIZE)
    return (item.op if item.op in (EVICT, WRITE) else item.cls, item.tid, *pages, item.via, item.by)


def test_a_demand_by_a_fault_knows_its_page_and_all_of_its_wait() -> None:
    world = World()
    world.cold(1000, ANN, 3)
    (item,) = world.account.settled(0)
    assert told(item) == (COLD, ANN, 3, 1, "fault", 0)
    assert (item.demanded, item.total_ns, item.wait_ns) == (3, 20_000, 10_000)


def test_an_event_is_kept_back_until_its_thread_goes_on_or_patience_ends() -> None:
    world = World()
    world.see(1000, FAULT, ANN, 3)
    world.ask(1005, 10, ANN, 3)
    assert world.account.settled(150_000_000) == []
    (item,) = world.account.settled(250_000_000)
    assert (told(item), item.total_ns) == ((COLD, ANN, 3, 1, "fault", 0), -1)


def test_what_a_process_has_is_told_once_until_it_leaves_the_cache() -> None:
    world = World()
    world.cold(1000, ANN, 3)
    for us in (2000, 3000):
        world.see(us, MAPPED, BEN, 0, 15)
    world.see(4000, EVICTED, 999, 3)
    world.cold(5000, ANN, 3)
    world.see(6000, MAPPED, BEN, 0, 15)
    assert [one for one in world.told() if one[0] == SHARED] == [(SHARED, BEN, 3, 1, "fault", ANN)] * 2


def test_threads_of_a_process_share_nothing_with_each_other() -> None:
    world = World()
    world.cold(1000, ANN, 3)
    world.see(2000, MAPPED, ANN + 1, 0, 15)
    assert world.told() == [(COLD, ANN, 3, 1, "fault", 0)]


def test_who_waits_for_anothers_request_joins_it() -> None:
    world = World()
    world.see(1000, FAULT, ANN, 3)
    world.see(1002, FAULT, BEN, 3)
    world.ask(1005, 10, ANN, 3)
    world.see(1020, MAPPED, ANN, 0, 15)
    world.see(1030, MAPPED, BEN, 0, 15)
    cold, joined = world.account.settled(0)
    assert told(joined) == (JOINED, BEN, 3, 1, "fault", ANN)
    assert (joined.time_ns, joined.wait_ns, joined.total_ns) == (1_002_000, 13_000, 28_000)
    assert cold.total_ns == 20_000


def test_who_faulted_first_may_be_the_one_who_joins() -> None:
    world = World()
    world.see(1000, FAULT, BEN, 3)
    world.see(1002, FAULT, ANN, 3)
    world.ask(1005, 10, ANN, 3)
    world.see(1020, MAPPED, BEN, 0, 15)
    assert world.told()[1] == (JOINED, BEN, 3, 1, "fault", ANN)


def test_who_waited_long_before_a_request_has_not_joined_it() -> None:
    world = World()
    world.see(1000, FAULT, BEN, 3)  # on a page that was there, though the account does not know it
    world.cold(3_600_000_000, ANN, 3)
    assert world.told() == [(COLD, ANN, 3, 1, "fault", 0)]


def test_an_error_is_nobodys_page() -> None:
    world = World()
    world.see(1000, FAULT, ANN, 3)
    world.ask(1005, 10, ANN, 3, errno=5)
    world.see(1020, MAPPED, BEN, 0, 15)
    assert [one[1] for one in world.told()] == [ANN]


def test_a_read_2_is_told_from_a_fault_and_has_what_is_there_without_a_gap() -> None:
    world = World()
    world.ask(1000, 10, ANN, 3)
    world.see(1020, TAKEN, ANN, 3)
    world.ask(1100, 10, ANN, 5)
    world.see(1120, TAKEN, ANN, 5)
    world.see(2000, TAKEN, BEN, 3, 60)
    assert world.told() == [
        (COLD, ANN, 3, 1, "read", 0),
        (COLD, ANN, 5, 1, "read", 0),
        (SHARED, BEN, 3, 1, "read", ANN),
    ]


def test_a_read_2_that_went_on_too_late_is_not_said_to_have_found_what_was_read_ahead() -> None:
    world = World()
    world.ask(1000, 10, ANN, 3, 2)
    assert [told(item) for item in world.account.settled(300_000_000)] == [(COLD, ANN, 3, 2, None, 0)]
    world.see(400_000, TAKEN, ANN, 3)
    world.see(400_100, TAKEN, ANN, 4)
    world.see(400_200, TAKEN, BEN, 3)
    assert world.told() == [
        (None, ANN, 3, 1, "read", 0),
        (AHEAD, ANN, 4, 1, "read", 0),
        (SHARED, BEN, 3, 1, "read", ANN),
    ]


def test_a_request_whose_thread_went_on_is_read_ahead() -> None:
    world = World()
    world.see(1000, FAULT, ANN, 3)
    world.ask(1005, 10, ANN, 0, 32)
    world.see(1020, MAPPED, ANN, 0, 15)
    world.ask(1100, 50, ANN, 32, 32)
    world.see(1200, MAPPED, ANN, 16, 31)
    assert world.told() == [
        (COLD, ANN, 0, 32, "fault", 0),
        (AHEAD, ANN, 0, 3, "fault", 0),
        (AHEAD, ANN, 4, 12, "fault", 0),
        (AHEAD, ANN, 32, 32, None, 0),
        (AHEAD, ANN, 16, 16, "fault", 0),
    ]


def test_after_a_loss_nothing_is_concluded_from_what_was_not_seen() -> None:
    world = World()
    world.account.missed(2_000_000)
    world.ask(1005, 10, ANN, 3)  # its fault was lost
    world.see(1020, MAPPED, ANN, 0, 15)
    assert world.told() == [(COLD, ANN, 3, 1, None, 0)]
    world.cold(3000, ANN, 40)
    assert world.told() == [(COLD, ANN, 40, 1, "fault", 0)]


def test_after_lost_evictions_no_page_is_said_to_be_shared() -> None:
    world = World()
    world.cold(1000, ANN, 3)
    world.account.lost(5_000_000)
    world.cold(2000, ANN, 4)
    world.see(3000, MAPPED, BEN, 0, 15)
    world.see(6000, MAPPED, BEN, 0, 15)
    assert {one[0] for one in world.told()} == {COLD}
    world.cold(7000, ANN, 5)
    world.see(8000, MAPPED, BEN, 0, 15)
    assert world.told()[-1] == (SHARED, BEN, 5, 1, "fault", ANN)


def test_a_write_2_brings_whole_pages_unless_it_goes_past_the_cache() -> None:
    world = World()
    world.ask(1000, 10, ANN, 3, op=WRITE)
    world.ask(1100, 10, ANN, 4, op=WRITE, flags=DIRECT)
    world.see(2000, MAPPED, BEN, 0, 15)
    assert world.told()[2:] == [(SHARED, BEN, 3, 1, "fault", ANN)]


def test_evictions_next_to_each_other_are_one_event_and_mapfs_s_own_none() -> None:
    world = World()
    for page in range(3, 9):
        world.account.sample(Sample(1000, EVICTED, 5 if page == 8 else ANN, ANN, INODE, page, page))
    assert world.told() == [(EVICT, ANN, 3, 5, None, 0)]
    world.account.ending()
    world.see(2000, EVICTED, ANN, 3)
    assert world.told() == []


def test_another_version_has_its_own_events() -> None:
    world = World()
    world.cold(1000, ANN, 3)
    world.see(2000, MAPPED, BEN, 0, 15)
    world.account.known(FileFact(2, INODE, "f", "?", 1 << 30, 2))
    world.see(3000, EVICTED, ANN, 3)
    world.see(4000, FAULT, ANN, 3)
    world.ask(4005, 10, ANN, 3, file=2)
    world.see(4020, MAPPED, BEN, 0, 15)
    assert [item.file for item in world.account.settled(LATE * 10**6)] == [1, 1, 2, 2, 2]


def test_a_program_that_replaces_itself_has_no_page_yet() -> None:
    world = World()
    world.cold(1000, ANN, 3)
    world.see(2000, MAPPED, BEN, 0, 15)
    world.account.sample(Sample(LATE * 1000, EXEC, BEN, BEN, 1, 0, 0, "other"))
    world.see(LATE + 1, MAPPED, BEN, 0, 15)
    shared = [one for one in world.told() if one[0] == SHARED]
    assert len(shared) == 2
    assert world.learned[-1].command == "other"


def test_the_name_of_a_thread_is_not_that_of_its_process() -> None:
    world = World()
    world.account.sample(Sample(LATE * 1000, EXEC, BEN, BEN + 1, 0, 0, 0, "worker"))
    world.account.sample(Sample(LATE * 1000, FORKED, BEN, BEN + 2, BEN, BEN, 0))
    world.cold(LATE + 1, ANN, 3)
    world.see(LATE + 100, MAPPED, BEN + 2, 0, 15)
    assert [fact.command for fact in world.learned] == ["p200"]


def test_a_process_that_ended_leaves_nothing() -> None:
    world = World()
    world.cold(1000, ANN, 3)
    world.see(2000, MAPPED, BEN, 0, 15)
    world.account.sample(Sample(LATE * 1000, EXITED, BEN, BEN, 1, 1, 0))
    world.names.told(ThreadFact(BEN, BEN, "x", BEN, 9, "new", "", None, 0, LATE * 2000))
    world.see(LATE * 3, MAPPED, BEN, 0, 15)
    assert [one[1] for one in world.told() if one[0] == SHARED] == [BEN, BEN]


@pytest.mark.parametrize("kind", [TOUCHED_MAJOR, TOUCHED_MINOR])
def test_a_major_fault_alone_explains_a_request(kind: int) -> None:
    world = World(kernel=False)
    world.ask(1000, 10, ANN, 3)
    world.see(1020, kind, ANN, 3)
    assert world.told() == [(COLD, ANN, 3, 1, "fault" if kind == TOUCHED_MAJOR else None, 0)]


def test_pages_across_the_words_of_a_set() -> None:
    pages, process = Pages(FILE), (ANN, 1)
    pages.bring(510, 1030, 9, BROUGHT_AHEAD)
    pages.becomes(511, 8, DEMANDED)
    assert pages.origin(511) == (8, DEMANDED) and pages.origin(1024) == (9, BROUGHT_AHEAD)
    assert (pages.together(510, 2000), pages.together(509, 600), pages.together(600, 700)) == (1030, 508, 700)
    assert pages.get(process, 500, 520) == list(range(510, 521))
    assert pages.get(process, 515, 525) == list(range(521, 526))
    pages.evict(512, 1023)
    assert not pages.has(700) and pages.has(1024) and pages.has(511)
    pages.bring(512, 512, 9, DEMANDED)
    assert pages.get(process, 500, 520) == [512]
    pages.gone(process)
    assert pages.get(process, 510, 512) == [510, 511, 512]
    assert pages.get(None, 0, 2000) == []


def test_who_is_found_late_is_not_given_the_name_of_what_it_became_since() -> None:
    """A backlog is joined when /proc tells of later: this process is said to have become another program at 200."""
    own = os.getpid()
    learned: list[ThreadFact] = []
    names = Names(learned.append)
    became = Sample(200, EXEC, own, own, 1, 0, 0, "later")
    names.changes(became)
    names.key(own, own, 100)
    assert [(fact.command, fact.found_ns) for fact in learned] == [("?", 100)]
    names.executed(became)
    names.key(own, own, 300)
    now = Path(f"/proc/{own}/comm").read_text().rstrip("\n")
    assert learned[1].command == now, "from then on /proc is right"
    assert learned[1].key != learned[0].key
