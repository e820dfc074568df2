"""The grammar of wrappers: pages, limits and rules; and the sets of pages that copy on write keeps."""

import itertools
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mapfs.errors import SpecError
from mapfs.sources.wrap import faults, rules
from mapfs.sources.wrap.faults import Corruption, Delay, Failure, Rule
from mapfs.sources.wrap.inject import Rules
from mapfs.sources.wrap.rules import ALL, Limit, Pages
from mapfs.sources.wrap.spans import Spans
from mapfs.units import PAGE_SIZE

NUMBERS = st.integers(0, 60)
RANGES = st.tuples(NUMBERS, st.none() | st.integers(0, 20)).map(
    lambda pair: (pair[0], None if pair[1] is None else pair[0] + pair[1])
)
LISTS = st.lists(RANGES, min_size=1, max_size=6)
PAGES = LISTS.map(lambda ranges: Pages.parse(text_of(ranges)))
LIMITS = (
    st.just(Limit())
    | st.integers(1, 10**9 - 1).map(lambda times: Limit(times=times))
    | st.decimals(0, 1, places=9).map(lambda value: Limit(probability=value))
)
VALUES = st.sampled_from(
    [("delay", "20ms"), ("delay", "0"), ("delay", "10 ms-1h"), ("error", "EIO"), ("write-error", "ENOSPC"),
     ("corrupt", "flip"), ("corrupt", "zero"), ("corrupt", "random")]
)  # fmt: skip


def text_of(ranges: list[tuple[int, int | None]], by: str = "+") -> str:
    return by.join(f"{first}-{'' if last is None else last}" for first, last in ranges)


def numbers_of(ranges: list[tuple[int, int | None]], below: int) -> set[int]:
    return {n for first, last in ranges for n in range(first, below if last is None else min(last + 1, below))}


@given(LISTS, st.sampled_from("+,"))
@example([(0, None)], "+")
def test_pages_are_those_that_were_named(ranges: list[tuple[int, int | None]], by: str) -> None:
    pages = Pages.parse(text_of(ranges, by))
    named = numbers_of(ranges, 100)
    assert {n for n in range(100) if pages.intersects(n * PAGE_SIZE, PAGE_SIZE)} == named
    assert pages.within(0, 100 * PAGE_SIZE) == sorted(named)
    assert Pages.parse(str(pages)) == pages
    assert numbers_of(list(pages.ranges), 100) == named
    assert all(last is not None for _, last in pages.ranges[:-1])


@given(PAGES, st.integers(0, 80 * PAGE_SIZE), st.integers(0, 30 * PAGE_SIZE))
def test_a_request_touches_pages_where_one_of_its_own_is_named(pages: Pages, offset: int, size: int) -> None:
    touched = range(offset // PAGE_SIZE, max(offset, offset + size - 1) // PAGE_SIZE + 1)
    named = [page for page in touched if pages.intersects(page * PAGE_SIZE, 1)]
    assert pages.first(offset, size) == (named[0] if named else None)
    assert pages.intersects(offset, size) == bool(named)


def test_pages_that_touch_are_one_range() -> None:
    assert Pages.parse("3+1-2,4+9-7000+8-").ranges == ((1, 4), (8, None))
    assert Pages.parse("0-") == ALL
    assert str(Pages.parse("7 , 5-6+1-1+3-")) == "1+3-"


@pytest.mark.parametrize(
    ("text", "limit", "again"),
    [
        ("1", Limit(times=1), "1x"),
        ("3x", Limit(times=3), "3x"),
        ("1.0", Limit(probability=Decimal(1)), "1.0"),
        ("0.0", Limit(probability=Decimal(0)), "0.0"),
        ("0%", Limit(probability=Decimal(0)), "0.0"),
        ("0.50", Limit(probability=Decimal("0.5")), "0.5"),
        ("25%", Limit(probability=Decimal("0.25")), "0.25"),
        ("0.1%", Limit(probability=Decimal("0.001")), "0.001"),
        ("100%", Limit(probability=Decimal(1)), "1.0"),
    ],
)
def test_a_point_or_a_percent_sign_is_a_probability_and_anything_else_is_times(
    text: str, limit: Limit, again: str
) -> None:
    assert Limit.parse(text) == limit
    assert str(limit) == again


@given(VALUES, PAGES, LIMITS)
def test_the_text_of_a_rule_is_the_rule(value: tuple[str, str], pages: Pages, limit: Limit) -> None:
    name, text = value
    made = faults.rule(name, rules.joined(text, pages, limit))
    assert (made.pages, made.limit) == (pages, limit)
    assert faults.parse(str(made)) == made
    assert faults.parse(f"{name}={text}").limit == Limit()


def test_the_parts_of_rules() -> None:
    assert faults.parse("delay=10ms-30ms@3+5-9:25%") == Rule(
        "delay", "10ms-30ms", Delay(0.01, 0.03), Pages(((3, 3), (5, 9))), Limit.parse("0.25")
    )
    assert faults.parse("error=EIO:2").fault == Failure(5)
    assert faults.parse("error=EWOULDBLOCK").fault == faults.parse("error=EAGAIN").fault
    assert faults.parse("corrupt=flip").fault == Corruption("flip")


WRONG = [
    ("sleep=1s", "'sleep' is no kind of fault; there are delay, error, write-error, corrupt, as in delay=20ms"),
    ("eror=EIO", "'eror' is no kind of fault; did you mean error=?"),
    ("delay=", "delay= needs a value, as in delay=20ms or delay=20ms@3+5-9:25%"),
    ("delay", "delay= needs a value, as in delay=20ms or delay=20ms@3+5-9:25%"),
    ("delay=fast", "'fast' is not a time; write 20ms, 1.5s or 2m"),
    ("delay=2h", "delay=2h is too long; the longest is 1h"),
    ("delay=1s-61m", "delay=1s-61m is too long; the longest is 1h"),
    ("delay=30ms-10ms", "delay=30ms-10ms ends before it begins; write the shorter time first, as in delay=10ms-30ms"),
    ("error=EI0", "'EI0' is no name of an error; did you mean EIO?"),
    ("error=5", "'5' is no name of an error; write EIO, ENOSPC or another name of errno(3)"),
    ("error=errorcode", "'errorcode' is no name of an error; "),
    ("corrupt=swap", "corrupt=swap is none of flip, zero and random, as in corrupt=flip@3"),
    ("error=EIO@", "'' names no pages; write 3, 5-9 or 7- (to the end), joined by +"),
    ("error=EIO@3-5-7", "'3-5-7' names no pages; write 3, 5-9 or 7- (to the end), joined by +"),
    ("error=EIO@3++5", "'3++5' names no pages; write 3, 5-9 or 7- (to the end), joined by +"),
    ("error=EIO@9-5", "'9-5' has a range that ends before it begins; write 5-9"),
    ("error=EIO:", "'' is neither a probability nor a number of times; write 0.25, 25% or 3x"),
    ("error=EIO:0", "'0' is neither a probability nor a number of times; write 0.25, 25% or 3x"),
    ("error=EIO:1.5", "'1.5' is neither a probability nor a number of times; write 0.25, 25% or 3x"),
    ("error=EIO:101%", "'101%' is neither a probability nor a number of times; write 0.25, 25% or 3x"),
    ("error=EIO:.5", "'.5' is neither a probability nor a number of times; write 0.25, 25% or 3x"),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG, ids=[text for text, _ in WRONG])
def test_a_rule_that_cannot_be_read(text: str, sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        Rules().add(text)
    assert str(caught.value).startswith(sentence)


@given(st.text(st.sampled_from("0123456789+-,@:x.%EIOdelay=ms")))
def test_no_text_is_anything_but_a_rule_or_a_spec_error(text: str) -> None:
    try:
        made = faults.parse(text)
    except SpecError as error:
        assert "\n" not in str(error)
    else:
        assert faults.parse(str(made)) == made


@given(st.lists(st.tuples(st.booleans(), NUMBERS, NUMBERS), max_size=20), NUMBERS, NUMBERS)
def test_spans_are_sets(steps: list[tuple[bool, int, int]], start: int, stop: int) -> None:
    spans, model = Spans(), set[int]()
    for adds, one, other in steps:
        if adds:
            spans.add(one, other)
            model |= set(range(one, other))
        else:
            spans.remove(one, other)
            model -= set(range(one, other))
    assert {n for first, last in spans for n in range(first, last)} == model
    assert spans.count == len(model)
    assert {n for n in range(70) if n in spans} == model
    ranges = list(spans)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(ranges))
    runs = list(spans.runs(start, stop))
    assert [n for first, last, _ in runs for n in range(first, last)] == list(range(start, stop))
    assert all(first < last and (n in model) == present for first, last, present in runs for n in range(first, last))
    assert all(one[2] != other[2] for one, other in itertools.pairwise(runs))
