"""Sinks: one that fails is dropped, one that lags is told what it missed."""

import io
import threading
from collections.abc import Sequence

import pytest

from mapfs.trace.events import Event, Lost
from mapfs.trace.sinks import SinkThread, warn
from tests.unit.samples import event

WITHIN = 20.0  # seconds

Item = Event | Lost


class Slow:
    """A sink that stands still until it is let go."""

    def __init__(self) -> None:
        self.got: list[Item] = []
        self.let_go = threading.Event()
        self._changed = threading.Condition()

    def __call__(self, events: Sequence[Item]) -> None:
        with self._changed:
            self.got += events
            self._changed.notify_all()
        assert self.let_go.wait(WITHIN)

    def wait_for(self, count: int) -> None:
        """Until it was given `count` events."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.got) >= count, WITHIN), f"got {len(self.got)} of {count}"


def events(first: int, last: int) -> list[Item]:
    return [event(serial) for serial in range(first, last + 1)]


def test_everything_arrives_in_order_and_close_waits_for_it() -> None:
    got: list[Item] = []
    sink = SinkThread("test", got.extend, 10_000)
    for first in range(1, 1000, 10):
        sink(events(first, first + 9))
    assert sink.close(WITHIN)
    assert got == events(1, 1000)


def test_one_that_raises_is_dropped_with_one_warning(capfd: pytest.CaptureFixture[str]) -> None:
    calls: list[int] = []

    def broken(batch: Sequence[Item]) -> None:
        calls.append(len(batch))
        raise OSError(28, "ignored")

    sink = SinkThread("log", broken, 100)
    sink(events(1, 3))
    assert not sink.close(WITHIN)
    for _ in range(3):
        sink(events(4, 6))
    assert not sink.close(WITHIN)
    assert isinstance(sink.failure, OSError)
    assert calls == [3]
    assert sink.waiting == 0
    line = "mapfs: the log stopped: No space left on device; the mount goes on without it\n"
    assert capfd.readouterr().err == line


def test_even_a_sink_that_exits_is_only_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    def broken(_: Sequence[Item]) -> None:
        raise SystemExit(3)

    sink = SinkThread("log", broken, 100)
    sink(events(1, 1))
    assert not sink.close(WITHIN)
    assert capfd.readouterr().err.count("\n") == 1


def lagging(capacity: int) -> tuple[Slow, SinkThread]:
    """A sink that is held up in its first event, and its thread."""
    slow = Slow()
    sink = SinkThread("log", slow, capacity)
    sink(events(1, 1))
    slow.wait_for(1)
    return slow, sink


def test_one_that_lags_skips_and_says_how_many() -> None:
    slow, sink = lagging(10)
    sink(events(2, 6))
    sink(events(7, 11))  # as many as may wait
    sink(events(12, 12))
    sink([Lost(30), event(43)])
    sink(events(44, 45))
    assert (sink.waiting, sink.skipped) == (10, 34)
    slow.let_go.set()
    slow.wait_for(11)
    sink(events(46, 47))
    assert sink.close(WITHIN)
    assert slow.got == [*events(1, 11), Lost(34, skipped=True), *events(46, 47)]
    assert (sink.waiting, sink.skipped) == (0, 34)


def test_one_that_lags_to_the_end_is_told_at_the_end() -> None:
    slow, sink = lagging(4)
    sink(events(2, 5))
    sink(events(6, 9))
    slow.let_go.set()
    assert sink.close(WITHIN)
    assert slow.got == [*events(1, 5), Lost(4, skipped=True)]


def test_a_batch_larger_than_the_capacity_still_goes_to_one_that_keeps_up() -> None:
    got: list[Item] = []
    sink = SinkThread("log", got.extend, 4)
    sink(events(1, 100))
    assert sink.close(WITHIN)
    assert got == events(1, 100)


def test_close_does_not_wait_for_ever() -> None:
    slow = Slow()
    sink = SinkThread("log", slow, 4)
    sink(events(1, 1))
    slow.wait_for(1)
    assert not sink.close(0)
    slow.let_go.set()
    assert sink.close(WITHIN)


def test_a_slow_sink_delays_no_other() -> None:
    slow, got = Slow(), list[Item]()
    sinks = [SinkThread("slow", slow, 4), SinkThread("fast", got.extend, 1000)]
    for sink in sinks:
        sink(events(1, 4))
    assert sinks[1].close(WITHIN)
    assert got == events(1, 4)
    slow.let_go.set()
    assert sinks[0].close(WITHIN)


@pytest.mark.parametrize("error", [BrokenPipeError(32, "x"), ValueError("I/O operation on closed file")])
def test_a_warning_that_nobody_can_read(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    class Gone(io.StringIO):
        def write(self, text: str, /) -> int:
            raise error

    monkeypatch.setattr("sys.stderr", Gone())
    warn("it is over")
