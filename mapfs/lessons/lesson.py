"""What a lesson is, what it claims, and what came of it: no I/O here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mapfs.lessons.stage import Stage


@dataclass(frozen=True, slots=True)
class Lesson:
    """`title` is the one sentence that it teaches; `run` plays it on a stage."""

    name: str
    title: str
    run: Callable[["Stage"], None]


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence that should be true, with what it says and what was measured.

    `measured` is None, and so is `holds`, where the evidence does not reach; `why` then says what is missing.
    """

    text: str
    expected: Any
    measured: Any
    holds: bool | None
    why: str | None = None


@dataclass(slots=True)
class Prediction:
    """A question that was asked before anything happened. `said` is None where nobody was asked."""

    question: str
    choices: tuple[str, ...] = ()
    said: str | int | None = None
    measured: str | int | None = None

    @property
    def right(self) -> bool | None:
        """Whether what was said is what was measured; None where either is missing."""
        return None if self.said is None or self.measured is None else self.said == self.measured


@dataclass(slots=True)
class Outcome:
    """What came of a lesson. `events` are those that it showed, as docs/TRACE.md has them."""

    lesson: Lesson
    evidence: str = "?"
    claims: list[Claim] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def holds(self) -> bool | None:
        """False where a claim was contradicted; None where nothing could be seen of any."""
        found = {claim.holds for claim in self.claims}
        return False if False in found else True if True in found else None

    def as_json(self) -> dict[str, Any]:
        """Plain objects."""
        return {
            "lesson": self.lesson.name,
            "title": self.lesson.title,
            "evidence": self.evidence,
            "verdict": self.holds,
            "claims": [
                {
                    "claim": one.text,
                    "expected": one.expected,
                    "measured": one.measured,
                    "verdict": one.holds,
                    "why": one.why,
                }
                for one in self.claims
            ],
            "events": self.events,
        }


def weigh(text: str, expected: Any, measured: Any, why: str | None = None) -> Claim:
    """The claim that `measured` is `expected`; a range means any number in it. None was not measured, for `why`."""
    if measured is None:
        return Claim(text, _plain(expected), None, None, why)
    holds = measured in expected if isinstance(expected, range) else measured == expected
    return Claim(text, _plain(expected), measured, holds)


def _plain(expected: Any) -> Any:
    """A range as its bounds, both included."""
    return {"least": expected[0], "most": expected[-1]} if isinstance(expected, range) else expected


def reads(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The requests among the events: what had to be asked for."""
    return [one for one in events if one["op"] == "read"]


def pages_of(events: Sequence[dict[str, Any]]) -> list[int]:
    """The pages that the events are about, in their order."""
    return [page for one in events for page in range(one["page"], one["page"] + one["pages"])]
