"""The language of `data:`, against a reading of it that expands everything."""

import random
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapfs.errors import SpecError
from mapfs.sources import catalogue
from mapfs.sources.base import Source
from mapfs.sources.data import DEEPEST, MOST_TEXT
from mapfs.sources.spec import Spec
from mapfs.units import PAGE_SIZE
from tests.unit.test_docs import section

SOURCES = (Path(__file__).parents[2] / "docs" / "SOURCES.md").read_text("utf-8")
#: The text of an item, and its bytes where the repeats around it have gone round so often.
Item = tuple[str, Callable[[tuple[int, ...]], bytes]]


def opened(text: str) -> Source:
    """Through the text of a spec, as a mount gets it."""
    source = catalogue.open_spec(catalogue.parse(str(Spec("data", text))))
    assert isinstance(source, Source)
    return source


def content(text: str) -> bytes:
    source = opened(text)
    return bytes(source.read(0, source.size))


def fixed(text: str, data: bytes) -> Item:
    return text, lambda _: data


@st.composite
def runs(draw: st.DrawFn) -> Item:
    data = draw(st.binary(min_size=1, max_size=5))
    if draw(st.booleans()):
        return fixed(data.hex(), data)
    quote = draw(st.sampled_from("\"'"))
    escaped = "".join(chr(byte) if 32 <= byte < 127 and byte not in b"\\\"'" else f"\\x{byte:02x}" for byte in data)
    return fixed(f"{quote}{escaped}{quote}", data)


@st.composite
def literals(draw: st.DrawFn) -> Item:
    width = draw(st.integers(1, 8))
    order = draw(st.sampled_from(["little", "big"]))
    signed = draw(st.booleans())
    least, most = (-(1 << 8 * width - 1), (1 << 8 * width - 1) - 1) if signed else (0, (1 << 8 * width) - 1)
    value = draw(st.integers(least, most))
    written = hex(value) if draw(st.booleans()) else str(value)
    text = f"{'i' if signed else 'u'}{8 * width}{'le' if order == 'little' else 'be'}:{written}"
    return fixed(text, value.to_bytes(width, "little" if order == "little" else "big", signed=signed))


@st.composite
def counters(draw: st.DrawFn, repeats: int) -> Item:
    width, level = draw(st.integers(1, 8)), draw(st.integers(0, repeats - 1))
    factor, added = draw(st.integers(0, 1000)), draw(st.integers(-1000, 1000))
    little = draw(st.booleans())

    def made(counts: tuple[int, ...]) -> bytes:
        value = (factor * counts[-1 - level] + added) % (1 << 8 * width)
        return value.to_bytes(width, "little" if little else "big")

    name = draw(st.sampled_from(["n", "n0"])) if not level else f"n{level}"
    return f"u{8 * width}{'le' if little else 'be'}:{name}*{factor}{added:+}", made


@st.composite
def groups(draw: st.DrawFn, repeats: int, depth: int) -> Item:
    sign = draw(st.sampled_from(["", "*", "*", "~"]))
    text, inner = draw(items(repeats + bool(sign), depth - 1))
    if not sign:
        return f"({text})", inner
    number = draw(st.integers(0, 40))
    length = len(inner((0,) * (repeats + 1)))
    if sign == "~" and not length:
        number = 0

    def made(counts: tuple[int, ...]) -> bytes:
        times = number if sign == "*" else -(-number // (length or 1))
        all_of_it = b"".join(inner((*counts, count)) for count in range(times))
        return all_of_it if sign == "*" else all_of_it[:number]

    return f"({text}){draw(st.sampled_from(['', ' ']))}{sign}{number}", made


@st.composite
def items(draw: st.DrawFn, repeats: int = 0, depth: int = 3) -> Item:
    """The content of a group or of the whole."""
    texts: list[str] = []
    parts: list[Callable[[tuple[int, ...]], bytes]] = []
    size = 0
    for _ in range(draw(st.integers(0, 4))):
        kinds = ["run", "literal", "@", "%"] + ["counter"] * bool(repeats) + ["group"] * 2 * bool(depth)
        kind = draw(st.sampled_from(kinds))
        if kind in "@%":
            number = size + draw(st.integers(0, 9)) if kind == "@" else draw(st.integers(1, 9))
            gap = number - size if kind == "@" else -size % number
            fill = draw(st.none() | st.integers(0, 255))
            text, made = fixed(f"{kind}{number}" + ("" if fill is None else f":{fill:02X}"), bytes([fill or 0]) * gap)
        elif kind == "counter":
            text, made = draw(counters(repeats))
        elif kind == "group":
            text, made = draw(groups(repeats, depth))
        else:
            text, made = draw(runs() if kind == "run" else literals())
        texts.append(text)
        parts.append(made)
        size += len(made((0,) * repeats))
    blank = draw(st.sampled_from([" ", "\n", ' \t# a comment, with (a " in it\n']))
    return blank.join(texts), lambda counts: b"".join(part(counts) for part in parts)


@settings(max_examples=300)
@given(items(), st.data())
def test_every_range_is_what_expanding_all_of_it_gives(item: Item, data: st.DataObject) -> None:
    text, made = item
    expected = made(())
    source = opened(text)
    assert source.size == len(expected)
    assert bytes(source.read(0, len(expected))) == expected
    for _ in range(5):
        offset = data.draw(st.integers(0, len(expected)))
        size = data.draw(st.integers(0, len(expected) - offset))
        assert bytes(source.read(offset, size)) == expected[offset : offset + size]


@given(st.text(st.sampled_from("\"'()@%*~:\\x# \n0fu8len1-+K,")))
def test_any_text_is_content_or_points_at_its_mistake(text: str) -> None:
    try:
        source = opened(text)
    except SpecError as error:
        at = re.match(r"data: character (\d+): .", str(error))
        assert at, error
        assert 1 <= int(at[1]) <= len(text) + 1
    else:
        assert len(bytes(source.read(0, min(source.size, 1000)))) == min(source.size, 1000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", b""),
        (" # nothing", b""),
        ("00 ff 0aF0", b"\0\xff\x0a\xf0"),
        ("'a, b' \"it's\"", b"a, bit's"),
        (r'"\n\t\r\0\\\"\'\x41"', b"\n\t\r\0\\\"'A"),
        ("'\u00e9' \"\udcff\"", b"\xc3\xa9\xff"),
        ("'a''b'(00)(01)", b"ab\0\1"),
        ("u8:255 i8:-1 u16le:0x0102 u16be:0x0102", b"\xff\xff\2\1\1\2"),
        ("i64be:-2 u24le:1 u8le:007", b"\xff" * 7 + b"\xfe\1\0\0\7"),
        ("ff*3 'ab' * 0x2 'ab'~3 ''~0 ''*9", b"\xff\xff\xffabababa"),
        ("'a' @4 'b' @8:ff 'c' %16", b"a\0\0\0b\xff\xff\xffc" + bytes(7)),
        ("'a' (@2 'b' %4)*2", b"a\0\0b\0\0\0b\0"),
        ("(u8:n)*3 (u8:n*16+1)*3 (u8:n-1)*2", b"\0\1\2\x01\x11\x21\xff\0"),
        ("((u8:n1 u8:n)*2)*2 (u16be:n)~3", b"\0\0\0\1\1\0\1\1\0\0\0"),
        ("(u8:n)*258", bytes(range(256)) + b"\0\1"),
        ("00*1p @1p", bytes(PAGE_SIZE)),
    ],
)
def test_what_a_text_stands_for(text: str, expected: bytes) -> None:
    assert content(text) == expected


ITEM = 'is no item; write hex digits, "text", u32le:5, ( ), @OFFSET or %SIZE'
ESCAPE = r"this is not an escape; write \n, \t, \r, \0, \\, \', \" or \xHH"
VALUE = "is no value; write 5, -5, 0xff or n*8+5 (n counts a repeat)"
BACK = "bytes before this already, counted from the start of the file or group"
COUNT = "n counts a repeat, and there are not as many around it; write (...)*COUNT"
SIZE = "is not a size; write 4096, 64K, 1.5G or 3p (pages)"
LARGE = "with this it is larger than a file can be (8E)"


MISTAKES = [
    ("00 xyz", 4, f"'xyz' {ITEM}"),
    ("ff;00", 3, f"';' {ITEM}"),
    ("'a',,'b'", 4, f"',' {ITEM}"),
    ("\u00e9", 1, f"'\u00e9' {ITEM}"),
    ("00 abc", 4, "a byte has two hex digits, so 'abc' needs one more"),
    ("00 'a", 4, "this string has no closing '"),
    ('"a\\"', 1, 'this string has no closing "'),
    ("'\u00e9\\q'", 3, ESCAPE),
    ("'\\\u00e9'", 2, ESCAPE),
    ("'ab\\x4'", 4, ESCAPE),
    ("'\ud800'", 1, "this string holds half of a surrogate pair, which UTF-8 cannot; write its bytes as \\xHH"),
    ("(00 (ff)", 1, "this '(' has no ')'"),
    ("00)", 3, "there is no '(' for this ')'"),
    ("(" * (DEEPEST + 1), DEEPEST + 1, f"groups are nested deeper than {DEEPEST}"),
    ("@4 *2", 4, "there is nothing before '*' that can be repeated; put it in ( )"),
    ("~2", 1, "there is nothing before '~' that can be repeated; put it in ( )"),
    ("00*2*2", 5, "there is nothing before '*' that can be repeated; put it in ( )"),
    ("u7:1", 1, "an integer has 8, 16, 24, 32, 40, 48, 56 or 64 bits, not 7"),
    ("00 u72le:1", 4, "an integer has 8, 16, 24, 32, 40, 48, 56 or 64 bits, not 72"),
    ("i16:1", 1, "an integer of 16 bits needs its byte order; write i16le: or i16be:"),
    ("u8:5*3", 4, f"'5*3' {VALUE}"),
    ("u16le: 5", 7, f"'' {VALUE}"),
    ("u8:256", 4, "256 does not fit; u8 reaches from 0 to 255"),
    ("u8:-1", 4, "-1 does not fit; u8 reaches from 0 to 255"),
    ("i16be:-0x8001", 7, "-0x8001 does not fit; i16 reaches from -32768 to 32767"),
    ("u8:n", 4, COUNT),
    ("(u8:1 u16le:n1)*2", 13, COUNT),
    ("((u8:n))", 6, COUNT),
    ("'abcd' @3", 8, f"there are 4 {BACK}"),
    ("'abcd' (00 @0)*2", 12, f"there are 1 {BACK}"),
    ("%0", 1, "an alignment is at least 1"),
    ("%4:f", 4, "what fills a gap is one byte of two hex digits, as in %4K:ff"),
    ("@4:", 4, "what fills a gap is one byte of two hex digits, as in %4K:ff"),
    ("00*", 4, f"'' {SIZE}"),
    ("00*-1", 4, f"'' {SIZE}"),
    ("@ 4", 2, f"'' {SIZE}"),
    ("@1.3K", 2, "'1.3K' is not a whole number of bytes"),
    ("@8388608T", 2, "'8388608T' is larger than a file can be (8E)"),
    ("''~5", 3, "nothing, however often, does not fill 5 bytes"),
    ("(00*4T)*4T", 8, LARGE),
    ("00 @0x8000000000000000", 4, LARGE),
    ("@9223372036854775807 00", 22, LARGE),
    ("00 %0xffffffffffffffff", 4, LARGE),
    ("ff*9223372036854775807 (00*9223372036854775807)*2", 48, LARGE),
]  # fmt: skip


@pytest.mark.parametrize(("text", "at", "sentence"), MISTAKES)
def test_a_mistake_is_pointed_at(text: str, at: int, sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        opened(text)
    assert str(caught.value) == f"data: character {at}: {sentence}"


def test_a_text_has_a_bound() -> None:
    assert len(content("0" * MOST_TEXT)) == MOST_TEXT // 2
    with pytest.raises(SpecError) as caught:
        opened(" " * (MOST_TEXT + 1))
    assert str(caught.value) == "data: the text has 65537 characters; the most is 65536, so repeat with *"


@pytest.mark.parametrize(
    ("text", "size", "offset", "expected"),
    [
        ('@1T "end"', (1 << 40) + 3, (1 << 40) - 2, b"\0\0end"),
        ("(u64le:n)*1000000000000", 8 * 10**12, 8 * 10**12 - 8, (10**12 - 1).to_bytes(8, "little")),
        ("('ab' (u8:n1 u8:n)*1T)*3", 3 * (2 + (2 << 40)), 4 + (2 << 40) + 2 * (1 << 39), b"\1\0\1\1"),
        ("00~9223372036854775806 ff", (1 << 63) - 1, (1 << 63) - 3, b"\0\xff"),
        ("(((ff 00)*1M)*1M)*1M '!'", (1 << 61) + 1, (1 << 61) - 1, b"\0!"),
        ("(" * DEEPEST + "00" + " ff)*2" * DEEPEST, None, 0, b"\0\xff\0"),
    ],
)  # fmt: skip
def test_what_is_huge_opens_at_once_and_takes_no_memory(
    text: str, size: int | None, offset: int, expected: bytes
) -> None:
    tracemalloc.start()
    try:
        source = opened(text)
        assert size is None or source.size == size
        assert bytes(source.read(offset, len(expected))) == expected
        for place in (0, source.size // 2, source.size - (64 << 10)):
            assert len(bytes(source.read(max(0, place), 64 << 10))) == 64 << 10
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def test_a_range_costs_as_much_as_it_is_long() -> None:
    """Counted in calls of nodes, not in seconds: the same anywhere in a huge file."""
    source = opened("(u32le:n 'x' (ff)*3 (u8:n1 u8:n)*5)*1T")
    body = bytes(source.read(0, 18))
    for number in (1, 255, 256, 10**9, (1 << 40) - 1):
        found = bytes(source.read(18 * number, 18))
        assert found[:4] == (number % 2**32).to_bytes(4, "little")
        assert found[4:8] == body[4:8]
        assert found[8:] == bytes(byte for count in range(5) for byte in (number % 256, count))
    far = 18 * ((1 << 40) - 5000)
    whole = bytes(source.read(far + 7, 18 * 2000))
    pieces = random.Random(1)
    at = 0
    while at < len(whole):
        size = min(pieces.randint(1, 200), len(whole) - at)
        assert bytes(source.read(far + 7 + at, size)) == whole[at : at + size]
        at += size


def test_small_repeats_do_not_fill_the_memory() -> None:
    tracemalloc.start()
    try:
        source = opened(" ".join(["ff*1K u8:1"] * (MOST_TEXT // 11)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert source.size == MOST_TEXT // 11 * 1025
    assert peak < 32 << 20


def test_each_mistake_is_in_the_list_of_errors() -> None:
    rows = re.findall(r"^\| (`[^|]*`) \|", section(SOURCES, "Errors"), re.MULTILINE)
    listed = [re.escape(sentence).replace("…", ".*") for row in rows for sentence in re.findall("`(.*?)`", row)]
    for _, _, sentence in MISTAKES:
        assert any(re.match(one, sentence) for one in listed), sentence


def test_the_examples_of_the_documentation() -> None:
    rows = re.findall(r"^\| `data:(.+?)` \| `([0-9a-f ]*)`(.*) \|$", SOURCES, re.MULTILINE)
    assert len(rows) >= 5
    for text, expected, rest in rows:
        source = catalogue.open_spec(catalogue.parse(f"data:{text}"))
        assert isinstance(source, Source)
        wanted = bytes.fromhex(expected)
        if not rest:
            assert bytes(source.read(0, source.size)) == wanted, text
            continue
        where = re.fullmatch(r" at (\d+) of (\d+)", rest)
        assert where, rest
        assert source.size == int(where[2])
        assert bytes(source.read(int(where[1]), len(wanted))) == wanted, text
