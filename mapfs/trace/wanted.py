"""Who wants something of the recorder by a pipe: events, statistics or metrics, complete up to the moment of asking."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from mapfs.trace import facts
from mapfs.trace.scrape import send_metrics
from mapfs.trace.stream import send_events, send_stats

if TYPE_CHECKING:
    from mapfs.trace.recorder import Recorder

_PATIENCE = 8_000_000_000  # ns that whoever asks for counts waits for all that had happened; the daemon gives up later

Wish = facts.EventsWanted | facts.StatsWanted | facts.MetricsWanted


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Somebody asked, at the moment `asked`, ns, when `head` was the next serial number in the ring."""

    fact: Wish
    fd: int
    head: int
    asked: int


class Wanted:
    """All who wait."""

    def __init__(self, recorder: "Recorder") -> None:
        self._recorder = recorder
        self._waiting: list[_Wanted] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, fact: Wish, fds: list[int]) -> None:
        """Somebody asks, and has sent a pipe."""
        self._waiting += [_Wanted(fact, fd, self._recorder.ring.head(), time.monotonic_ns()) for fd in fds]

    def serve(self, nursery: trio.Nursery) -> None:
        """Once all that had happened when they asked has been handed on, so that they miss nothing. Where that takes
        long, whoever asked for counts gets those that there are; they say how many requests are missing (`behind`).
        """
        recorder, waiting = self._recorder, []
        for one in self._waiting:
            if not recorder.caught_up(one.head, one.asked) and not self._impatient(one):
                waiting.append(one)
            elif isinstance(one.fact, facts.StatsWanted):
                nursery.start_soon(send_stats, recorder, one.fact, one.fd)
            elif isinstance(one.fact, facts.MetricsWanted):
                nursery.start_soon(send_metrics, recorder, one.fact.daemon, one.fd)
            else:
                nursery.start_soon(send_events, recorder, one.fd, one.fact.follow)
        self._waiting = waiting

    def _impatient(self, one: _Wanted) -> bool:
        if isinstance(one.fact, facts.EventsWanted):
            return False
        return one.fact.now or time.monotonic_ns() - one.asked > _PATIENCE
