"""Labels, each format against an independent truth: its own library, or the bytes themselves."""

import itertools
import os
import platform
import re
import sqlite3
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped] # it ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped] # it ships no types
import pytest
from safetensors import safe_open

from mapfs.trace.labels import Labels, labels_of
from mapfs.units import PAGE_SIZE
from tests.unit import label_samples as samples

LIBRARIES = [
    path
    for path in (Path("/bin/ls"), *Path("/lib").glob("*-linux-gnu/libc.so.6"), Path(os.path.realpath(sys.executable)))
    if path.exists()
]


def known(path: Path) -> Labels:
    """The labels of a sound file: sorted, apart, and within it."""
    labels = labels_of(str(path), path.stat().st_size)
    assert labels is not None and len(labels)
    ranges = list(labels)
    assert all(0 <= one.start < one.end <= path.stat().st_size for one in ranges)
    assert all(one.end <= other.start for one, other in itertools.pairwise(ranges))
    for one in {*ranges[:50], *ranges[-50:]}:
        assert labels.at(one.start) == labels.at(one.end - 1) == one.name
        assert labels.over(one.start, one.end - one.start) == one.name
    return labels


def bytes_of(path: Path) -> dict[str, bytes]:
    """What each label that stands once holds."""
    data = path.read_bytes()
    return {one.name: data[one.start : one.end] for one in known(path)}


# ELF


def elf_truth(path: Path) -> tuple[dict[str, tuple[int, int]], dict[tuple[int, int], set[str]], list[tuple[int, int]]]:
    """By readelf: sections (offset, size); names for the bytes from a symbol's begin to its end; all begins and ends."""
    told = subprocess.run(["readelf", "-SsWh", path], capture_output=True, text=True, check=True, timeout=60).stdout
    sections: dict[str, tuple[int, int]] = {}
    by_number: dict[int, tuple[str, int, int, int]] = {}
    for number, name, kind, address, offset, size in re.findall(
        r"^ +\[ *(\d+)\] (\S+) +(\w+) +([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+)", told, re.MULTILINE
    ):
        if kind != "NOBITS":
            sections[name] = (int(offset, 16), int(size, 16))
            by_number[int(number)] = (name, int(address, 16), int(offset, 16), int(size, 16))
    relocatable = "REL (Relocatable file)" in told
    table = ".symtab" if "'.symtab'" in told else ".dynsym"
    _, _, told = told.partition(f"Symbol table '{table}'")
    told = told.partition("\nSymbol table ")[0]
    symbols: dict[tuple[int, int], set[str]] = {}
    for value, size, number, name in re.findall(
        r"^ +\d+: ([0-9a-f]+) +(\w+) (?:FUNC|OBJECT|IFUNC) +\w+ +\w+ +(\d+) (\S+)", told, re.MULTILINE
    ):
        section = by_number.get(int(number))
        count = int(size, 0)
        if section is None or not count:
            continue
        start = section[2] + int(value, 16) - (0 if relocatable else section[1])
        symbols.setdefault((start, start + count), set()).add(f"{section[0]}:{name.partition('@')[0]}")
    return sections, symbols, sorted(symbols)


@pytest.mark.parametrize("options", [["-g"], ["-shared", "-fPIC"], ["-c", "-ffunction-sections"], ["-s"], ["-static"]])
def test_elf_made_by_cc(tmp_path: Path, options: list[str]) -> None:
    check_elf(samples.compiled(tmp_path / "made", *options))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="this compiler makes no other class of ELF by -m32")
def test_elf_of_32_bits(tmp_path: Path) -> None:
    check_elf(samples.compiled(tmp_path / "made", "-m32", "-c"))


@pytest.mark.parametrize("path", LIBRARIES, ids=lambda path: path.name)
def test_elf_of_this_machine(path: Path) -> None:
    check_elf(path)


def check_elf(path: Path) -> None:
    labels = known(path)
    sections, symbols, spans = elf_truth(path)
    assert sections
    nested = [
        span for span, other in itertools.pairwise([*spans, (1 << 62, 1 << 62)]) if span[1] > other[0]
    ]  # what is not named at its beginning up to its end, but by what lies within it
    checked = 0
    for span in {*spans} - {*nested}:
        name = labels.at(span[0])
        assert name in symbols[span], (name, span)
        checked += 1
    assert checked >= len(spans) * 0.9
    for name, (offset, size) in sections.items():
        if size:
            assert (labels.at(offset) or "").partition(":")[0] in (name, "(ELF header)"), name
            assert (labels.at(offset + size - 1) or "").partition(":")[0] == name


def test_the_bytes_of_a_symbol_are_its_own(tmp_path: Path) -> None:
    held = bytes_of(samples.compiled(tmp_path / "made", "-g"))
    assert held[".rodata:words"] == b"words that are long enough to be found in the file\0"
    assert held[".data:table"] == np.array([1, 2, 3] + [0] * 4997, np.int32).tobytes()


# SQLite

SHAPES = [
    {}, {"page_size": 512}, {"page_size": 1024, "vacuum": "FULL"}, {"page_size": 65536, "encoding": "UTF-16le"},
    {"rows": 40, "page_size": 512, "vacuum": "INCREMENTAL", "encoding": "UTF-16be"}, {"rows": 20_000},
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sqlite_against_dbstat(tmp_path: Path, shape: dict[str, object]) -> None:
    samples.sqlite(tmp_path / "db", **shape)  # type: ignore[arg-type] # as the cases have it
    labels = known(tmp_path / "db")
    db = sqlite3.connect(f"file:{tmp_path / 'db'}?mode=ro", uri=True)
    try:
        pages = db.execute("SELECT pageno, name FROM dbstat").fetchall()
        free = db.execute("PRAGMA freelist_count").fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
        count = db.execute("PRAGMA page_count").fetchone()[0]
    except sqlite3.OperationalError as error:
        pytest.skip(f"this Python has no dbstat: {error}")
    finally:
        db.close()
    got = {page: labels.at((page - 1) * size) for page in range(1, count + 1)}
    assert {page: got[page] for page, _ in pages} == {page: shortened(name) for page, name in pages}
    assert sum(name == "(free)" for name in got.values()) == free
    assert {got[page] for page in {*got} - {page for page, _ in pages}} <= {"(free)", "(pointer map)"}


def test_a_database_in_wal_mode_is_labelled_as_its_main_file_has_it(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "db")
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE early (x)")
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("CREATE TABLE late (x)")
        db.commit()
        assert [one.name for one in known(tmp_path / "db")] == ["sqlite_schema", "early"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["db", "db-shm", "db-wal"]
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert [one.name for one in known(tmp_path / "db")] == ["sqlite_schema", "early", "late"]
    finally:
        db.close()


def shortened(name: str) -> str:
    return name if len(name) <= 256 else name[:255] + "…"


def test_sqlite_reads_one_page_in_many_where_no_row_overflows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = sqlite3.connect(tmp_path / "db")
    with db:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text)")
        db.executemany("INSERT INTO t (text) VALUES (?)", [("x" * 200,) for _ in range(50_000)])
    db.close()
    read: list[int] = []
    pread = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        read.append(size)
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    labels = labels_of(str(tmp_path / "db"))
    assert labels is not None and labels.at((tmp_path / "db").stat().st_size - 1) == "t"
    assert sum(read) < (tmp_path / "db").stat().st_size / 50


# tensors and arrays


def test_safetensors_against_its_library(tmp_path: Path) -> None:
    samples.safetensors(tmp_path / "s")
    held = bytes_of(tmp_path / "s")
    with safe_open(tmp_path / "s", "numpy") as file:
        for name in file.keys():  # noqa: SIM118 -- it is no mapping
            tensor = file.get_tensor(name)
            assert held.get(name, b"") == tensor.tobytes()
            held.pop(name, None)
    assert list(held) == ["(header)"]


def test_gguf_against_its_library(tmp_path: Path) -> None:
    samples.gguf_file(tmp_path / "g")
    labels = known(tmp_path / "g")
    reader = gguf.GGUFReader(tmp_path / "g")
    assert len(labels) == len(reader.tensors) + 1
    ranges = {one.name: one for one in labels}
    for tensor in reader.tensors:
        one = ranges[tensor.name]
        assert one.start == tensor.data_offset
        assert tensor.n_bytes <= one.end - one.start < tensor.n_bytes + reader.alignment
    assert ranges["(header)"].end <= reader.data_offset


ARRAYS = [
    np.arange(30_000, dtype=np.int32).reshape(3000, 10), np.arange(7, dtype=np.uint8), np.asfortranarray(np.eye(900)),
    np.array(3.5), np.zeros((0, 4)), np.arange(3000, dtype=np.complex128).reshape(3, 1000),
    np.array([("a", 1, [2, 3])] * 5000, dtype=[("name", "U7"), ("n", "<i2"), ("pair", "f4", (2,))]),
    np.arange("2020-01", "2420-01", dtype="datetime64[M]"), np.ones((5_000_000,), np.bool_),
]  # fmt: skip


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}"[:40])
def test_npy_rows_are_the_rows(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    held = bytes_of(tmp_path / "a.npy")
    columns = array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous
    outer = array.T if columns else np.atleast_1d(array)
    header = held.pop("(header)")
    assert len(header) + sum(map(len, held.values())) == (tmp_path / "a.npy").stat().st_size
    assert len(held) <= 1000
    seen = 0
    for name, data in held.items():
        first, _, last = name.removeprefix("column" if columns else "row").removeprefix("s").strip().partition("-")
        rows = outer[int(first) : int(last or first) + 1]
        assert data == rows.tobytes()
        assert int(first) == seen
        seen = int(last or first) + 1
        assert len(data) >= PAGE_SIZE or seen == len(outer) or len(rows) == 1
    assert seen == (len(outer) if array.size else 0)


def test_an_array_of_objects_has_no_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "o.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    assert labels_of(str(tmp_path / "o.npy")) is None


# columns


def test_parquet_against_its_library(tmp_path: Path) -> None:
    samples.parquet(tmp_path / "p")
    labels = known(tmp_path / "p")
    ranges = {one.name: one for one in labels}
    metadata = pq.read_metadata(tmp_path / "p")
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(number)
            one = ranges.pop(f"{chunk.path_in_schema}/{group}")
            start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
            assert (one.start, one.end) == (start, start + chunk.total_compressed_size)
            assert (f"{chunk.path_in_schema}/{group} (offset index)" in ranges) is chunk.has_offset_index
            assert (f"{chunk.path_in_schema}/{group} (column index)" in ranges) is chunk.has_column_index
    assert metadata.num_row_groups == 3
    assert all(name.endswith(" index)") for name in {*ranges} - {"(magic number)", "(footer)"})
    assert ranges["(footer)"].end - ranges["(footer)"].start == metadata.serialized_size + 8


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_arrow_against_its_library(tmp_path: Path, compression: str | None) -> None:
    samples.arrow(tmp_path / "a", compression=compression)
    held = bytes_of(tmp_path / "a")
    named = {name: data for name, data in held.items() if "/" in name}
    with pa.OSFile(str(tmp_path / "a")) as file:
        reader = pa.ipc.open_file(file)
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    checked = 0
    for number, batch in enumerate(batches):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            buffers = [buffer for buffer in column.buffers() if buffer is not None and buffer.size]
            mine = [data for label, data in named.items() if re.match(rf"{name}(\.[\w.]+)?/{number} \(", label)]
            assert [plain(data, compression, buffer.size) for data, buffer in zip(mine, buffers, strict=True)] == [
                buffer.to_pybytes() for buffer in buffers
            ]
            checked += len(mine)
    dictionary = batches[0].column("kind").dictionary
    for what, buffer in zip(("offsets", "data"), dictionary.buffers()[1:], strict=True):
        assert plain(named[f"kind/dictionary ({what})"], compression, buffer.size) == buffer.to_pybytes()
        checked += 1
    assert checked == len(named) > 60
    assert {"point.x/0 (data)", "tags.item/1 (offsets)", "views/2 (views)", "views/0 (data 0)"} <= {*named}


def plain(data: bytes, compression: str | None, size: int) -> bytes:
    """A buffer as it is in memory: compressed ones begin with their length, -1 where they are not."""
    if compression is None:
        return data
    length = int.from_bytes(data[:8], "little", signed=True)
    return data[8:] if length == -1 else pa.Codec(compression).decompress(data[8:], size).to_pybytes()


# archives


@pytest.mark.parametrize("prefix", [b"", b"#!/usr/bin/env python3\n"])
@pytest.mark.parametrize("make", [samples.zipped, samples.npz])
def test_zip_members_are_the_members(tmp_path: Path, make: Callable[[Path], None], prefix: bytes) -> None:
    make(tmp_path / "z")
    data = prefix + (tmp_path / "z").read_bytes()
    (tmp_path / "z").write_bytes(data)
    held = bytes_of(tmp_path / "z")
    with zipfile.ZipFile(tmp_path / "z") as archive:
        for member in archive.infolist():
            packed = held[member.filename]
            assert packed.startswith(b"PK\3\4")
            packed = packed[len(packed) - member.compress_size :]
            stored = member.compress_type == zipfile.ZIP_STORED
            assert (packed if stored else zlib.decompress(packed, -15)) == archive.read(member)
            held.pop(member.filename)
    assert list(held) == ["(central directory)"]


# what is common


def test_a_page_of_several_labels_names_the_first_and_counts_the_others() -> None:
    names = ["outer", "inner", "other"]
    labels = Labels(20_000, [(100, 9000, 0), (200, 300, 1), (250, 280, 1), (9500, 9600, 2)], names.__getitem__)
    assert [(one.start, one.end, one.name) for one in labels] == [
        (100, 200, "outer"), (200, 300, "inner"), (300, 9000, "outer"), (9500, 9600, "other"),
    ]  # fmt: skip
    assert labels.over(0, 4096) == "outer +1"
    assert labels.over(8192, 4096) == "outer +1"
    assert labels.over(4096, 4096) == "outer"
    assert labels.over(9100, 100) is None and labels.at(99) is None and labels.at(9600) is None
    assert labels.over(200, 100) == "inner"
    assert labels.extents(4096) == {"outer": (8800, 3), "inner": (100, 1), "other": (100, 1)}
    assert labels.names(0, 20_000) == names


def test_two_parts_of_one_name_are_one_label() -> None:
    labels = Labels(9000, [(0, 100, 0), (200, 300, 1), (5000, 9000, 2)], ["init", "init", "other"].__getitem__)
    assert labels.extents(4096) == {"init": (200, 1), "other": (4000, 2)}
    assert labels.names(0, 9000) == ["init", "other"]


@pytest.mark.parametrize("name", samples.MAKERS)
def test_the_name_of_a_file_does_not_matter_and_its_size_does(tmp_path: Path, name: str) -> None:
    path = tmp_path / "notes.txt"
    samples.MAKERS[name](path)
    size = path.stat().st_size
    assert labels_of(str(path), size) is not None
    assert labels_of(str(path), size - 1) is None


def test_what_is_no_regular_file_or_of_no_known_format_has_none(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("some text\n" * 500)
    (tmp_path / "empty").write_bytes(b"")
    os.mkfifo(tmp_path / "fifo")
    for path in ("text", "empty", "fifo", "missing", ".", "nul\0"):
        assert labels_of(f"{tmp_path}/{path}") is None
