"""The spool: rounds wait in memory, in a file that has no name, and where neither has room the spool is full."""

import os
from pathlib import Path

import pytest

from mapfs.trace import rounds
from mapfs.trace import spool as spool_module
from mapfs.trace.facts import FileFact, ThreadFact
from mapfs.trace.rounds import Round, RoundFact
from mapfs.trace.spool import Spool

BIG = 10_000  # bytes of a round
FACTS: list[RoundFact] = [FileFact(1, 2, "a", "pages:4p", 4, 1, 7), ThreadFact(1, 2, "x", 2, 3, "x", "x y", None, 0, 9)]


def made(number: int, size: int = BIG) -> Round:
    """The round that has the requests up to `number`."""
    kept = bytes([number % 256]) * size
    return Round(number, number + 1, records=kept, samples=[("pages", kept), ("tasks", b"")], facts=list(FACTS))


def everything(spool: Spool) -> list[Round]:
    found = []
    while (one := spool.take()) is not None:
        found.append(one)
    return found


def test_rounds_come_out_as_they_went_in_wherever_they_waited(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), memory=5 * BIG, file=1 << 30)
    rounds = [made(number) for number in range(1, 40)]
    taken: list[Round] = []
    for number, one in enumerate(rounds):
        spool.put(one)
        if number % 3 == 2 and (first := spool.take()):
            taken.append(first)
    assert spool._fd >= 0, "some had to go into the file"
    assert os.listdir(tmp_path) == []
    assert len(spool) == len(rounds) - len(taken)
    assert taken + everything(spool) == rounds
    assert (len(spool), spool.fill, spool.full) == (0, 0.0, False)
    assert spool._fd == -1, "a file that is empty is none"
    spool.put(rounds[0])
    assert everything(spool) == rounds[:1]


def test_what_was_read_of_the_file_is_given_back(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), memory=0, file=1 << 30)
    rounds = [made(number, 1 << 20) for number in range(1, 9)]
    for one in rounds:
        spool.put(one)
    whole = os.fstat(spool._fd).st_blocks
    assert [spool.take() for _ in range(7)] == rounds[:7]
    assert os.fstat(spool._fd).st_blocks < whole / 4
    spool.close()


@pytest.mark.parametrize("size", [100, 3_000, 5_000])  # bytes; a block has 4 KiB
def test_small_rounds_give_back_what_they_took_together(size: int, tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), memory=0, file=1 << 30)
    count = (1 << 22) // size
    for number in range(1, count + 1):
        spool.put(Round(number, number + 1, records=b"x" * size))
    os.fsync(spool._fd)
    whole = os.fstat(spool._fd).st_blocks
    assert [spool.take() is not None for _ in range(count - 1)] == [True] * (count - 1)
    assert whole * 512 >= count * size
    assert os.fstat(spool._fd).st_blocks * 512 <= 1 << 16
    spool.close()


def test_what_the_file_system_does_not_take_back_counts_until_the_file_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_punch", lambda *_: False)
    spool = Spool(str(tmp_path), memory=0, file=6 * BIG)
    rounds = [made(number) for number in range(1, 4)]
    for one in rounds:
        spool.put(one)
    assert spool.full
    assert [spool.take(), spool.take()] == rounds[:2]
    assert spool.full
    spool.put(rounds[0])
    assert everything(spool) == [rounds[2], rounds[0]]
    assert (spool.fill, spool.full) == (0.0, False)


def test_a_round_is_encoded_only_where_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unasked(one: Round) -> bytes:
        raise AssertionError(f"the round of the moment {one.moment} was encoded")

    alone, beside = Spool(None, memory=BIG), Spool(str(tmp_path), memory=BIG, file=0)
    monkeypatch.setattr(rounds, "encode", unasked)
    for spool in (alone, beside):
        for number in (1, 2, 3):
            spool.put(made(number))
        assert everything(spool) == [made(1), made(2), made(3)]


def test_it_is_full_where_the_file_may_grow_no_more_and_keeps_what_it_was_given(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), memory=2 * BIG, file=6 * BIG)
    rounds = [made(number) for number in range(1, 20)]
    put = 0
    while not spool.full:
        spool.put(rounds[put])
        put += 1
    assert put < len(rounds)
    assert spool.fill <= 1.0
    spool.put(rounds[put])  # one that had been taken already
    assert spool.full
    assert everything(spool) == rounds[: put + 1]
    assert not spool.full


def test_without_a_place_for_a_file_it_has_memory_alone() -> None:
    spool = Spool(None, memory=3 * BIG)
    rounds = [made(number) for number in range(1, 20)]
    for number, one in enumerate(rounds):
        spool.put(one)
        assert spool.full == (number > 0), "each takes two thirds"
    assert everything(spool) == rounds


def test_where_no_file_can_be_made_it_is_full(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path / "nowhere"), memory=BIG)
    for number in (1, 2, 3):
        spool.put(made(number))
    assert spool.full
    assert everything(spool) == [made(1), made(2), made(3)]


def test_a_round_that_cannot_be_read_again_is_told_as_lost_exactly(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spool = Spool(str(tmp_path), memory=0, file=1 << 30)
    for number in (10, 25, 31):
        spool.put(made(number))
    spool.put(Round(40, 41, lost_samples=7, ending=True, failed="a ring cannot be read"))
    spool.put(made(50))
    assert spool.take() == made(10)
    os.pwrite(spool._fd, b"\xc1" * 2 * BIG, spool._extents[0].at)  # which MessagePack never has
    lost = spool.take()
    assert lost == Round(25, 26, lost=15, lost_samples=1, blind=True, missed=25), "and samples: how many is not known"
    assert "cannot be read" in capfd.readouterr().err
    assert spool.take() == made(31)
    os.pwrite(spool._fd, b"\xc1", spool._extents[0].at)
    lost = spool.take()
    assert lost == Round(
        40, 41, lost=9, lost_samples=7, blind=True, missed=40, ending=True, failed="a ring cannot be read"
    )
    assert spool.take() == made(50)
