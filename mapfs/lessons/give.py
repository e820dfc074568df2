"""Gives a lesson from its heading to its verdict."""

import tempfile
from pathlib import Path

from mapfs.lessons.lesson import Lesson, Outcome
from mapfs.lessons.stage import Settings, Stage
from mapfs.lessons.teller import Teller


def give(lesson: Lesson, teller: Teller, settings: Settings) -> Outcome:
    """What came of it; nothing of it is left. Raises MapfsError where it cannot be given here."""
    outcome = Outcome(lesson)
    teller.heading(lesson)
    with tempfile.TemporaryDirectory(prefix="mapfs-lesson-") as work:
        lesson.run(Stage(outcome, teller, Path(work), settings))
    teller.verdict(outcome)
    return outcome
