"""Sizes, times and pages in words and numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapfs.errors import SpecError
from mapfs.units import PAGE_SIZE, format_ns, format_size, page_count, page_span, parse_size, tail_waste


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("4096B", 4096),
        ("64K", 65536),
        ("64KB", 65536),
        ("64KiB", 65536),
        ("1.5G", 3 << 29),
        ("0.5K", 512),
        ("1.0", 1),
        ("3p", 3 * PAGE_SIZE),
        ("1.5p", PAGE_SIZE * 3 // 2),
        (" 2 M\n", 2 << 20),
        ("8T", 8 << 40),
        ("9223372036854775807", (1 << 63) - 1),
        ("0064", 64),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", " ", "K", "x", "1k", "1m", "1KB2", "1 2", "-1", "+1", "1,5K", "1e3", ".5K", "1.", "0x10", "1P", "1pB", "1Bi",
     "1iB", "\u0661", "1_000", "nan", "inf", "4096\x00", "1\n2", "9" * 5000, "1." + "0" * 5000],
)  # fmt: skip
def test_garbage_is_no_size(text: str) -> None:
    with pytest.raises(SpecError, match="is not a size; write 4096, 64K, 1.5G or 3p"):
        parse_size(text)


@pytest.mark.parametrize("text", ["1.5", "0.1K", "1.0001M", "0.3p", "1.5B"])
def test_a_fraction_of_a_byte_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="not a whole number of bytes"):
        parse_size(text)


@pytest.mark.parametrize("text", ["9223372036854775808", "8388608T", "9999999999999999p", "9" * 99])
def test_more_than_a_file_can_hold_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="larger than a file can be"):
        parse_size(text)


@given(st.text())
def test_any_text_is_a_size_or_a_spec_error(text: str) -> None:
    try:
        assert 0 <= parse_size(text) < 1 << 63
    except SpecError as error:
        assert error.exit_code == 2


@given(st.integers(0, (1 << 63) - 1))
def test_a_number_is_its_own_size(size: int) -> None:
    assert parse_size(str(size)) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (128, "128 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5120, "5.0 KiB"),
        (102400, "100 KiB"),
        (1 << 20, "1.0 MiB"),
        (3 << 29, "1.5 GiB"),
        (1 << 50, "1.0 PiB"),
        (1 << 62, "4096 PiB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (870, "870 ns"),
        (999, "999 ns"),
        (1000, "1.0 us"),
        (9949, "9.9 us"),
        (9950, "10 us"),
        (18_000, "18 us"),
        (999_499, "999 us"),
        (999_500, "1.0 ms"),
        (4_200_000, "4.2 ms"),
        (999_500_000, "1.00 s"),
        (1_500_000_000, "1.50 s"),
        (61_000_000_000, "61.00 s"),
    ],
)
def test_times_for_people(nanoseconds: int, text: str) -> None:
    assert format_ns(nanoseconds) == text


@given(st.integers(0, 1 << 50), st.integers(0, 64 * PAGE_SIZE))
def test_a_span_is_the_pages_of_its_bytes(offset: int, size: int) -> None:
    span = page_span(offset, size)
    assert span.start == offset // PAGE_SIZE
    assert span.step == 1
    assert span[-1] == (offset + max(size, 1) - 1) // PAGE_SIZE


def test_a_request_for_nothing_concerns_its_page() -> None:
    assert list(page_span(0, 0)) == [0]
    assert list(page_span(2 * PAGE_SIZE, 0)) == [2]
    assert list(page_span(2 * PAGE_SIZE + 1, 0)) == [2]


@given(st.integers(0, 1 << 62))
def test_pages_and_waste_add_up(size: int) -> None:
    assert page_count(size) * PAGE_SIZE == size + tail_waste(size)
    assert 0 <= tail_waste(size) < PAGE_SIZE


def test_another_machine_s_page_size() -> None:
    assert (page_count(5120, 16384), tail_waste(5120, 16384)) == (1, 11264)
