"""What can be done to a request: the four kinds of fault, and a rule, which says to which requests and how often.

A rule is written as an option of a spec is: `delay=20ms@3-7:25%`, `error=EIO:2x`, `write-error=ENOSPC`, `corrupt=flip`.
"""

import difflib
import errno
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

from mapfs.errors import SpecError
from mapfs.sources.base import Buffer
from mapfs.sources.wrap import rules
from mapfs.sources.wrap.rules import Limit, Pages
from mapfs.units import PAGE_SIZE, parse_seconds

_LONGEST = 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class Delay:
    """A wait of between `shortest` and `longest` seconds, all equally likely."""

    shortest: float
    longest: float

    @classmethod
    def parse(cls, text: str) -> "Delay":
        first, dash, second = text.partition("-")
        shortest = parse_seconds(first)
        longest = parse_seconds(second) if dash else shortest
        if longest > _LONGEST or shortest > _LONGEST:
            raise SpecError(f"delay={text} is too long; the longest is 1h")
        if longest < shortest:
            raise SpecError(f"delay={text} ends before it begins; write the shorter time first, as in delay=10ms-30ms")
        return cls(shortest, longest)

    def seconds(self) -> float:
        return random.uniform(self.shortest, self.longest)  # noqa: S311 -- dice, no secret


@dataclass(frozen=True, slots=True)
class Failure:
    """An errno of errno(3)."""

    number: int

    @classmethod
    def parse(cls, text: str) -> "Failure":
        number = getattr(errno, text, None) if text.isupper() else None
        if not isinstance(number, int):
            close = difflib.get_close_matches(text.upper(), errno.errorcode.values(), n=1)
            hint = f"did you mean {close[0]}?" if close else "write EIO, ENOSPC or another name of errno(3)"
            raise SpecError(f"{text!r} is no name of an error; {hint}")
        return cls(number)


@dataclass(frozen=True, slots=True)
class Corruption:
    """Wrong bytes, the same ones each time that a page is corrupted."""

    how: str

    @classmethod
    def parse(cls, text: str) -> "Corruption":
        if text not in ("flip", "zero", "random"):
            raise SpecError(f"corrupt={text} is none of flip, zero and random, as in corrupt=flip@3")
        return cls(text)

    def corrupted(self, data: Buffer, offset: int, pages: list[int], end: int) -> bytearray:
        """`data`, read from `offset`, with what lies in `pages` corrupted. `end` is the size of the file."""
        wrong, stop = bytearray(data), offset + len(data)
        for page in pages:
            start = page * PAGE_SIZE
            first, last = max(offset, start), min(stop, start + PAGE_SIZE)
            if self.how == "flip":
                held = max(last - start, min(PAGE_SIZE, end - start))  # of a short last page, a bit that it has
                at, bit = _place(page, held)
                if first <= start + at < last:
                    wrong[start + at - offset] ^= 1 << bit
            elif self.how == "zero":
                wrong[first - offset : last - offset] = bytes(last - first)
            else:
                made = hashlib.shake_128(b"random %d" % page).digest(PAGE_SIZE)
                wrong[first - offset : last - offset] = made[first - start : last - start]
        return wrong


def _place(page: int, held: int) -> tuple[int, int]:
    """The byte, of `held` ones, and the bit in it that are flipped."""
    drawn = int.from_bytes(hashlib.shake_128(b"flip %d" % page).digest(8), "little")
    return drawn % held, drawn >> 61


Fault = Delay | Failure | Corruption
#: Each kind of fault: what reads its value, and an example of it.
FAULTS: dict[str, tuple[Callable[[str], Fault], str]] = {
    "delay": (Delay.parse, "20ms"),
    "error": (Failure.parse, "EIO"),
    "write-error": (Failure.parse, "ENOSPC"),
    "corrupt": (Corruption.parse, "flip"),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A fault, the pages whose requests it befalls, and how often. `value` is the fault as it was written."""

    name: str
    value: str
    fault: Fault
    pages: Pages
    limit: Limit

    def __str__(self) -> str:
        return f"{self.name}={rules.joined(self.value, self.pages, self.limit)}"


def rule(name: str, text: str | None) -> Rule:
    """The rule in the option `name` with the value `text`. Raises SpecError."""
    parse, example = FAULTS[name]
    if not text:
        raise SpecError(f"{name}= needs a value, as in {name}={example} or {name}={example}@3+5-9:25%")
    value, pages, limit = rules.split(text)
    return Rule(name, value, parse(value), pages, limit)


def parse(text: str) -> Rule:
    """The rule in `error=EIO@3:2x`. Raises SpecError."""
    name, _, value = text.strip().partition("=")
    if name not in FAULTS:
        close = difflib.get_close_matches(name, FAULTS, n=1)
        hint = f"did you mean {close[0]}=?" if close else f"there are {', '.join(FAULTS)}, as in delay=20ms"
        raise SpecError(f"{name!r} is no kind of fault; {hint}")
    return rule(name, value)
