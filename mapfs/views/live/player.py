"""Which of the events that were read are due now: all of a running mount, of a trace those up to its clock.

The clock of a trace begins with its first event, and goes `speed` times as fast as time does. A pause stops it; a
running mount cannot be stopped, so that there the model goes on and a copy of it is shown.
"""

import time
from collections.abc import Callable
from typing import Any

from mapfs.views.live.feed import Feed
from mapfs.views.live.model import Model

SPEEDS = (0.001, 0.01, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0, 1000.0)
_AT_ONCE = 500  # events between two looks at the clock


class Player:
    """Plays `feed` into a model."""

    def __init__(self, feed: Feed, speed: float = 1.0, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.feed = feed
        self.model = Model(feed.mount, feed.size_of)
        self.speed = speed
        self.paused = False
        self._hurry = False
        self._clock = clock
        self._started = clock()
        self._frozen: Model | None = None
        self._position: int | None = None  # of the trace's clock, ns, when it was looked at last
        self._looked = clock()

    @property
    def shown(self) -> Model:
        """The model as it is to be shown: as it was when the pause began, or as it is."""
        return self._frozen or self.model

    @property
    def now_ns(self) -> int:
        """The time that is shown, in that of the events."""
        if self.feed.recorded and not self.over:
            return self._position if self._position is not None else self.model.last_ns
        if self._frozen is not None or self.over:
            return self.shown.last_ns
        return self._clock()

    @property
    def over(self) -> bool:
        """Nothing will come any more."""
        return self.feed.ended is not None and not self.feed.waiting

    @property
    def again(self) -> bool:
        """It can be played from its beginning: a trace, and one that was followed once it has ended."""
        return self.feed.recorded or (self.feed.is_trace and self.over)

    @property
    def behind(self) -> int:
        """Events that came since the pause began."""
        return self.model.events - self._frozen.events if self._frozen is not None else 0

    def advance(self, budget: float) -> int:
        """Tells the model what is due, for `budget` seconds at most; how many events that were."""
        self._look()
        if self.feed.recorded and self.paused:
            return 0
        told = self._tell(self._clock() + int(budget * 1e9))
        if self._hurry:
            self._position = max(self._position or 0, self.model.last_ns)
            self._hurry = not self.over
        return told

    def _tell(self, end: int) -> int:
        """Tells it until the clock is at `end`, ns, or nothing more is due."""
        waiting, apply, told = self.feed.waiting, self.model.apply, 0
        while waiting:
            for _ in range(min(_AT_ONCE, len(waiting))):
                if not self._due(waiting[0]):
                    return told
                apply(waiting.popleft())
                told += 1
            if self._clock() >= end:
                break
        return told

    def _look(self) -> None:
        """Moves the clock of a trace on."""
        now = self._clock()
        passed, self._looked = now - self._looked, now
        if self._position is not None and not self.paused and not self.over:
            self._position += int(passed * self.speed)

    def _due(self, event: dict[str, Any]) -> bool:
        if not self.feed.recorded or self._hurry or event["op"] == "lost":
            return True
        if self._position is None:
            self._position = event["time_ns"]
        return bool(event["time_ns"] <= self._position)

    # what people do

    def pause(self) -> None:
        """Pauses, or goes on."""
        self.paused = not self.paused
        if not self.feed.recorded:
            self._frozen = self.model.frozen() if self.paused else None

    def step(self) -> None:
        """The next event of a trace, whenever it was; pauses."""
        if not self.feed.recorded:
            return
        self.paused = True
        if self.feed.waiting:
            event = self.feed.waiting.popleft()
            self.model.apply(event)
            if event["op"] != "lost":
                self._position = max(self._position or 0, event["time_ns"])

    def faster(self, by: int) -> None:
        """The next speed, or with -1 the one before."""
        nearest = min(range(len(SPEEDS)), key=lambda at: abs(SPEEDS[at] - self.speed))
        self.speed = SPEEDS[min(max(nearest + by, 0), len(SPEEDS) - 1)]

    def skip_to_end(self) -> None:
        """All that a trace has, as fast as it can be counted."""
        if self.feed.recorded:
            self._hurry, self.paused = True, False
