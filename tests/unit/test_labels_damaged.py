"""Files that are damaged, cut off or made to mislead cost their own labels: nothing raises, nothing leads outside the
file, and what is read and kept stays in bounds.
"""

import itertools
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapfs.trace.labels import FORMATS, labels_of_descriptor
from mapfs.trace.labels.content import Content, UnreadableError
from mapfs.trace.labels.ranges import MOST_RANGES, Labels, flattened
from tests.unit.label_samples import MAKERS

CALM = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@cache
def sample(name: str) -> bytes:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "sample"
        if name == "sqlite":
            MAKERS["sqlite"](path, rows=150, page_size=512)  # type: ignore[call-arg] # the maker has it
        else:
            MAKERS[name](path)
        return path.read_bytes()


def looked_at(data: bytes) -> Labels | None:
    """What a file of `data` gets; each label has been asked for its name."""
    fd = os.memfd_create("damaged")
    try:
        os.truncate(fd, len(data))
        os.pwrite(fd, data, 0)
        labels = labels_of_descriptor(fd, len(data))
    finally:
        os.close(fd)
    if labels is None:
        return None
    ranges = list(labels)
    assert all(0 <= one.start < one.end <= len(data) and len(one.name) <= 256 for one in ranges)
    assert all(one.end <= other.start for one, other in itertools.pairwise(ranges))
    return labels


@pytest.mark.parametrize("name", MAKERS)
@CALM
@given(data=st.data())
def test_cut_off(name: str, data: st.DataObject) -> None:
    whole = sample(name)
    end = data.draw(st.one_of(st.integers(0, min(len(whole), 3000)), st.integers(0, len(whole))))
    looked_at(whole[:end])


@pytest.mark.parametrize("name", MAKERS)
@CALM
@given(data=st.data())
def test_flipped(name: str, data: st.DataObject) -> None:
    """Bits anywhere, and bytes near the beginning and the end, where what names the parts stands."""
    changed = bytearray(sample(name))
    size = len(changed)
    places = st.one_of(
        st.integers(0, size - 1), st.integers(0, min(size, 600) - 1), st.integers(max(0, size - 600), size - 1)
    )
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(1, 255)), min_size=1, max_size=8)):
        changed[place] ^= value
    looked_at(bytes(changed))


@pytest.mark.parametrize("name", MAKERS)
@CALM
@given(data=st.data())
def test_wide_numbers(name: str, data: st.DataObject) -> None:
    """Lengths, counts and offsets that claim more than there is."""
    changed = bytearray(sample(name))
    near = st.integers(0, min(len(changed), 2000) - 8)
    place = data.draw(st.one_of(near, near.map(lambda at: len(changed) - 8 - at)))
    number = data.draw(st.sampled_from([0, 1, 0xFF, 0xFFFF, 1 << 31, 0xFFFFFFFF, 1 << 62, (1 << 64) - 1]))
    width = data.draw(st.sampled_from([2, 4, 8]))
    changed[place : place + width] = (number & ((1 << 8 * width) - 1)).to_bytes(
        width, data.draw(st.sampled_from(["little", "big"]))
    )
    looked_at(bytes(changed))


@CALM
@given(st.sampled_from([*FORMATS.values()]), st.binary(max_size=400), st.binary(max_size=40))
def test_noise_behind_a_magic_number(one: object, body: bytes, tail: bytes) -> None:
    magic = one.magic  # type: ignore[attr-defined] # a Format
    for end in (b"", magic, b"PK\5\6" + bytes(18)):
        looked_at(magic + body + tail + end)


def endless_names() -> bytes:
    """100,000 sections that have all of 24 MiB for their name."""
    count, start = 100_000, 64
    texts = start + 64 * count
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, 62, 1, 0, 0, start, 0, 64, 0, 0, 64, 0, 1)
    sections = [struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, count, 1, 0, 0, 0)]
    sections += [struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, texts, 24 << 20, 0, 0, 0, 0)] * (count - 1)
    return header + b"".join(sections) + b"x" * (24 << 20)


def many_columns() -> bytes:
    """An Arrow file whose schema has 60 levels, each a struct of twenty times the next: 20^60 columns."""
    levels, children, place, size = 60, 20, 44, 112
    built = struct.pack("<I", 12)  # to the footer: its vtable, then the distance back to it, and to the schema
    built += struct.pack("<HHHH", 8, 8, 0, 4) + struct.pack("<iI", 8, 12)
    built += struct.pack("<HHHH", 8, 8, 0, 4) + struct.pack("<iI", 8, 4)  # the schema, with a vector of fields
    built += struct.pack("<II", 1, place + 16 - 40)
    for number in range(levels):
        built += struct.pack("<HH6H", 16, 16, 0, 0, 4, 0, 0, 8) + struct.pack("<iBxxxI", 16, 13, 4)
        following = place + size * (number + 1) + 16
        vector = place + size * number + 28
        built += struct.pack("<I", children if number + 1 < levels else 0)
        built += struct.pack(f"<{children}I", *[following - vector - 4 - 4 * n for n in range(children)])
    assert len(built) == place + size * levels
    return b"ARROW1\0\0" + built + struct.pack("<I", len(built)) + b"ARROW1"


def hostile() -> Iterator[tuple[str, bytes, int]]:
    """What asks for much: its name, how it begins, and how long it is in all (a hole follows)."""
    far = (1 << 64) - 1
    yield "gguf strings", b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", far), 1 << 40
    strings = struct.pack("<Q1sIIQ", 1, b"k", 9, 8, 4_999_999)
    yield "gguf array", b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + strings, 1 << 40
    yield "gguf tensors", b"GGUF" + struct.pack("<IQQ", 3, MOST_RANGES, 0), 1 << 40
    nested = struct.pack("<Q1sI", 1, b"k", 9) + struct.pack("<IQ", 9, 1) * 100_000
    yield "gguf nested", b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + nested, 1 << 30
    yield "safetensors nested", struct.pack("<Q", 1 << 20) + b'{"a":' * 200_000, 1 << 21
    many = b"{" + b",".join(b'"%d":{"dtype":"I8","shape":[],"data_offsets":[0,0]}' % n for n in range(1_100_000)) + b"}"
    yield "safetensors tensors", struct.pack("<Q", len(many)) + many, 1 << 30
    shape = b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d,)}" % (1 << 60)
    yield "npy rows", b"\x93NUMPY\1\0" + struct.pack("<H", len(shape)) + shape, 1 << 40
    brackets = b"(" * 9000
    yield "npy brackets", b"\x93NUMPY\1\0" + struct.pack("<H", len(brackets)) + brackets, 1 << 20
    minus = b"-" * 9000 + b"1"
    yield "npy signs", b"\x93NUMPY\1\0" + struct.pack("<H", len(minus)) + minus, 1 << 20
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, 62, 1, 0, 0, 64, 0, 64, 0, 0, 64, 0, 0)
    yield "elf sections", header + struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 1 << 32, 0, 0, 0, 0), 1 << 40
    symbols = struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, 0, 1 << 40, 0, 0, 0, 24)
    yield "elf symbols", header[:60] + struct.pack("<HH", 1, 0) + symbols, 1 << 40
    yield "elf names without an end", endless_names(), 1 << 25
    yield "arrow columns that are one another's", many_columns(), 0
    values = b"\x49" + b"\xfc" + b"\xff\xff\xff\x06" + bytes(15 << 20)  # field 4, a list of empty structs
    footer = values + struct.pack("<I", len(values)) + b"PAR1"
    yield "parquet values", b"PAR1" + footer, 0
    database = bytearray(b"SQLite format 3\0" + bytes(4080))
    database[16:20] = b"\x10\0\1\1"
    yield "sqlite pages", bytes(database), 1 << 42
    database[32:36] = (2).to_bytes(4, "big")
    yield "sqlite free list", bytes(database) + struct.pack(">II", 2, 0xFFFFFFFF), 1 << 33


@pytest.mark.parametrize(("head", "size"), [pytest.param(*rest, id=name) for name, *rest in hostile()])
def test_what_claims_much_takes_little(tmp_path: Path, head: bytes, size: int) -> None:
    """In a process that may have 1 GiB of address space, and 20 s of CPU time before it is killed."""
    path = tmp_path / "hostile"
    path.write_bytes(head)
    os.truncate(path, max(size, len(head)))
    ask = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30));"
        "resource.setrlimit(resource.RLIMIT_CPU, (20, 20));"
        "from mapfs.trace.labels import labels_of; labels = labels_of(sys.argv[1]);"
        "print(labels is None or sum(one.end <= labels.size for one in labels) == len(labels))"
    )
    done = subprocess.run([sys.executable, "-c", ask, path], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_a_zip_of_very_many_members_has_no_labels(tmp_path: Path) -> None:
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    directory = entry * 400_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(directory), 0, 0)
    (tmp_path / "z").write_bytes(directory + end)
    with zipfile.ZipFile(tmp_path / "z") as archive:
        assert len(archive.infolist()) == 400_000
    fd = os.open(tmp_path / "z", os.O_RDONLY)
    try:
        assert labels_of_descriptor(fd) is None
    finally:
        os.close(fd)


SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted).map(tuple), max_size=12)


@given(SPANS)
def test_the_innermost_holds(pairs: list[tuple[int, int]]) -> None:
    """Byte by byte: of the spans there, the one that began last, of those the shortest, of those the last given."""
    spans = [(start, end, number) for number, (start, end) in enumerate(pairs) if start < end]
    wanted: dict[int, int] = {}
    for at in range(60):
        here = [(start, -end, number) for start, end, number in spans if start <= at < end]
        if here:
            wanted[at] = max(here)[2]
    flat = list(flattened(sorted(spans, key=lambda span: (span[0], -span[1]))))
    assert {at: number for start, end, number in flat for at in range(start, end)} == wanted
    labels = Labels(60, spans)
    assert [labels.at(at) for at in range(60)] == [str(wanted[at]) if at in wanted else None for at in range(60)]
    for offset, size in ((0, 60), (7, 13), (59, 1)):
        kept = dict.fromkeys(wanted[at] for at in range(offset, offset + size) if at in wanted)
        assert labels.numbers(offset, size) == list(kept)


def test_no_span_outside_the_file_and_not_too_many() -> None:
    for spans in ([(0, 11, 0)], [(-1, 5, 0)], [(5, 4, 0)]):
        with pytest.raises(ValueError, match="does not lie within"):
            Labels(10, spans)
    with pytest.raises(ValueError, match="more than"):
        Labels(10, ((0, 1, n) for n in range(MOST_RANGES + 1)))


def test_a_budget_is_kept(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(10_000))
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    try:
        content = Content(fd, 10_000, most_bytes=5000)
        assert content.read(0, 4000) == bytes(4000)
        with pytest.raises(UnreadableError, match="too much"):
            content.read(0, 1001)
        with pytest.raises(UnreadableError, match="too much"):
            Content(fd, 10_000, most_bytes=5000, seconds=-1.0).read(0, 1)
        for offset, size in ((9000, 1001), (-1, 5), (0, -1), (10_001, 0)):
            with pytest.raises(UnreadableError, match="do not lie within"):
                Content(fd, 10_000, most_bytes=5000).read(offset, size)
        os.truncate(tmp_path / "f", 100)
        with pytest.raises(UnreadableError, match="shorter than it was"):
            Content(fd, 10_000, most_bytes=5000).read(50, 100)
    finally:
        os.close(fd)
