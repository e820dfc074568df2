"""What comes from strangers, in any shape: a trace file, a line of `.mapfs/ctl`. Data, or a sentence; never code.

The wire and the spec parsers have theirs in test_wire.py and test_spec.py. What once was hard is in tests/corpus.
"""

import sqlite3
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mapfs.errors import MapfsError
from mapfs.fuse import control
from mapfs.trace.reader import open_trace, trace_events
from mapfs.trace.store import Store
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


@pytest.mark.parametrize("command", ["log", "summary"])
def test_a_trace_with_other_tables_is_a_sentence_and_runs_nothing(whole: bytes, tmp_path: Path, command: str) -> None:
    path = tmp_path / "t.db"
    path.write_bytes(whole)
    with sqlite3.connect(path) as database:
        # a view under the name of a table, whose function would read a file or load code where a schema were trusted
        database.execute("DROP TABLE IF EXISTS requests")
        database.execute(f"CREATE VIEW requests AS SELECT load_extension('{tmp_path}/evil') AS serial")
    database.close()
    done = mapfs(command, str(path), check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("mapfs: ") and done.stderr.count("\n") == 1, done.stderr
    assert "cannot be read" in done.stderr and "defect" not in done.stderr
