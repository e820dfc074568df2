"""Rounds are taken out of the rings; where evidence cannot be, the requests are, and no more is claimed than they tell."""

import errno
import itertools
import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from mapfs.trace.events import Event
from mapfs.trace.evidence import intake, perf
from mapfs.trace.evidence.intake import Intake
from mapfs.trace.evidence.tracepoints import PAGES, TASKS, VALUES
from mapfs.trace.facts import FileFact, RingsFact
from mapfs.trace.joining import Joiner
from mapfs.trace.ring import Ring, records_of
from mapfs.trace.rounds import Round, RoundFact
from mapfs.trace.spool import Spool
from mapfs.trace.taking import Taker
from mapfs.units import PAGE_SIZE
from tests.unit.samples import MOUNT

SLOTS = 1 << 10
FAILED = "evidence failed: Too many open files; from now on the requests alone are recorded"


def too_many(*_: object) -> NoReturn:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def ask(ring: Ring, pages: range) -> None:
    for page in pages:
        ring.append(page + 1, 1, page * PAGE_SIZE, page, PAGE_SIZE, 1, 0, 0, 1)


@pytest.mark.parametrize("in_file", [False, True])
def test_evidence_that_cannot_be_taken_ends_where_it_failed_and_no_request_is_lost(
    in_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ring, waiting = Ring(SLOTS), list[FileFact]()
    joiner = Joiner(SLOTS, lambda _: None, lambda _: None)
    joiner.begin(MOUNT)
    taker = Taker(ring, None, lambda: [waiting.pop()] if waiting else [])
    taker.intake = Intake(ring.barrier, select.epoll(), lambda _: None)
    if in_file:
        taker.spool = Spool(str(tmp_path), memory=0)
    ask(ring, range(10))
    waiting.append(FileFact(1, 2, "f", "pages:99p", 99, 1))
    taker.take()
    monkeypatch.setattr(perf, "take", too_many)
    ask(ring, range(10, 20))
    taker.take()
    ended = taker.intake is None
    assert ended
    ask(ring, range(20, 30))
    taker.take()
    assert joiner.evidence is not None, "the rounds before have theirs"
    found = []
    while (one := taker.spool.take()) is not None:
        found += joiner.step(one)[1]
        assert (joiner.evidence is None) == (one.until > 11)
    assert [event.pages.start for event in found if isinstance(event, Event)] == list(range(30))
    assert capfd.readouterr().err.count(FAILED) == 1


def test_where_the_name_space_cannot_be_read_the_mount_is_taken_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    mounted: Callable[[int], bool] = intake._is_mounted
    device = os.makedev(0, 0xFFFFF)
    assert mounted(os.stat("/proc/self").st_dev)
    assert not mounted(device)
    monkeypatch.setattr(intake, "open", too_many, raising=False)
    assert mounted(device)


@pytest.mark.parametrize("roles", list(itertools.permutations((PAGES, VALUES, TASKS))))
def test_rings_that_cannot_be_mapped_are_not_kept_open(roles: tuple[str, ...]) -> None:
    fds = [os.eventfd(0) for _ in roles]
    with select.epoll() as awake:
        found = Intake(Ring(SLOTS).barrier, awake, lambda _: None)
        with pytest.raises(OSError, match="No such device"):
            found.add(RingsFact(0, list(roles), [PAGE_SIZE] * len(fds)), fds)
        found.close()
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


class FakeIntake:
    """Evidence that tells when it was asked which processes became others."""

    full = 0.0
    cut = False

    def __init__(self) -> None:
        self.told: list[int] = []

    def take(self, one: Round) -> None:
        one.samples = [(TASKS, b"")]

    def tell_tasks(self, one: Round) -> None:
        self.told.append(one.until)


def test_who_became_another_is_told_before_a_round_is_joined() -> None:
    ring, fake = Ring(SLOTS), FakeIntake()
    taker = Taker(ring, None, list)
    taker.intake = fake  # type: ignore[assignment]
    for until in (11, 21):
        ask(ring, range(10))
        taker.take()
        assert fake.told[-1] == until


def test_what_is_behind_a_record_that_is_being_written_is_joined_with_it() -> None:
    ring, fake = Ring(SLOTS), FakeIntake()
    taker = Taker(ring, None, list)
    taker.intake = fake  # type: ignore[assignment]

    def moment() -> int:
        taker.take()
        one = taker.spool.take()
        assert one is not None
        return one.moment

    ask(ring, range(10))
    whole = moment()
    slow = ring._next()
    assert moment() > whole, "nobody was answered after it"
    whole = moment()
    ask(ring, range(10))
    assert (moment(), moment()) == (whole, whole)
    assert taker.reader.next == slow
    ring._next = itertools.count(slow).__next__
    ask(ring, range(1))
    assert moment() > whole
    assert taker.reader.next == slow + 11
    fake.cut = True
    whole = moment()
    assert moment() == whole, "a sample is being written"
    fake.cut = False
    assert moment() > whole


def test_what_is_written_while_a_round_is_taken_holds_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that is always at work leaves no hole: else nothing would be joined as long as pages are demanded."""
    ring, fake, moments = Ring(SLOTS), FakeIntake(), list[int]()
    taker = Taker(ring, None, list)
    taker.intake = fake  # type: ignore[assignment]
    take = taker.reader.take_bytes

    def busy(most: int = 8192, *, final: bool = False) -> bytes:
        data = take(most, final=final)
        ask(ring, range(10))
        return data

    monkeypatch.setattr(taker.reader, "take_bytes", busy)
    for _ in range(5):
        taker.take()
        one = taker.spool.take()
        assert one is not None
        moments.append(one.moment)
    assert moments == sorted(set(moments))


def test_the_first_requests_have_the_samples_of_rings_that_a_slow_recorder_hears_of_only_then() -> None:
    ring, heard = Ring(SLOTS), list[int]()

    def facts() -> list[RoundFact]:
        if ring.head() > 1 and not heard:
            heard.append(ring.head())
            taker.intake = FakeIntake()  # type: ignore[assignment]
        return []

    taker = Taker(ring, None, facts)
    ask(ring, range(10))
    taker.take()
    one = taker.spool.take()
    assert one is not None
    assert len(records_of(one.records)) == 10
    assert one.samples, "they would come after the end of what they tell of"
