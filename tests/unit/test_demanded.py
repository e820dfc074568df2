"""Who demanded what, from a trace that has ended: the sums of `mapfs summary`, and what was lost."""

from pathlib import Path

import pytest

from mapfs.errors import TraceError
from mapfs.trace.events import DROP, PUSH, WRITE, Event, Lost
from mapfs.trace.facts import FileFact
from mapfs.trace.reader import open_trace
from mapfs.trace.store import Store
from mapfs.views import demanded as module
from mapfs.views.demanded import Demand, demanded, explain
from mapfs.views.summary import summarise
from tests.unit.samples import FILE, MOUNT, THREAD, event

PAGE = MOUNT.page_size
INDEX = FileFact(2, 3, "users.idx", "pages:8p", 8 * PAGE, 1)
EVENTS: list[Event | Lost] = [
    event(1, size=3 * PAGE),
    event(2, size=3 * PAGE, cls="REFAULT", refaults=2),
    event(3, file=INDEX, offset=PAGE, size=100),
    event(4, file=INDEX, thread=None, tid=0),
    event(5, errno=5, cls="ERROR", reason="x"),
    event(6, direct=True, cls=None, size=1 << 20),
    event(7, op=WRITE, cls="WRITE"),
    event(8, op=PUSH, thread=None, cls=None),
    event(9, op=DROP, thread=None, cls=None),
    Lost(2),
    event(12, file=INDEX, offset=2 * PAGE),
]


def written(path: Path, *, ended: bool = True) -> str:
    store = Store(str(path))
    try:
        for fact in (MOUNT, FILE, INDEX, THREAD):
            store.fact(fact)
        store.events(EVENTS)
        store.connection.commit()
    finally:
        if ended:
            store.close(9_000)
        else:
            store.connection.close()
    return str(path)


def test_the_sums_are_those_of_the_summary(tmp_path: Path) -> None:
    trace = written(tmp_path / "t.db")
    found = demanded(str(tmp_path / "gone"), trace)
    assert found.lost == 2
    assert sorted(found.demands, key=lambda one: (one.file, one.pages)) == [
        Demand("a/b", 100, "python3", 4, 2),
        Demand("users.idx", None, None, 1, 0),
        Demand("users.idx", 100, "python3", 2, 0),
    ]
    reading = open_trace(trace)
    try:
        summary = summarise(reading.connection)
    finally:
        reading.connection.close()
    for again, total in ((False, summary.total.pages), (True, summary.total.refaults)):
        assert explain(found.demands, again=again)[0] == total
    assert explain(found.demands, again=False) == (7, ["a/b 4, users.idx 3", "python3/100 6, ? 1"])
    assert explain(found.demands, again=True) == (2, ["a/b 2", "python3/100 2"])


def test_a_trace_that_nobody_finishes_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WITHIN", 0.05)
    with pytest.raises(TraceError, match="disk is full"):
        demanded(str(tmp_path / "gone"), written(tmp_path / "t.db", ended=False))


def test_many_files_are_not_all_named() -> None:
    demands = [Demand(f"f{number:02}", 1, "cat", number, 0) for number in range(1, 13)]
    total, (files, processes) = explain(demands, again=False)
    assert total == 78 and processes == "cat/1 78"
    assert files.startswith("f12 12, f11 11, ") and files.endswith("f03 3, and 2 more")
