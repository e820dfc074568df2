"""Columns decoded from SQLite's pages are those that SQLite itself reads; what is unusual is left to it."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapfs.trace.columns import NULL, Columns, UnreadableError
from mapfs.trace.store import SCHEMA

INTEGERS = st.integers(-(1 << 63) + 1, (1 << 63) - 1) | st.sampled_from(
    [
        sign * (1 << bits) + more
        for bits in (0, 7, 8, 15, 16, 23, 31, 32, 47, 62)
        for sign in (-1, 1)
        for more in (-1, 0, 1)
    ]
)
ROWS = st.lists(
    st.tuples(INTEGERS, st.none() | INTEGERS, st.none() | st.sampled_from(["COLD", "REFAULT", "A", "x" * 57])),
    min_size=1,
    max_size=60,
)
Trace = Callable[[], sqlite3.Connection]


def made(path: str, page_size: int = 4096, *, ended: bool = True) -> sqlite3.Connection:
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA page_size = {page_size}")
    db.execute("PRAGMA synchronous = OFF")  # nobody cuts the power of these
    db.executescript(SCHEMA)
    db.execute("INSERT INTO mount VALUES ('m', '0', 'own', 4096, 0, 1, 0, 0, 'kernel', ?)", (1 if ended else None,))
    db.commit()
    return db


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(made(str(tmp_path / "t"))) as db:
        yield db


def add(db: sqlite3.Connection, rows: list[tuple[int, tuple[object, object, object]]]) -> None:
    db.executemany(
        "INSERT INTO faults VALUES (?1, 0, ?3, NULL, 5, ?4, 1, ?2, 4096, NULL, 9, NULL)",
        [(serial, *row) for serial, row in rows],
    )
    db.commit()


NAMES = ("wait_ns", "class", "offset", "size", "by_thread", "op")


def read(
    db: sqlite3.Connection, first: int = 0, end: int = 1 << 62, table: str = "faults", names: Sequence[str] = NAMES
) -> list[tuple[int | None, ...]]:
    rows = list[tuple[int | None, ...]]()
    with closing(Columns(db)) as columns:
        for batch in columns.read(table, names, first, end):
            rows += zip(*([None if one == NULL else one for one in column.tolist()] for column in batch), strict=True)
    return rows


def asked(db: sqlite3.Connection, first: int = 0, end: int = 1 << 62) -> list[tuple[int | None, ...]]:
    query = "SELECT serial, wait_ns, unicode(class), offset, size, by_thread, op FROM faults"
    return list(db.execute(f"{query} WHERE serial >= ? AND serial < ? ORDER BY serial", (first, end)))


@settings(max_examples=60, deadline=None)
@given(ROWS, st.sampled_from([512, 4096, 32768]), st.integers(1, 1 << 30), st.integers(1, 9))
def test_columns_are_what_sqlite_reads(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, int | None, str | None]],
    size: int,
    at: int,
    gap: int,
) -> None:
    path = tmp_path_factory.mktemp("columns") / "t"
    with closing(made(str(path), size)) as db:
        add(db, [(at + gap * number, row) for number, row in enumerate(rows * 5)])
        assert read(db) == asked(db)
        middle = at + gap * len(rows)
        assert read(db, at + 1, middle) == asked(db, at + 1, middle)
        assert read(db, middle) == asked(db, middle)


TABLES = {
    name: [(column, kind) for _, column, kind, *_ in sqlite3.connect(":memory:").executescript(SCHEMA).execute(query)]
    for name, query in ((table, f"PRAGMA table_info({table})") for table in ("requests", "faults", "evictions"))
}


@st.composite
def histories(draw: st.DrawFn) -> tuple[str, list[tuple[int, ...]], list[int], list[tuple[int, ...]]]:
    """A table, rows that go into it in any order, the serials of some that are deleted, and rows that come after."""
    table = draw(st.sampled_from(sorted(TABLES)))
    column = {"INTEGER": INTEGERS, "TEXT": st.none() | st.sampled_from(["COLD", "A", "fault", "x" * 57])}
    row = st.tuples(*(column[kind] for _, kind in TABLES[table][1:]))
    serials = st.integers(0, 1 << 20) | st.integers(0, (1 << 49) - 1)
    drawn = draw(st.lists(st.tuples(serials, row), min_size=1, max_size=24, unique_by=lambda one: one[0]))
    rows = [(serial, *values) for serial, values in drawn]
    cut = draw(st.integers(0, len(rows)))
    gone = draw(st.lists(st.sampled_from(rows), max_size=len(rows)))
    return table, rows[cut:], [one[0] for one in gone], rows[:cut]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
@given(
    histories(),
    st.sampled_from([512, 1024, 4096, 32768]),
    st.integers(1, 40),
    st.tuples(st.integers(0, 40_000) | st.integers(-(1 << 62), 1 << 62), st.integers(0, 1 << 62)),
    st.data(),
)
def test_whatever_was_written_and_deleted_columns_are_what_sqlite_reads(
    tmp_path_factory: pytest.TempPathFactory,
    history: tuple[str, list[tuple[int, ...]], list[int], list[tuple[int, ...]]],
    size: int,
    copies: int,
    span: tuple[int, int],
    data: st.DataObject,
) -> None:
    table, before, gone, after = history
    columns = [name for name, _ in TABLES[table][1:]]
    wanted = data.draw(st.lists(st.sampled_from(columns), min_size=1, max_size=4, unique=True))
    insert = f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * (len(columns) + 1))})"
    with closing(made(str(tmp_path_factory.mktemp("columns") / "t"), size)) as db:
        for rows in (before, after):
            for copy in range(copies):
                db.executemany(insert, [((row[0] + copy * 977) % (1 << 49), *row[1:]) for row in rows])
            db.executemany(f"DELETE FROM {table} WHERE serial % 977 = ?", [(serial % 977,) for serial in gone])
            db.commit()
        texts = [f"unicode({name})" if dict(TABLES[table])[name] == "TEXT" else name for name in wanted]
        for first, end in ((0, 1 << 62), (min(span), max(span))):
            query = f"SELECT serial, {', '.join(texts)} FROM {table} WHERE serial >= ? AND serial < ? ORDER BY serial"
            assert read(db, first, end, table, wanted) == list(db.execute(query, (first, end)))


def test_a_tree_of_several_levels_is_read_in_parts(tmp_path: Path) -> None:
    with closing(made(str(tmp_path / "t"), 512)) as db:
        add(db, [(3 * number, (number, None, "COLD")) for number in range(1, 20_000)])
        everything = asked(db)
        cuts = [0, 1, 3, 4, 700, 29_999, 30_000, 59_990, 1 << 40]
        assert [row for low, high in pairwise(cuts) for row in read(db, low, high)] == everything == read(db)


def test_no_row_is_no_batch(trace: sqlite3.Connection) -> None:
    with closing(Columns(trace)) as columns:
        assert list(columns.read("evictions", ["file"], 0, 1 << 60)) == []


@pytest.mark.parametrize("value", [1.5, b"blob", "x" * 58, "x" * 5000])
def test_what_a_recorder_does_not_write_is_left_to_sqlite(trace: sqlite3.Connection, value: object) -> None:
    add(trace, [(1, (1, value, "COLD")), (2, (1, 2, "COLD"))])
    with pytest.raises(UnreadableError):
        read(trace)


@pytest.mark.parametrize("serial", [-1, 1 << 49])
def test_a_serial_of_eight_bytes_or_more_is_left_to_sqlite(trace: sqlite3.Connection, serial: int) -> None:
    add(trace, [(serial, (1, 2, "COLD"))])
    with pytest.raises(UnreadableError):
        read(trace)


def test_a_trace_that_is_written_is_left_to_sqlite(tmp_path: Path) -> None:
    with closing(made(str(tmp_path / "going"), ended=False)) as db, pytest.raises(UnreadableError):
        Columns(db)
    with closing(made(str(tmp_path / "ended"))) as db:
        db.execute("PRAGMA journal_mode = WAL")
        add(db, [(1, (1, 2, "COLD"))])
        with pytest.raises(UnreadableError):
            Columns(db)
    with closing(made(":memory:")) as db, pytest.raises(UnreadableError):
        Columns(db)


def test_damage_is_left_to_sqlite(tmp_path: Path) -> None:
    """Wherever a byte is another one: columns or UnreadableError, no other error, and nothing that does not end."""
    path = tmp_path / "t"
    with closing(made(str(path), 512)) as db:
        add(db, [(number, (number, None, "COLD")) for number in range(1, 400)])
        roots = [root for (root,) in db.execute("SELECT rootpage FROM sqlite_schema")]
        (own,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'faults'").fetchone()
        pages = [own, *range(max(roots) + 1, os.path.getsize(path) // 512 + 1)]
    whole, some = path.read_bytes(), numpy.random.default_rng(1)
    for _ in range(400):
        broken = bytearray(whole)
        for _ in range(3):
            page, place = (
                int(some.choice(pages)) - 1,
                int(some.choice([int(some.integers(12)), int(some.integers(512))])),
            )
            broken[page * 512 + place] = int(some.integers(256))
        (tmp_path / "broken").write_bytes(broken)
        with closing(sqlite3.connect(tmp_path / "broken")) as db:
            try:
                read(db)
            except (UnreadableError, sqlite3.DatabaseError, UnicodeDecodeError):  # the last from sqlite3's own message
                continue


def test_a_file_that_was_cut_off_is_left_to_sqlite(trace: sqlite3.Connection, tmp_path: Path) -> None:
    add(trace, [(number, (number, None, "COLD")) for number in range(1, 2000)])
    with closing(Columns(trace)) as columns:
        os.truncate(tmp_path / "t", 8 * 4096)
        with pytest.raises(UnreadableError):
            list(columns.read("faults", ["wait_ns"], 0, 1 << 60))
