"""Budgets: what may stand in one, how a summary is held against it, and that a budget that was written can be read."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapfs.errors import TraceError, UsageError
from mapfs.trace.events import Lost
from mapfs.trace.facts import FileFact
from mapfs.trace.store import Store
from mapfs.views.budget import Budget, FileLimits, Limits, as_toml, check, parse, renewed
from mapfs.views.summary import Summary, summarise
from tests.unit.samples import FILE, MOUNT, THREAD, event

PAGE = MOUNT.page_size
INDEX = FileFact(2, 3, "users.idx", "pages:8p", 8 * PAGE, 1)


def summary(*, lost: int = 0) -> Summary:
    """Three pages of a/b, one of them again, and one of users.idx; they waited 4 x 300 ns + 1 ms."""
    store = Store(":memory:")
    try:
        for fact in (MOUNT, FILE, INDEX, THREAD):
            store.fact(fact)
        store.events([event(number + 1, offset=number * PAGE) for number in range(3)])
        store.events([event(4, cls="REFAULT", refaults=1), event(5, file=INDEX, wait_ns=1_000_000)])
        if lost:
            store.events([Lost(lost)])
        return summarise(store.connection)
    finally:
        store.connection.close()


def rows(text: str, *, lost: int = 0) -> list[tuple[str | None, str, float, float, bool | None]]:
    found = check(summary(lost=lost), parse(text, "b.toml")).rows
    return [(row.match, row.what, row.limit, row.found, row.ok) for row in found]


def test_a_limit_is_kept_up_to_the_limit_itself() -> None:
    assert rows("[total]\npages = 4\nrefaults = 0\nwait_ms = 1.0012") == [
        (None, "pages", 4, 4, True),
        (None, "refaults", 0, 1, False),
        (None, "wait_ms", 1.0012, 1.0012, True),
    ]
    assert rows("[total]\npages = 3\nwait_ms = 1") == [
        (None, "pages", 3, 4, False),
        (None, "wait_ms", 1, 1.0012, False),
    ]


def test_files_that_match_are_added_up() -> None:
    text = '[[file]]\nmatch = "*"\npages = 3\n[[file]]\nmatch = "a*"\nrefaults = 1\n[[file]]\nmatch = "z"\npages = 0'
    assert rows(text) == [("*", "pages", 3, 4, False), ("a*", "refaults", 1, 1, True), ("z", "pages", 0, 0, True)]
    (row, *_) = check(summary(), parse(text, "b.toml")).rows
    assert list(row.by.items()) == [("a/b", 3), ("users.idx", 1)]


def test_lost_events_leave_open_what_is_not_exceeded_anyway() -> None:
    assert rows("[total]\npages = 4\nrefaults = 0", lost=2) == [
        (None, "pages", 4, 4, None),
        (None, "refaults", 0, 1, False),
    ]
    budget = parse("[total]\npages = 4", "b.toml")
    assert [check(summary(lost=lost), budget).ok for lost in (0, 2)] == [True, None]
    with pytest.raises(TraceError, match="2 events of this run were lost"):
        renewed(summary(lost=2), budget)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "limits nothing"),
        ("[total]", "limits nothing"),
        ("pages = 4", "unknown field `pages`"),
        ("[total]\npags = 4", r"unknown field `pags` - at `\$.total`"),
        ("[total]\npages = -1", r">= 0 - at `\$.total.pages`"),
        ("[total]\npages = 1.5", "Expected `int"),
        ("[total]\npages = true", "Expected `int"),
        ("[total]\nwait_ms = nan", r">= 0.0 - at `\$.total.wait_ms`"),
        ("[total]\nwait_ms = inf", "no number"),
        ("[total]\npages = ", "not TOML: Invalid value"),
        ("[[file]]\npages = 1", "missing required field `match`"),
        ('[[file]]\nmatch = "a"', "'a' limits nothing"),
        ('[file]\nmatch = "a"\npages = 1', "Expected `array`"),
        ('[[file]]\nmatch = "a"\npages = 1\n[[file]]\nmatch = "a"\nrefaults = 1', "twice"),
    ],
)
def test_what_is_no_budget_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as raised:
        parse(text, "b.toml")
    assert str(raised.value).startswith("b.toml") and "\n" not in str(raised.value)


def test_a_new_budget_is_what_the_run_took() -> None:
    text = as_toml(renewed(summary(), None))
    assert text == (
        '[total]\npages = 4\nrefaults = 1\n\n[[file]]\nmatch = "a/b"\npages = 3\nrefaults = 1\n\n'
        '[[file]]\nmatch = "users.idx"\npages = 1\nrefaults = 0\n'
    )
    assert check(summary(), parse(text, "b.toml")).ok


def test_a_renewed_budget_has_the_limits_that_it_had() -> None:
    old = parse('[total]\nwait_ms = 0.5\n[[file]]\nmatch = "*.idx"\npages = 100', "b.toml")
    assert renewed(summary(), old) == Budget(Limits(wait_ms=2), (FileLimits(match="*.idx", pages=1),))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True, min_size=1))
def test_a_budget_that_is_written_is_read_again_whatever_files_are_called(names: list[str]) -> None:
    taken = summary()
    files = [dataclasses.replace(taken.files[0], file=name) for name in names]
    taken = dataclasses.replace(taken, files=files)
    budget = parse(as_toml(renewed(taken, None)), "b.toml")
    assert len(budget.file) == len(names)
    assert check(taken, budget).ok  # each pattern matches its own file, and no other
