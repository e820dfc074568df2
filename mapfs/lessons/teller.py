"""What the learner sees and is asked: paragraphs, questions, lines of the log, the verdict, in 80 columns."""

import os
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from mapfs.lessons.lesson import Claim, Lesson, Outcome, Prediction
from mapfs.views.lines import Lines
from mapfs.views.terminal import wants_colour

_WIDTH = 80
_NARROWEST = 40
_MOST_SHOWN = 12  # values of a list
_MARKS = {True: ("yes", "32"), False: ("NO", "1;31"), None: ("?", "33")}


class Teller:
    """Writes to standard output; nothing at all where `silent`. `asks`: the learner is there to predict."""

    def __init__(self, *, silent: bool = False, asks: bool = False) -> None:
        self._silent = silent
        self._asks = asks and not silent
        self._colour = wants_colour(sys.stdout)
        self._lines = Lines(colour=self._colour)
        self._width = max(_NARROWEST, min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns))

    def heading(self, lesson: Lesson) -> None:
        """The name and what it teaches."""
        self._print(self._paint("1", f"{lesson.name}: {lesson.title}"))

    def paragraphs(self, text: str) -> None:
        """Each folded to the width."""
        for paragraph in textwrap.dedent(text).strip().split("\n\n"):
            self._print("\n" + textwrap.fill(" ".join(paragraph.split()), self._width))

    def ask(self, question: str, choices: Sequence[str]) -> str | int | None:
        """The choice, or the number, that the learner predicts; None where nobody is asked."""
        self.paragraphs(question if self._asks else f"Think first: {question}")
        for number, choice in enumerate(choices, 1):
            self._print(self._hanging(f"  {number}  ", choice))
        if not self._asks:
            return None
        if not choices:
            said: int = click.prompt("Your prediction, a number", type=click.IntRange(0))
            return said
        index: int = click.prompt(f"Your prediction, 1 to {len(choices)}", type=click.IntRange(1, len(choices)))
        return choices[index - 1]

    def settle(self, prediction: Prediction) -> None:
        """Holds what was predicted against what was measured."""
        said, measured = prediction.said, prediction.measured
        if measured is None:
            self.paragraphs("What the answer is cannot be seen here.")
        elif said is None:
            self.paragraphs(f"Measured: {_shown(measured)}")
        elif prediction.right:
            self.paragraphs(f"You predicted it: {_shown(measured)}")
        else:
            self.paragraphs(f"You predicted: {_shown(said)}. Measured: {_shown(measured)}")

    def lines(self, groups: Sequence[Sequence[dict[str, Any]]], most: int) -> None:
        """The lines of the log, the first `most` of each group, without what would not fit."""
        self._print("")
        for events in groups:
            for event in events[:most]:
                self._print("  " + self._lines.short(event, self._width - 2))
            if len(events) > most:
                self._print(f"  ... and {len(events) - most:,} more like these")

    def verdict(self, outcome: Outcome) -> None:
        """Each claim with what was measured, and what follows."""
        self._print("\n" + self._paint("1", "What was measured"))
        for claim in outcome.claims:
            self._claim(claim)
        unseen = sum(claim.holds is None for claim in outcome.claims)
        if outcome.holds is False:
            self.paragraphs(
                "The evidence contradicts this lesson: on this machine, with these options, what it says is not so."
            )
        elif outcome.holds is None:
            self.paragraphs("With this evidence nothing of it can be seen.")
        elif unseen:
            self.paragraphs("What can be seen bears it out; what cannot is marked ?.")
        else:
            self.paragraphs("The evidence bears it out.")

    def rule(self) -> None:
        """Between two lessons."""
        self._print("\n" + self._paint("2", "-" * self._width) + "\n")

    def conclude(self, outcomes: Sequence[Outcome], following: str | None) -> None:
        """What several lessons add up to, how good the predictions were, and which lesson comes next."""
        if len(outcomes) > 1:
            held = Counter(outcome.holds for outcome in outcomes)
            told = [f"{held[True]} of {len(outcomes)} lessons borne out"]
            told += [f"{held[False]} contradicted"] if held[False] else []
            told += [f"{held[None]} not to be seen here"] if held[None] else []
            self.paragraphs(", ".join(told))
        rights = [one.right for outcome in outcomes for one in outcome.predictions if one.right is not None]
        if rights:
            self.paragraphs(f"You predicted {sum(rights)} of {len(rights)}.")
        self._print(f"next: mapfs lesson {following}" if following else "next: mapfs mount /tmp/x")

    def _claim(self, claim: Claim) -> None:
        mark, code = _MARKS[claim.holds]
        told = f"{claim.text}: {_shown(claim.measured)}"
        if claim.holds is False:
            told += f"; it should have been {_shown(claim.expected)}"
        elif claim.holds is None:
            told = f"{claim.text}: {claim.why or 'cannot be seen here'}"
        body = self._hanging(" " * 5, told)
        self._print(self._paint(code, f"{mark:<3}") + "  " + body[5:])

    def _hanging(self, indent: str, text: str) -> str:
        return textwrap.fill(text, self._width, initial_indent=indent, subsequent_indent=" " * len(indent))

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    def _print(self, text: str) -> None:
        if not self._silent:
            click.echo(text, color=True)  # what is coloured was decided above


def _shown(value: Any) -> str:
    """As a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        if value.keys() == {"least", "most"}:
            return f"{value['least']:,} to {value['most']:,}"
        return ", ".join(f"{key} {_shown(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        between = " | " if any(isinstance(one, list) for one in value) else ", "
        shown = between.join(_shown(one) for one in value[:_MOST_SHOWN])
        return shown + (f" and {len(value) - _MOST_SHOWN} more" if len(value) > _MOST_SHOWN else "") or "none"
    if isinstance(value, int | float):
        return f"{value:,g}" if isinstance(value, float) else f"{value:,}"
    return str(value)


def can_ask() -> bool:
    """Whether somebody sits at both ends."""
    return os.isatty(0) and sys.stdout.isatty()
