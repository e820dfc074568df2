"""What a lesson's claims and predictions come to."""

import pytest

from mapfs.errors import UsageError
from mapfs.lessons import NAMES, load
from mapfs.lessons.lesson import Claim, Lesson, Outcome, Prediction, pages_of, reads, weigh


def outcome(*claims: Claim) -> Outcome:
    return Outcome(Lesson("one", "a title", lambda _: None), "kernel", [*claims])


def test_a_claim_holds_if_what_was_measured_is_what_it_says() -> None:
    assert weigh("pages", [3, 17], [3, 17]).holds is True
    assert weigh("pages", [3, 17], [17, 3]).holds is False
    assert weigh("requests", 0, 0).holds is True, "nothing is a measurement too"
    assert weigh("requests", 0, None, "why") == Claim("requests", 0, None, None, "why")


@pytest.mark.parametrize(("measured", "holds"), [(0, False), (1, True), (9, True), (10, False), (None, None)])
def test_a_range_is_a_bound(measured: int | None, holds: bool | None) -> None:
    claim = weigh("pages", range(1, 10), measured)
    assert (claim.expected, claim.holds) == ({"least": 1, "most": 9}, holds)


def test_one_contradiction_is_enough_and_what_is_not_seen_is_none() -> None:
    yes, no, unseen = weigh("a", 1, 1), weigh("b", 1, 2), weigh("c", 1, None)
    assert [outcome(*some).holds for some in ([yes, no, unseen], [yes, unseen], [yes], [unseen], [])] == [
        False, True, True, None, None,
    ]  # fmt: skip
    assert [claim["verdict"] for claim in outcome(yes, no, unseen).as_json()["claims"]] == [True, False, None]


def test_predictions() -> None:
    assert Prediction("how many?", said=3, measured=3).right is True
    assert Prediction("which?", ("a", "b"), said="a", measured="b").right is False
    assert Prediction("how many?", measured=3).right is None and Prediction("how many?", said=3).right is None


def test_pages_of_events() -> None:
    events = [{"op": "read", "page": 3, "pages": 2}, {"op": "fault", "page": 9, "pages": 1}]
    assert pages_of(events) == [3, 4, 9] and pages_of(reads(events)) == [3, 4]


@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_has_the_name_of_its_module_and_fits_a_line(name: str) -> None:
    lesson = load(name)
    assert lesson.name == name and 0 < len(lesson.title) <= 64


def test_a_lesson_that_does_not_exist() -> None:
    for name in ("lesson", "stage", "../sharing", ""):
        with pytest.raises(UsageError, match="there is no lesson"):
            load(name)
