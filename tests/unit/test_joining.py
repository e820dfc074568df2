"""Rounds become events: in their order, each once, and what is missing is counted."""

from mapfs.trace.events import COLD, REFAULT, Event, Lost
from mapfs.trace.facts import Fact, FileFact, WatchedFact
from mapfs.trace.joining import Joiner
from mapfs.trace.ring import Reader, Ring
from mapfs.trace.rounds import Round
from mapfs.units import PAGE_SIZE
from tests.unit.samples import MOUNT

SLOTS = 1 << 14
WATCHED = [WatchedFact(pid, 1, 1) for pid in (5, 6)]


def write(ring: Ring, pages: range) -> None:
    for page in pages:
        ring.append(page, 1, page * PAGE_SIZE, page, PAGE_SIZE, 1, 0, 0, 1)


def taken(reader: Reader, moment: int, *facts: FileFact) -> Round:
    before = reader.lost
    data = b"".join(iter(lambda: reader.take_bytes(), b""))
    return Round(moment, reader.next, lost=reader.lost - before, records=data, facts=list(facts))


def test_a_large_round_becomes_events_step_by_step_and_facts_come_before_them() -> None:
    ring, told = Ring(SLOTS), list[Fact]()
    joiner = Joiner(SLOTS, told.append, lambda _: None)
    reader = Reader(ring)
    write(ring, range(10_000))
    one = taken(reader, 1, FileFact(1, 2, "f", "pages:9p", 9, 1))
    write(ring, range(3))
    another = taken(reader, 2)
    found: list[Event | Lost] = []
    steps = 0
    while joiner.until < reader.next or joiner.cut:
        _, events = joiner.step(None if joiner.cut else one if joiner.until == 1 else another)
        assert len(events) < 5_000, "the rings are looked at in between"
        found += events
        steps += 1
        assert joiner.pending == (reader.next if joiner.until == reader.next else one.until) - 1 - len(found)
    assert told == one.facts
    assert steps == 4
    made = [event for event in found if isinstance(event, Event)]
    assert [event.serial for event in made] == list(range(1, 10_004))
    assert [event.pages.start for event in made] == [*range(10_000), 0, 1, 2]
    assert [event.cls for event in made] == [COLD] * 10_000 + [REFAULT] * 3
    assert joiner.lost == 0


def test_what_the_ring_overwrote_is_counted_where_it_is_missing() -> None:
    ring = Ring(SLOTS)
    joiner = Joiner(SLOTS, lambda _: None, lambda _: None)
    reader = Reader(ring)
    write(ring, range(10))
    first = taken(reader, 1)
    write(ring, range(SLOTS + 500))
    second = taken(reader, 2)
    assert second.lost >= 500
    found = joiner.step(first)[1] + joiner.step(second)[1]
    while joiner.cut:
        found += joiner.step(None)[1]
    assert found[10] == Lost(second.lost)
    serials = [event.serial for event in found if isinstance(event, Event)]
    assert serials == [*range(1, 11), *range(11 + second.lost, SLOTS + 511)]
    assert joiner.lost == second.lost == SLOTS + 510 - len(serials)


def test_who_would_have_been_watched_is_not_told_to_be_where_evidence_has_failed() -> None:
    told = list[Fact]()
    joiner = Joiner(SLOTS, told.append, lambda _: None)
    joiner.begin(MOUNT)
    for number, watched in enumerate(WATCHED):
        joiner.step(Round(1 + number, 1, facts=[watched], failed="" if number else "a ring cannot be read"))
    assert told == WATCHED[:1]
