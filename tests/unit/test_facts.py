"""Facts on their socket: whole, in order, and never in the daemon's way."""

import os
import select
import socket
import threading
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapfs.trace import facts
from mapfs.trace.facts import (
    DaemonFact,
    Ended,
    EventsWanted,
    Fact,
    FactSender,
    MetricsWanted,
    ReasonFact,
    StatsWanted,
    decode,
)
from tests.unit.samples import FILE, MOUNT, THREAD

FACTS: list[Fact] = [
    MOUNT,
    FILE,
    THREAD,
    msgspec.structs.replace(THREAD, container="c" * 64),
    ReasonFact(3, "the disk is gone"),
    EventsWanted(follow=True),
    StatsWanted({"pid": 1, "load": 0.5, "name": "x", "nothing": None}),
    MetricsWanted({"pid": 1, "load": 0.5, "name": "x", "nothing": None}),
    DaemonFact({"pid": 1}),
    Ended(served=False),
]


@pytest.fixture
def ends() -> Iterator[tuple[FactSender, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    sender = FactSender(ours)
    yield sender, theirs
    sender.close()
    theirs.close()


def received(end: socket.socket) -> list[Fact]:
    """All that is there."""
    got: list[Fact] = []
    while True:
        try:
            message = end.recv(facts.LARGEST)
        except BlockingIOError:
            return got
        if not message:
            return got
        got.append(decode(message))


def fill(sender: FactSender) -> list[ReasonFact]:
    """Sends until the socket takes no more; the last fact is kept back."""
    sent = [ReasonFact(0, "x" * 4000)]
    while sender.send(sent[-1]):
        sent.append(ReasonFact(len(sent), "x" * 4000))
        assert len(sent) < 10_000
    return sent


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: type(fact).__name__)
def test_round_trip(ends: tuple[FactSender, socket.socket], fact: Fact) -> None:
    sender, end = ends
    assert sender.send(fact)
    assert received(end) == [fact]


@given(st.from_type(facts.FileFact) | st.from_type(facts.ThreadFact) | st.from_type(facts.ReasonFact))
def test_any_fact_survives(fact: Fact) -> None:
    try:
        message = msgspec.msgpack.encode(fact)
    except (OverflowError, UnicodeEncodeError):
        return  # no number of the kernel's, no text that `printable` lets through
    assert decode(message) == fact


def test_what_is_no_fact() -> None:
    for message in (b"\x80", msgspec.msgpack.encode({"type": "nothing"}), msgspec.msgpack.encode(3)):
        with pytest.raises(msgspec.ValidationError):
            decode(message)


def test_a_full_socket_keeps_facts_and_their_order(ends: tuple[FactSender, socket.socket]) -> None:
    sender, end = ends
    sent = fill(sender)
    assert sender.alive
    late = ReasonFact(-1, "late")
    assert not sender.send(late)
    assert received(end) == sent[:-1]
    last = ReasonFact(-2, "last")
    assert sender.send(last)
    assert received(end) == [sent[-1], late, last]


def test_a_descriptor_is_not_kept_back(ends: tuple[FactSender, socket.socket]) -> None:
    sender, end = ends
    sent = fill(sender)
    reading, writing = os.pipe()
    try:
        assert not sender.send(EventsWanted(follow=True), (writing,))
        assert received(end) == sent[:-1]
        assert sender.send(StatsWanted({}), (writing,))
        messages = [socket.recv_fds(end, facts.LARGEST, 1) for _ in range(2)]
        assert [decode(message[0]) for message in messages] == [sent[-1], StatsWanted({})]
        (none, fds) = (messages[0][1], messages[1][1])
        assert none == [] and len(fds) == 1
        os.write(fds[0], b"through")
        os.close(fds[0])
        assert os.read(reading, 10) == b"through"
        assert received(end) == []
    finally:
        os.close(reading)
        os.close(writing)


def test_a_peer_that_is_gone(ends: tuple[FactSender, socket.socket]) -> None:
    sender, end = ends
    end.close()
    assert not sender.send(FILE)
    assert not sender.alive
    assert not sender.send(FILE)
    sender.close()
    assert not sender.send(FILE)


def test_a_peer_that_goes_while_facts_wait(ends: tuple[FactSender, socket.socket]) -> None:
    sender, end = ends
    fill(sender)
    end.close()
    assert not sender.send(FILE)
    assert not sender.alive


def test_what_was_sent_is_there_after_the_end(ends: tuple[FactSender, socket.socket]) -> None:
    sender, end = ends
    for fact in FACTS:
        assert sender.send(fact)
    sender.close()
    assert received(end) == FACTS


def test_any_thread_may_send(ends: tuple[FactSender, socket.socket]) -> None:
    sender, end = ends

    def send(first: int) -> None:
        for number in range(first, first + 50):
            sender.send(ReasonFact(number, "x" * 100))

    threads = [threading.Thread(target=send, args=(start * 50,)) for start in range(8)]
    for thread in threads:
        thread.start()
    got: list[Fact] = []
    for thread in threads:
        thread.join()
        got += received(end)
    sender.send(Ended(served=True))
    got += received(end)
    numbers = [fact.id for fact in got if isinstance(fact, ReasonFact)]
    assert sorted(numbers) == list(range(400))
    assert all(sorted(own) == own for own in ([n for n in numbers if n // 50 == start] for start in range(8)))


def test_the_recorder_asks_and_tells_until_it_ends(ends: tuple[FactSender, socket.socket]) -> None:
    sender, end = ends
    passed = facts.PassedBy(inode=7, tid=100, first=1 << 40, pushed=63, untouched=62)
    for said in (facts.ASK, facts.encode_passed(passed), b"nothing that it says", facts.ASK):
        end.send(said)
    assert select.select([sender], [], [], 0)[0]
    assert [sender.heard() for _ in range(5)] == [facts.ASK, passed, b"", facts.ASK, b""]
    assert not select.select([sender], [], [], 0)[0]
    end.close()
    assert select.select([sender], [], [], 0)[0]
    assert sender.heard() is None
