"""Lessons in virtual memory: each sets a small mount up, has real processes use it, and lets the trace decide.

A lesson is a module here with a `LESSON`; its name is the module's, with hyphens. It says what it claims, and computes
from what was measured whether that holds, so that a lesson that is wrong here says so.
"""

import importlib

from mapfs.errors import UsageError
from mapfs.lessons.lesson import Lesson

#: In the order in which they build on each other.
NAMES = (
    "demand-paging",
    "sharing",
    "copy-on-write",
    "read-ahead",
    "fragmentation",
    "mmap-vs-read",
    "eviction",
    "loading",
    "sigbus",
)


def load(name: str) -> Lesson:
    """The lesson of that name. Raises UsageError where there is none."""
    if name not in NAMES:
        raise UsageError(f"there is no lesson {name!r}; mapfs lesson lists them")
    lesson = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").LESSON
    assert isinstance(lesson, Lesson)
    return lesson
