"""Faults that can be changed while they are in use: `Rules`, and `Injected`, a source to which they happen.

Any number of sources may share one `Rules`. A request fails or is corrupted as a whole where it touches a page that a
rule names: with read-ahead it can span several, and the kernel then asks for the single pages again. Each rule is
drawn once a request. A reader of `Rules` takes a tuple that never changes, so nothing is locked in the usual case.
"""

import threading
from dataclasses import replace

from mapfs.errors import SourceError, errno_name
from mapfs.sources.base import Buffer, Source
from mapfs.sources.wrap import rules as grammar
from mapfs.sources.wrap.base import Wrapper
from mapfs.sources.wrap.faults import Corruption, Delay, Failure, Rule, parse
from mapfs.sources.wrap.rules import Limit

_MOST_DRAWN = 1024


class _Armed:
    """A rule in use, and how many times it will still hold."""

    __slots__ = ("left", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.left = rule.limit.times


class Rules:
    """The faults that happen to the sources which share this. Thread-safe."""

    def __init__(self, *first: Rule) -> None:
        self._lock = threading.Lock()
        #: What happens to reads and to writes; replaced, never changed.
        self.reading: tuple[_Armed, ...] = ()
        self.writing: tuple[_Armed, ...] = ()
        #: How often all rules were taken away.
        self.cleared = 0
        for one in first:
            self._arm(one)

    def add(self, text: str) -> Rule:
        """One more rule, as in `error=EIO@3:2x`. Raises SpecError."""
        added = parse(text)
        self._arm(added)
        return added

    def clear(self) -> None:
        """No rule any more."""
        with self._lock:
            self.reading = self.writing = ()
            self.cleared += 1

    def describe(self) -> list[str]:
        """The rules in the grammar of `add`; those with times say how many are left."""
        with self._lock:
            armed = (*self.reading, *self.writing)
            return [str(replace(one.rule, limit=Limit(one.rule.limit.probability, one.left))) for one in armed]

    def holds(self, one: _Armed) -> bool:
        """Draws, and counts, for a request that touches the pages of `one`."""
        if one.left is None:
            return one.rule.limit.chance()
        with self._lock:
            if not one.left:
                return False
            one.left -= 1
            if not one.left:
                self.reading = tuple(other for other in self.reading if other is not one)
                self.writing = tuple(other for other in self.writing if other is not one)
        return True

    def _arm(self, rule: Rule) -> None:
        with self._lock:
            if rule.name == "write-error":
                self.writing = (*self.writing, _Armed(rule))
            else:
                self.reading = (*self.reading, _Armed(rule))


class Injected(Wrapper):
    """`inner`, to which `rules` happen.

    Delays are told by `hold`: whoever calls `read` without having asked `hold`, as a test or another wrapper may, is
    not delayed. Nothing here sleeps. A delay is drawn once a request: by `try_read`, which keeps what it drew for the
    `hold` that follows, or by `hold`. Errors and corruptions are drawn by whichever read answers.
    """

    def __init__(self, inner: Source, rules: Rules) -> None:
        super().__init__(inner)
        self.backing_fd = None  # the kernel would read around the rules
        self._rules = rules
        self._lock = threading.Lock()
        self._drawn: dict[tuple[int, int], list[tuple[int, float]]] = {}

    def try_read(self, offset: int, size: int) -> Buffer | None:
        rules = self._rules.reading
        if not rules:
            return self.inner.try_read(offset, size)
        cleared, delay = self._rules.cleared, self._delay(rules, offset, size)
        data = None if delay else self.inner.try_read(offset, size)
        if data is not None:
            self._fail(rules, offset, size)
            return self._corrupted(rules, offset, data)
        if delay is not None:
            with self._lock:
                if len(self._drawn) >= _MOST_DRAWN:
                    self._drawn.clear()  # of callers who never asked; to draw again is no harm
                self._drawn.setdefault((offset, size), []).append((cleared, delay))
        return None

    def hold(self, offset: int, size: int) -> float:
        delay = self._drawn_before(offset, size)
        if delay is None:
            delay = self._delay(self._rules.reading, offset, size) or 0.0
        return delay + self.inner.hold(offset, size)

    def read(self, offset: int, size: int) -> Buffer:
        rules = self._rules.reading
        if not rules:
            return self.inner.read(offset, size)
        self._fail(rules, offset, size)
        return self._corrupted(rules, offset, self.inner.read(offset, size))

    def write(self, offset: int, data: Buffer) -> None:
        self._fail(self._rules.writing, offset, len(data))
        self.inner.write(offset, data)

    def flush(self) -> None:
        """Fails by the rules that name no pages: nobody knows which pages fsync(2) is about."""
        for one in self._rules.writing:
            if one.rule.pages == grammar.ALL and isinstance(one.rule.fault, Failure) and self._rules.holds(one):
                number = one.rule.fault.number
                raise SourceError(f"{one.rule.name}={errno_name(number)} was asked for", number)
        self.inner.flush()

    def _drawn_before(self, offset: int, size: int) -> float | None:
        """What `try_read` drew for this request; None where it did not, or the rules were cleared since."""
        if not self._drawn:
            return None
        with self._lock:
            kept = self._drawn.get((offset, size))
            if not kept:
                return None
            cleared, delay = kept.pop()
            if not kept:
                del self._drawn[offset, size]
        return delay if cleared == self._rules.cleared else None

    def _delay(self, rules: tuple[_Armed, ...], offset: int, size: int) -> float | None:
        """Seconds, of all rules together; None where no rule for delays names a page of the request."""
        total = None
        for one in rules:
            fault = one.rule.fault
            if isinstance(fault, Delay) and one.rule.pages.intersects(offset, size):
                total = total or 0.0
                if self._rules.holds(one):
                    total += fault.seconds()
        return total

    def _fail(self, rules: tuple[_Armed, ...], offset: int, size: int) -> None:
        for one in rules:
            fault = one.rule.fault
            if not isinstance(fault, Failure):
                continue
            page = one.rule.pages.first(offset, size)
            if page is not None and self._rules.holds(one):
                name = errno_name(fault.number)
                raise SourceError(f"{one.rule.name}={name} was asked for on page {page}", fault.number)

    def _corrupted(self, rules: tuple[_Armed, ...], offset: int, data: Buffer) -> Buffer:
        for one in rules:
            fault = one.rule.fault
            if isinstance(fault, Corruption):
                pages = one.rule.pages.within(offset, len(data))
                if pages and self._rules.holds(one):
                    data = fault.corrupted(data, offset, pages, self.inner.size)
        return data
