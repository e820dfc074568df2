"""Which file labels are read from, and when they are read again."""

import itertools
import json
import os
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapfs.sources.catalogue import COMMON, KINDS
from mapfs.sources.spec import Spec, absolute
from mapfs.trace.events import PUSH
from mapfs.trace.facts import FileFact
from mapfs.trace.labels import book
from mapfs.trace.labels.backing import KEEPING, Backing, backing_of, open_backing
from mapfs.trace.labels.book import Book, TraceLabels
from mapfs.trace.store import Store
from mapfs.views.by_label import by_label
from mapfs.views.label_diff import compare_labels
from tests.unit.samples import MOUNT, THREAD, event

PAGE = 4096
NEVER = 1 << 62  # nothing was changed after it
VALUES = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)


@given(st.sampled_from(["file", "dir"]), st.text(max_size=9), st.dictionaries(st.sampled_from(sorted(KEEPING)), VALUES))
def test_the_path_of_a_spec_is_its_argument(kind: str, text: str, options: dict[str, str | None]) -> None:
    path = "/" + text.replace("\0", "").encode("utf-8", "ignore").decode()
    assert backing_of(str(Spec(kind, path, options))) == Backing(path, options.get("rw", "") is None)
    assert backing_of(str(Spec(kind, path.strip("/") or "x", options))) is None, "relative to what, nobody knows"


@given(st.sampled_from(sorted(COMMON - KEEPING)), VALUES)
def test_what_moves_or_changes_bytes_has_no_path(option: str, value: str | None) -> None:
    assert backing_of(str(Spec("file", "/a", {"rw": None, option: value}))) is None


def test_kinds_and_options_are_those_that_there_are() -> None:
    assert COMMON | {"rw"} >= KEEPING
    assert sorted(COMMON - KEEPING) == ["corrupt", "cow", "slice", "truncate"]
    for kind in set(KINDS) - {"file", "dir"}:
        assert backing_of(f"{kind}:/a") is None
    for text in ("", "?", "file", "file:", "file:a", "file:/a\0b", "file:/" + "a" * 4096):
        assert backing_of(text) is None


def test_a_relative_path_is_made_absolute_and_no_other_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("file", "dir", "device"):
        assert absolute(Spec(kind, "a/../b", {"rw": None})) == Spec(kind, f"{tmp_path}/a/../b", {"rw": None})
        assert absolute(Spec(kind, "/a/../b")) == Spec(kind, "/a/../b")
    for spec in (Spec("device", ""), Spec("shm", "a"), Spec("zero", "4K"), Spec("text", "a")):
        assert absolute(spec) == spec


def test_no_directory_fifo_or_missing_file_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (f"{tmp_path}/fifo", f"{tmp_path}/missing", f"{tmp_path}/.", "/dev/null"):
        assert Book().labels(f"file:{path}", 0, NEVER) is None
    with pytest.raises(OSError, match="not a regular file"):
        open_backing("/dev/null")
    with pytest.raises(OSError, match="No such file"):
        open_backing(str(tmp_path / "missing"))


def tensors(path: Path, names: list[str], size: int) -> int:
    """A safetensors file of as many tensors of `size` bytes, by its specification; the size of its header."""
    header = json.dumps(
        {
            name: {"dtype": "U8", "shape": [size], "data_offsets": [size * n, size * (n + 1)]}
            for n, name in enumerate(names)
        }
    ).encode()
    header += b" " * (-(len(header) + 8) % PAGE)
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size * len(names)))
    return len(header) + 8


def named(kept: Book, spec: str, size: int, offset: int) -> str | None:
    labels = kept.labels(spec, size, NEVER)
    return labels.over(offset, PAGE) if labels is not None else None


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backing is looked at each time."""
    monkeypatch.setattr(book, "_LOOK_AGAIN", 0.0)
    monkeypatch.setattr(book, "_PATIENCE", 0)


@pytest.mark.usefixtures("at_once")
def test_a_backing_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "m"
    start = tensors(path, ["one", "two"], PAGE)
    kept, spec, size = Book(), f"file:{path}", path.stat().st_size
    assert named(kept, spec, size, start) == "one"
    first = kept.labels(spec, size, NEVER)
    assert kept.labels(spec, size, NEVER) is first
    assert named(kept, spec, size + 1, start) is None
    tensors(path, ["won", "too"], PAGE)
    os.utime(path, ns=(1, 1))
    assert named(kept, spec, size, start) == "won"
    path.unlink()
    assert named(kept, spec, size, start) is None


def test_a_backing_that_changed_since_has_none_unless_the_mount_may_have_changed_it(tmp_path: Path) -> None:
    path = tmp_path / "m"
    tensors(path, ["one"], PAGE)
    size, changed = path.stat().st_size, max(path.stat().st_mtime_ns, path.stat().st_ctime_ns)
    kept = Book()
    assert kept.labels(f"file:{path}", size, changed) is not None
    assert kept.labels(f"file:{path}", size, changed - 1) is None
    assert kept.labels(f"file:{path},rw", size, changed - 1) is not None
    for spec in (f"file:{path}", f"file:{path},rw"):
        assert kept.labels(spec, size, changed, until_ns=changed) is not None
        assert kept.labels(spec, size, changed, until_ns=changed - 1) is None


def test_a_backing_is_not_looked_at_for_each_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m"
    start = tensors(path, ["one"], PAGE)
    kept, spec, size = Book(), f"file:{path}", path.stat().st_size
    assert named(kept, spec, size, start) == "one"
    monkeypatch.setattr(book, "open_backing", None)
    assert [named(kept, spec, size, start) for _ in range(10)] == ["one"] * 10


def test_what_is_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "_MOST_RANGES", 25)
    monkeypatch.setattr(book, "_MOST_FILES", 4)
    kept = Book()
    for number in range(8):
        path = tmp_path / str(number)
        tensors(path, ["a", "b", "c", "d", "e", "f", "g", "h", "i"], PAGE)
        assert kept.labels(f"file:{path}", path.stat().st_size, NEVER) is not None
        assert kept.labels(f"file:{path}-missing", 0, NEVER) is None
    assert len(kept._kept) <= 4
    assert sum(len(one.labels or ()) for one in kept._kept.values()) == kept._ranges <= 25


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(":memory:")
    store.fact(msgspec.structs.replace(MOUNT, wall_ns=NEVER >> 1))  # the files are older
    store.fact(THREAD)
    yield store
    store.connection.close()


def test_of_a_file_that_changed_the_newest_version_has_labels(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "m"
    start = tensors(path, ["one", "two"], PAGE)
    size = path.stat().st_size
    old, new = (FileFact(number, 9, "m", f"file:{path}", size, number) for number in (1, 2))
    store.fact(old)
    store.events([event(1, file=old, offset=start)])
    labels = TraceLabels(store.connection)
    assert labels.newest() == {1: "m"}
    assert labels.fill({"op": "read", "serial": 1, "offset": start, "size": PAGE})["label"] == "one"
    store.fact(new)
    store.events([event(2, file=new, offset=start + PAGE)])
    labels = TraceLabels(store.connection)
    assert labels.newest() == {2: "m"}
    told = [labels.fill({"op": "read", "serial": n, "offset": start, "size": PAGE})["label"] for n in (1, 2)]
    assert told == [None, "one"]
    (row,) = by_label(store.connection).labels
    assert (row.label, row.pages) == ("two", 1)


def test_what_was_pushed_before_is_demanded_again(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "m"
    start = tensors(path, ["one"], 4 * PAGE)
    fact = FileFact(1, 9, "m", f"file:{path}", path.stat().st_size, 1)
    store.fact(fact)
    store.events(
        [
            event(1, file=fact, offset=start, op=PUSH, cls=None),
            event(2, file=fact, offset=start, refaults=1, cls="REFAULT", wait_ns=5),
            event(3, file=fact, offset=start + PAGE, size=3 * PAGE, wait_ns=7),
            event(4, file=fact, offset=start, size=2 * PAGE, refaults=2, cls="REFAULT", wait_ns=11),
            event(5, file=fact, offset=start, errno=5, cls="ERROR", wait_ns=1000),
            event(6, file=fact, offset=start, direct=True, cls=None, wait_ns=1000),
        ]
    )
    (row,) = by_label(store.connection).labels
    assert (row.label, row.bytes, row.of_pages) == ("one", 4 * PAGE, 4)
    assert (row.pages, row.refaults, row.demands, row.wait_ns) == (4, 3, 3, 23)


def test_a_hundred_thousand_labels(tmp_path: Path, store: Store) -> None:
    """Forty to a page; every page is demanded."""
    path = tmp_path / "m"
    names = [f"tensor.{number}" for number in range(100_000)]
    start = tensors(path, names, 100)
    fact = FileFact(1, 9, "m", f"file:{path}", path.stat().st_size, 1)
    store.fact(fact)
    pages = range(-(-fact.size // PAGE))
    store.events([event(n, file=fact, offset=page * PAGE, wait_ns=1) for n, page in enumerate(pages, 1)])
    found = by_label(store.connection)
    assert [(one.labels, one.demanded) for one in found.files] == [(100_001, 100_001)]
    rows = {row.label: row for row in found.labels}
    assert rows["(header)"].pages == start // PAGE
    for number in range(0, 100_000, 97):
        first, last = (start + 100 * number) // PAGE, (start + 100 * number + 99) // PAGE
        assert (rows[f"tensor.{number}"].pages, rows[f"tensor.{number}"].of_pages) == (last - first + 1,) * 2
    diff = compare_labels(store.connection, store.connection)
    assert len(diff) == 100_001
    assert all(row.pages_a == row.pages_b == row.both for row in diff)
    assert [row.label for row in diff] == sorted(row.label for row in diff)
    json.loads(msgspec.json.encode(found.as_json()))


def test_a_database_may_have_any_name_in_it(tmp_path: Path) -> None:
    """Control characters in a name reach the log as escapes; tests/unit/test_lines.py holds that."""
    db = sqlite3.connect(tmp_path / "db")
    names = ["a\nb", "\x1b[31mred", "(free)", "ünï", "x" * 500]
    for name in names:
        db.execute(f'CREATE TABLE "{name}" (x)')
    db.commit()
    db.close()
    labels = Book().labels(f"file:{tmp_path / 'db'}", (tmp_path / "db").stat().st_size, NEVER)
    assert labels is not None
    got = [one.name for one in labels]
    assert got == ["sqlite_schema", *names[:4], "x" * 255 + "…"]
    assert all(one.end == other.start for one, other in itertools.pairwise(labels))
