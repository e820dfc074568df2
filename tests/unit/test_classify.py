"""COLD or REFAULT."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapfs.trace.classify import Classifier, PageSet
from mapfs.trace.events import COLD, ERROR, READ, REFAULT, WRITE, WRITTEN
from mapfs.trace.ring import DIRECT, Record
from mapfs.units import PAGE_SIZE

FILE = 1
PAGES = st.integers(0, 70_000) | st.integers(0, 1 << 51)


def request(page: int, count: int = 1, *, file: int = FILE, op: int = READ, flags: int = 0, error: int = 0) -> Record:
    return Record(0, 0, page * PAGE_SIZE, 0, count * PAGE_SIZE, file, 0, 0, op, flags, error, 0, 1)


@pytest.fixture
def classifier() -> Classifier:
    classifier = Classifier()
    classifier.known(FILE)
    return classifier


def test_a_page_is_cold_once(classifier: Classifier) -> None:
    assert classifier.classify(request(3)) == (COLD, 0)
    assert classifier.classify(request(3)) == (REFAULT, 1)
    assert classifier.classify(request(3)) == (REFAULT, 1)
    assert classifier.classify(request(4)) == (COLD, 0)


def test_a_request_for_several_pages_counts_those_that_came_again(classifier: Classifier) -> None:
    assert classifier.classify(request(2, 2)) == (COLD, 0)
    assert classifier.classify(request(0, 8)) == (COLD, 2)
    assert classifier.classify(request(0, 8)) == (REFAULT, 8)
    assert classifier.classify(request(7, 2)) == (COLD, 1)


def test_a_request_that_starts_within_a_page(classifier: Classifier) -> None:
    record = request(0)._replace(offset=PAGE_SIZE - 1, size=2)
    assert classifier.classify(record) == (COLD, 0)
    assert classifier.classify(request(0, 2)) == (REFAULT, 2)
    assert classifier.classify(request(5)._replace(size=0)) == (COLD, 0)


def test_an_error_brings_no_page_in(classifier: Classifier) -> None:
    assert classifier.classify(request(3, error=errno.EIO)) == (ERROR, 0)
    assert classifier.classify(request(3, op=WRITE, error=errno.EIO)) == (ERROR, 0)
    assert classifier.classify(request(3, flags=DIRECT, error=errno.EIO)) == (ERROR, 0)
    assert classifier.classify(request(3)) == (COLD, 0)


def test_what_goes_past_the_page_cache_is_neither(classifier: Classifier) -> None:
    assert classifier.classify(request(3, flags=DIRECT)) == (None, 0)
    assert classifier.classify(request(3)) == (COLD, 0)
    assert classifier.classify(request(3, flags=DIRECT)) == (None, 0)


def test_a_write_is_a_write(classifier: Classifier) -> None:
    assert classifier.classify(request(3, op=WRITE)) == (WRITTEN, 0)
    assert classifier.classify(request(3)) == (COLD, 0)


def test_a_new_version_of_a_file_starts_anew(classifier: Classifier) -> None:
    classifier.classify(request(3))
    classifier.known(2)
    assert classifier.classify(request(3, file=2)) == (COLD, 0)
    assert classifier.classify(request(3)) == (REFAULT, 1)


def test_a_file_whose_fact_is_missing_is_counted_all_the_same(classifier: Classifier) -> None:
    assert classifier.classify(request(3, file=9)) == (COLD, 0)
    assert classifier.classify(request(3, file=9)) == (REFAULT, 1)


def test_after_a_loss_no_page_of_a_known_file_is_called_cold(classifier: Classifier) -> None:
    classifier.classify(request(3))
    classifier.lost()
    assert classifier.classify(request(4)) == (None, 0)
    assert classifier.classify(request(3)) == (REFAULT, 1)
    assert classifier.classify(request(4)) == (REFAULT, 1), "from now on it is known to have been there"
    assert classifier.classify(request(3, 4)) == (None, 2)
    classifier.known(2)
    assert classifier.classify(request(4, file=2)) == (COLD, 0), "what was opened since has lost nothing"


@given(st.lists(PAGES))
def test_a_page_set_is_a_set(pages: list[int]) -> None:
    mine, theirs = PageSet(), set[int]()
    for page in pages:
        assert mine.add(page) == (page not in theirs)
        theirs.add(page)
        assert mine.count == len(theirs)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(1, 6)), max_size=40))
def test_against_sets(requests: list[tuple[int, int, int]]) -> None:
    classifier = Classifier()
    seen: dict[int, set[int]] = {}
    for file, page, count in requests:
        pages = set(range(page, page + count))
        again = pages & seen.setdefault(file, set())
        expected = REFAULT if again == pages else COLD
        assert classifier.classify(request(page, count, file=file)) == (expected, len(again))
        seen[file] |= pages
