"""What comes from strangers, in any shape: a trace file, a line of `.mapfs/ctl`. Data, or a sentence; never code.

The wire and the spec parsers have theirs in test_wire.py and test_spec.py. What once was hard is in tests/corpus.
"""

import sqlite3
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mapfs.errors import MapfsError, TraceError
from mapfs.fuse import control
from mapfs.trace.reader import open_trace, trace_events
from mapfs.trace.store import SCHEMA, Store
from tests.support import mapfs
from tests.unit.samples import FILE, MOUNT, THREAD, event

CORPUS = Path(__file__).parent.parent / "corpus"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
WORDS = st.sampled_from(["add", "remove", "inject", "drop", "commit", "discard", "hurry", "files"])


def _decoded(line: bytes) -> None:
    try:
        request = control._decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    assert isinstance(request, control.Request)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_of_ctl_or_refused(line: bytes) -> None:
    _decoded(line)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # the tables of Unicode are made at first
@given(WORDS, st.dictionaries(st.sampled_from(["name", "spec", "file", "rules", "clear", "pages"]), JSON))
def test_any_json_is_a_request_of_ctl_or_refused(word: str, fields: dict[str, object]) -> None:
    _decoded(msgspec.json.encode({"do": word, **fields}))


@pytest.mark.parametrize("path", sorted((CORPUS / "ctl").iterdir()), ids=lambda path: path.name)
def test_the_corpus_of_ctl_is_refused(path: Path) -> None:
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError, RecursionError)):
        control._decode(path.read_bytes())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a sound trace."""
    path = tmp_path_factory.mktemp("fuzz") / "t.db"
    store = Store(str(path))
    for fact in (MOUNT, FILE, THREAD):
        store.fact(fact)
    store.events([event(serial) for serial in range(1, 200)])
    store.close(1)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode = DELETE")
    database.close()
    return path.read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(
    changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=20), cut=st.integers(0, 1 << 20)
)
@example(changes=[], cut=0)
@example(changes=[], cut=1 << 20)
def test_a_damaged_trace_is_read_or_refused(
    whole: bytes, tmp_path: Path, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(whole)
    for at, value in changes:
        data[at % len(data)] = value
    path = tmp_path / "t.db"
    path.write_bytes(data[: cut if cut < len(data) else None])
    try:
        connection = open_trace(str(path)).connection
    except MapfsError:
        return
    try:
        list(trace_events(connection))
    except sqlite3.Error:
        pass  # what the commands make a sentence of: the next test
    finally:
        connection.close()


def test_a_schema_of_which_sqlite_cannot_even_say_what_is_wrong_is_refused(whole: bytes, tmp_path: Path) -> None:
    """Its message quotes what is no UTF-8, which sqlite3 fails to decode."""
    path = tmp_path / "t.db"
    path.write_bytes(whole.replace(b"link TEXT NOT NULL", b"link TEXT NOT \x80ULL"))
    with pytest.raises(MapfsError, match="cannot be read: .* it is damaged, so record it anew"):
        open_trace(str(path))


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
COMMANDS = {
    "log": ["log", "{}"],
    "summary": ["summary", "{}"],
    "by-label": ["summary", "--by", "label", "{}"],
    "report": ["report", "--json", "{}"],
    "export": ["export", "--to", "ndjson", "{}"],
    "prefetch": ["export", "--to", "prefetch", "{}"],
    "diff": ["diff", "{}", "{}"],
    "check": ["check", "{}", "--update", "--budget", "{}.toml"],
}


def _changed(whole: bytes, path: Path, *statements: str) -> None:
    """A trace at `path` whose schema somebody has changed."""
    path.write_bytes(whole)
    with sqlite3.connect(path) as database:
        for statement in statements:
            database.execute(statement)
    database.close()


def _refused(path: Path, command: str) -> None:
    done = mapfs(*(word.format(path) for word in COMMANDS[command]), check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("mapfs: ") and done.stderr.count("\n") == 1, done.stderr
    assert "cannot be read" in done.stderr and "defect" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_trace_with_other_tables_is_a_sentence_and_runs_nothing(whole: bytes, tmp_path: Path, command: str) -> None:
    """A view in the place of a table, whose query would never end, or would load code where a schema were trusted."""
    path = tmp_path / "t.db"
    evil = f"SELECT load_extension('{tmp_path}/evil') AS serial UNION ALL SELECT i FROM ({ENDLESS})"  # noqa: S608 -- on purpose
    _changed(whole, path, "DROP TABLE requests", f"CREATE VIEW requests AS {evil}")
    _refused(path, command)


TABLES = [
    "mount",
    "files",
    "inodes",
    "threads",
    "requests",
    "faults",
    "evictions",
    "watched",
    "held_back",
    "ops",
    "reasons",
    "losses",
]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "made",
    [
        "CREATE VIEW {table} AS " + ENDLESS,
        "CREATE VIRTUAL TABLE {table} USING fts5(serial)",
        "CREATE TABLE {table} ({columns}, evil AS (hex(zeroblob(400000000))))",
        "CREATE TABLE {table} (other)",
        "CREATE TABLE other (a)",  # it is missing
    ],
    ids=["view", "virtual", "generated", "columns", "missing"],
)
def test_each_table_of_a_trace_has_to_be_one(whole: bytes, tmp_path: Path, table: str, made: str) -> None:
    path = tmp_path / "t.db"
    path.write_bytes(whole)
    with sqlite3.connect(path) as database:
        columns = ", ".join(name for (name,) in database.execute("SELECT name FROM pragma_table_info(?)", (table,)))
        database.execute(f"DROP TABLE {table}")
        database.execute(made.format(table=table, columns=columns))
    database.close()
    with pytest.raises(TraceError, match=f"its table {table} is not as mapfs made it"):
        open_trace(str(path))


def test_the_tables_are_those_that_are_documented_and_no_other() -> None:
    with sqlite3.connect(":memory:") as database:
        database.executescript(SCHEMA)
        assert [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")] == TABLES
    database.close()


def test_what_somebody_added_to_a_trace_is_theirs_and_is_left_alone(whole: bytes, tmp_path: Path) -> None:
    """Triggers fire for nobody who only reads; views, tables and indexes of other names nobody asks."""
    path = tmp_path / "t.db"
    _changed(
        whole, path,
        "CREATE TABLE mine (a)",
        f"CREATE VIEW endless AS {ENDLESS}",
        "CREATE INDEX slow ON requests (wait_ns)",
        "CREATE TRIGGER evil BEFORE INSERT ON requests BEGIN DELETE FROM requests; END",
        "CREATE TRIGGER evil_too AFTER UPDATE ON mount BEGIN SELECT load_extension('evil'); END",
        "DROP VIEW events",
        f"CREATE VIEW events AS {ENDLESS}",
    )  # fmt: skip
    before = path.read_bytes()
    connection = open_trace(str(path)).connection
    assert len(list(trace_events(connection))) == 199
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM requests")
    connection.close()
    for command in ("summary", "log", "export"):
        mapfs(*(word.format(path) for word in COMMANDS[command]))
    assert path.read_bytes() == before


def test_no_extension_is_loaded_whatever_the_trace_asks_for(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    _changed(whole, path)
    connection = open_trace(str(path)).connection
    with pytest.raises(sqlite3.OperationalError, match="not authorized"):
        connection.execute("SELECT load_extension('evil')")
    assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_trace_that_is_damaged_within_is_told_by_every_command(whole: bytes, tmp_path: Path, command: str) -> None:
    """The pages of the requests themselves: only who reads them meets it."""
    path = tmp_path / "t.db"
    path.write_bytes(whole)
    with sqlite3.connect(path) as database:
        (root,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'requests'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    database.close()
    with open(path, "r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    _refused(path, command)
