"""Files made of parts (`concat:`, `sparse:`), and what `data:` and they say when they cannot be opened."""

import errno
import os
import threading
from collections.abc import Hashable

import pytest

from mapfs.errors import MapfsError, SourceError, SpecError
from mapfs.sources import catalogue
from mapfs.sources.base import Buffer, Entry, Source
from mapfs.sources.concat import open_concat
from mapfs.sources.parts import PartsSource, Piece, split
from mapfs.sources.spec import Spec
from mapfs.testing import FakeSource
from tests.contract.places import CONTENT, WITHIN, Place, spec_of
from tests.contract.places_content import part

SIZE = "is not a size; write 4096, 64K, 1.5G or 3p (pages)"
MISSING = "No such file or directory; check the path"
DEEP = "nested deeper than 8; name the innermost parts"
REFUSED: list[tuple[str, type[MapfsError], str]] = [
    ("data:xyz", SpecError, "data: character 1: 'xyz' is no item; write hex digits, \"text\", u32le:5, ( ), @OFFSET or %SIZE"),
    ("concat:", SpecError, "concat: part 1: '' is not a spec; write KIND:ARG, as in file:/etc/hosts or zero:64K"),
    ("concat:zero:1|", SpecError, "concat: part 2: '' is not a spec; write KIND:ARG, as in file:/etc/hosts or zero:64K"),
    ("concat:zero:1|zerro:1", SpecError, "concat: part 2: there is no source of the kind 'zerro'; did you mean zero:?"),
    ("concat:file:HOME/file|zero:x", SpecError, f"concat: part 2: 'x' {SIZE}"),
    ("concat:zero:1,,seed=1", SpecError, "concat: part 1: zero: has no option 'seed'; it takes none of its own (a comma in ARG is doubled)"),
    ("concat:zero:1,seed=1", SpecError, "concat: has no option 'seed'; it takes none of its own (a comma in ARG is doubled)"),
    ("concat:zero:1|zero:1,,interval=1s,,coherency=live", SpecError, "concat: part 2: coherency= goes behind the whole, not behind a part"),
    ("concat:file:HOME/file|file:HOME/missing", SourceError, f"concat: part 2: cannot open file 'HOME/missing': {MISSING}"),
    ("concat:file:HOME/file|dir:HOME", SourceError, "concat: part 2 is a directory, which has no bytes; name a file in it"),
    ("concat:file:HOME/file|concat:zero:1||shm:", SourceError, "concat: part 2: concat: part 2 is a directory, which has no bytes; name a file in it"),
    ("concat:file:HOME/file|zero:5000000T|zero:5000000T", SourceError, "concat: its parts together are larger than a file can be (8E)"),
    ("concat:" * 9 + "zero:1", SpecError, f"concat: sources of parts are {DEEP}"),
    ("concat:zero:1|sparse:1||x=zero:1", SpecError, f"sparse: part 1 cannot be read: 'x' {SIZE}"),
    ("sparse:", SpecError, f"sparse: its size cannot be read: '' {SIZE}"),
    ("sparse:zero:1", SpecError, f"sparse: its size cannot be read: 'zero:1' {SIZE}"),
    ("sparse:1M|zero:4K", SpecError, "sparse: part 1: 'zero:4K' is not OFFSET=SPEC; write 64K=file:/data/a"),
    ("sparse:1M|", SpecError, "sparse: part 1: '' is not OFFSET=SPEC; write 64K=file:/data/a"),
    ("sparse:1M|0=zero:1|x=zero:4K", SpecError, f"sparse: part 2 cannot be read: 'x' {SIZE}"),
    ("sparse:1M|0=zero:1|4K=", SpecError, "sparse: part 2: '' is not a spec; write KIND:ARG, as in file:/etc/hosts or zero:64K"),
    ("sparse:1M|4K=file:HOME/file|0=zero:4097", SourceError,
     "sparse: part 1 begins at 4096, before part 2 ends at 4097; move one of them, or cut it short with truncate="),
    ("sparse:4K|0=file:HOME/short|4095=text:ab", SourceError,
     "sparse: part 2 ends at 4097, past the size 4096; write a larger size, or cut the part short with truncate="),
    ("sparse:0|1=zero:0", SourceError,
     "sparse: part 1 ends at 1, past the size 0; write a larger size, or cut the part short with truncate="),
    ("sparse:1M|0=dir:HOME", SourceError, "sparse: part 1 is a directory, which has no bytes; name a file in it"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "error", "sentence"), REFUSED, ids=[spec[:50] for spec, _, _ in REFUSED])
def test_what_cannot_be_opened_says_why_in_one_sentence(
    place: Place, spec: str, error: type[MapfsError], sentence: str
) -> None:
    place.file("file")
    (place.path / "short").write_bytes(b"short")
    spec, sentence = spec.replace("HOME", str(place.path)), sentence.replace("HOME", str(place.path))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(error) as caught:
        catalogue.open_spec(catalogue.parse(spec))
    assert type(caught.value) is error
    assert str(caught.value) == sentence
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_errno_of_a_part_is_that_of_the_whole(place: Place) -> None:
    with pytest.raises(SourceError) as caught:
        place.open(f"concat:zero:1|file:{place.path}/missing")
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", [""]),
        ("a", ["a"]),
        ("a|b", ["a", "b"]),
        ("a||b", ["a|b"]),
        ("a|||b", ["a|", "b"]),
        ("a||||b", ["a||b"]),
        ("|", ["", ""]),
        ("a|", ["a", ""]),
        ("||", ["|"]),
    ],
)
def test_bars(text: str, parts: list[str]) -> None:
    assert split(text) == parts


class Slow(FakeSource):
    """Is put off, and has times."""

    def __init__(self, content: bytes, held: float, entry: Entry) -> None:
        super().__init__(content)
        self.held = held
        self.told = entry
        self.refreshed = self.flushed = 0

    def hold(self, offset: int, size: int) -> float:
        return self.held

    def entry(self) -> Entry:
        return self.told

    def refresh(self) -> None:
        self.refreshed += 1
        if self.error:
            raise self.error

    def flush(self) -> None:
        self.flushed += 1
        if self.error:
            raise self.error


class Still(Source):
    """Never changes, and lets itself be waited for."""

    size = 100

    def read(self, offset: int, size: int) -> Buffer:
        return b"s" * size


def whole(*sources: Source, gap: int = 0) -> PartsSource:
    pieces, end = [], 0
    for number, source in enumerate(sources, 1):
        pieces += [Piece(end, source.size, source, f"part {number}"), Piece(end + source.size, gap, None)]
        end += source.size + gap
    return PartsSource(pieces)


def test_a_read_asks_the_parts_that_it_touches_for_what_it_needs_of_them() -> None:
    first, second, third = (FakeSource(letter * 10) for letter in (b"a", b"b", b"c"))
    source = whole(first, second, third)
    assert source.read(8, 4) == b"aabb"
    assert (first.reads, second.reads, third.reads) == ([(8, 2)], [(0, 2)], [])
    assert source.read(10, 10) == b"b" * 10
    assert source.read(5, 20) == b"aaaaabbbbbbbbbbccccc"
    assert (first.reads[-1], second.reads[-1], third.reads) == ((5, 5), (0, 10), [(0, 5)])


def test_what_one_part_has_to_wait_for_the_whole_waits_for() -> None:
    first, still = FakeSource(b"a" * 10), Still()
    source = whole(first, still, gap=5)
    assert source.try_read(0, 15) == b"a" * 10 + bytes(5)
    assert source.try_read(0, 16) is None
    assert source.read(0, 16) == b"a" * 10 + bytes(5) + b"s"
    first.gate = threading.Event()
    assert source.try_read(0, 1) is None
    assert source.try_read(10, 5) == bytes(5)
    first.gate.set()
    assert source.read(0, 1) == b"a"


def test_the_slowest_part_that_is_touched_puts_off() -> None:
    source = whole(Slow(b"a" * 10, 0.5, Entry()), FakeSource(b"b" * 10), Slow(b"c" * 10, 2.0, Entry()), gap=10)
    assert source.hold(0, 30) == 0.5
    assert source.hold(5, 46) == 2.0
    assert source.hold(10, 30) == 0.0
    assert source.hold(10, 5) == 0.0


def test_versions_and_times_are_those_of_the_parts() -> None:
    old, new = (
        Slow(b"a", 0, Entry(mtime_ns=5, ctime_ns=9, blocks=3)),
        Slow(b"b", 0, Entry(mtime_ns=7, ctime_ns=8, size=1)),
    )
    source = whole(old, Still(), new, gap=1 << 20)
    before: Hashable = source.version()
    assert before == source.version()
    entry = source.entry()
    assert (entry.mtime_ns, entry.ctime_ns, entry.size) == (7, 9, 102 + 3 * (1 << 20))
    assert entry.blocks == 3 + 1 + 1, "gaps take no blocks"
    new.content = b"x"
    assert source.version() != before
    assert whole(Still(), Still()).version() is None
    assert whole(Still(), Still()).versioned
    assert source.versioned
    old.versioned = False
    assert not whole(old, new).versioned


def test_what_is_asked_of_the_whole_is_asked_of_each_part_whichever_fails() -> None:
    parts = [Slow(b"abc", 0, Entry()) for _ in range(3)]
    source = whole(*parts)
    parts[0].error, parts[1].error = SourceError("first", errno.EIO), SourceError("second", errno.ENOSPC)
    for call in (source.flush, source.refresh):
        with pytest.raises(SourceError, match="first"):
            call()
    assert [(one.flushed, one.refreshed) for one in parts] == [(1, 1)] * 3
    source.close()
    assert all(one.closed for one in parts)


def test_a_part_that_answers_wrongly_is_an_error() -> None:
    part = FakeSource(b"a" * 10)
    source = whole(part, FakeSource(b"b" * 10))
    part.wrong = lambda data: data[:-1]
    for offset, size in ((0, 10), (5, 10), (9, 1)):
        assert source.try_read(offset, size) is None
        with pytest.raises(SourceError, match="part 1 has no bytes at 9: it shrank, or is shorter than its size says"):
            source.read(offset, size)
    assert source.read(10, 10) == b"b" * 10


def test_a_part_that_shrank_is_an_error_where_it_was_and_one_that_grew_is_not_seen(place: Place) -> None:
    path = place.file("part")
    source = place.open(spec_of("concat", f"text:head|{part(spec_of('file', path))}|text:tail"))
    size, before = source.size, source.version()
    os.truncate(path, 10_000)
    assert source.size == source.entry().size == size
    assert source.version() != before
    assert source.read(0, 10_004) == b"head" + CONTENT[:10_000]
    with pytest.raises(SourceError, match="has no bytes at 10000: it shrank, or is shorter than its size says"):
        source.read(10_000, 10)
    assert source.read(size - 4, 4) == b"tail"
    os.truncate(path, len(CONTENT) + 10)
    assert source.read(10_004, 10) == bytes(10)
    assert source.read(size - 6, 6) == bytes(2) + b"tail"
    assert source.size == size
    source.close()


@pytest.fixture
def writable(place: Place) -> PartsSource:
    """10000 bytes of a file, 96 zeroes, 4 bytes of text, 1000 bytes of another file."""
    for name, letter, size in (("a", b"a", 10_000), ("b", b"b", 1000)):
        (place.path / name).write_bytes(letter * size)
    spec = f"sparse:11100|0=file:{place.path}/a,,rw|10096=text:text|10100=file:{place.path}/b,,rw"
    source = place.open(spec)
    assert isinstance(source, PartsSource)
    place.stack.callback(source.close)
    return source


def test_writes_go_to_the_parts(writable: PartsSource, place: Place) -> None:
    assert writable.writable
    assert writable.entry().mode & 0o777 == 0o644
    writable.write(9_990, bytearray(b"0123456789"))
    writable.write(10_100, memoryview(b"xy"))
    writable.write(11_099, b"z")
    writable.write(0, b"")
    assert (place.path / "a").read_bytes() == b"a" * 9_990 + b"0123456789"
    assert (place.path / "b").read_bytes() == b"xy" + b"b" * 997 + b"z"
    writable.flush()
    assert writable.read(9_999, 104) == b"9" + bytes(96) + b"textxyb"


def test_a_write_may_cover_what_it_leaves_as_it_is(writable: PartsSource, place: Place) -> None:
    """A store through a mapping comes as whole pages."""
    page = bytearray(writable.read(8_192, 2_908))
    page[9_000 - 8_192] = page[10_500 - 8_192] = ord("!")
    writable.write(8_192, page)
    assert (place.path / "a").read_bytes()[8_999:9_002] == b"a!a"
    assert (place.path / "b").read_bytes()[399:402] == b"b!b"
    assert writable.read(8_192, 2_908) == page


@pytest.mark.parametrize(("at", "what"), [(10_000, "a gap at 10000"), (10_099, "part 2 at 10096")])
def test_a_write_that_would_change_what_cannot_be_written_writes_nothing(
    writable: PartsSource, place: Place, at: int, what: str
) -> None:
    before = bytes(writable.read(0, writable.size))
    page = bytearray(before[9_000:11_000])
    page[0], page[at - 9_000], page[-1] = 1, 1, 1
    for offset, data in ((9_000, page), (at, b"\1")):
        with pytest.raises(SourceError) as caught:
            writable.write(offset, data)
        assert caught.value.errno == errno.EROFS
        assert str(caught.value) == f"{what} is read-only; add rw to its part"
    assert writable.read(0, writable.size) == before
    assert (place.path / "a").read_bytes() == b"a" * 10_000


def test_the_size_is_fixed(writable: PartsSource) -> None:
    for offset, data in ((11_100, b"x"), (11_099, b"bx"), (1 << 40, b"x")):
        with pytest.raises(SourceError) as caught:
            writable.write(offset, data)
        assert caught.value.errno == errno.ENOSPC
    assert writable.read(11_099, 1) == b"b", "nothing of it was written"
    for size in (0, 11_099, 11_101):
        with pytest.raises(SourceError, match="its size is that of its parts") as caught:
            writable.resize(size)
        assert caught.value.errno == errno.EROFS
    writable.resize(11_100)


def test_without_a_writable_part_it_is_read_only(place: Place) -> None:
    source = place.open("concat:text:a|zero:10")
    assert not source.writable
    assert source.entry().mode & 0o777 == 0o444
    with pytest.raises(SourceError) as caught:
        source.write(0, b"b")
    assert caught.value.errno == errno.EROFS


def test_eight_threads_write_at_once(place: Place) -> None:
    parts = [place.path / f"part{number}" for number in range(4)]
    for path in parts:
        path.write_bytes(bytes(50_001))
    source = place.open("concat:" + "|".join(f"file:{path},,rw" for path in parts))
    block = 1000
    ready = threading.Barrier(8)

    def write(first: int) -> None:
        ready.wait(WITHIN)
        for number in range(first, source.size // block, 8):
            source.write(number * block, bytes([number % 251]) * block)

    threads = [threading.Thread(target=write, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN)
    source.close()
    expected = b"".join(bytes([number % 251]) * block for number in range(4 * 50_001 // block)) + bytes(4)
    assert b"".join(path.read_bytes() for path in parts) == expected


def test_where_data_and_holes_are(place: Place) -> None:
    holed = place.path / "holed"
    with holed.open("wb") as file:
        file.truncate(1 << 20)
        file.seek(512 << 10)
        file.write(b"x" * 4096)
    at = (512 << 10) + (1 << 30)
    source = place.open(f"sparse:1T|4K=text:abc|1G=file:{holed}|4G=zero:4K")
    data, hole = os.SEEK_DATA, os.SEEK_HOLE
    assert [source.seek(offset, data) for offset in (0, 4096, 4098)] == [4096, 4096, 4098]
    assert source.seek(0, hole) == 0
    assert source.seek(4096, hole) == 4099
    assert source.seek(4099, data) in (1 << 30, at), "the file's own holes, where its filesystem tells of them"
    assert source.seek(at, data) == at
    assert source.seek(at, hole) in (at + 4096, (1 << 30) + (1 << 20))
    assert source.seek(at + 8192, data) in (at + 8192, 4 << 30)
    assert source.seek(4 << 30, hole) == (4 << 30) + 4096
    with pytest.raises(SourceError) as caught:
        source.seek((4 << 30) + 4096, data)
    assert caught.value.errno == errno.ENXIO
    for offset in (1 << 40, -1):
        with pytest.raises(SourceError) as caught:
            source.seek(offset, hole)
        assert caught.value.errno == errno.ENXIO
    source.close()
    full = place.open("concat:text:abc|zero:5")
    assert (full.seek(1, data), full.seek(1, hole), full.seek(4, hole)) == (1, 8, 8)


def test_a_huge_sparse_file_opens_at_once(place: Place) -> None:
    source = place.open("sparse:8388607T|8388606T=sparse:1T||1G=data:(u64le:n)*1000")
    assert source.size == 8388607 << 40
    assert source.read((8388606 << 40) + (1 << 30) + 8 * 999 - 1, 10) == b"\0" + (999).to_bytes(8, "little") + b"\0"
    assert source.try_read(0, 100) == bytes(100)
    assert source.entry().blocks == -(-8000 // 512)
    source.close()


def test_options_of_parts_reach_them(place: Place) -> None:
    source = open_concat(Spec("concat", "random:4096,seed=7|random:4096,seed=8"))
    alone = [place.open(f"random:4096,seed={seed}") for seed in (7, 8)]
    assert source.read(0, 8192) == b"".join(bytes(one.read(0, 4096)) for one in alone)
