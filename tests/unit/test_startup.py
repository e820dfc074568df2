"""The profile of starts: by hand on small traces."""

import io
from collections.abc import Iterator

import msgspec
import pytest
from rich.console import Console

from mapfs.trace.events import AHEAD, FAULT, REFAULT, SHARED, Lost
from mapfs.trace.store import Store
from mapfs.views.startup import Interval, profile, render_binaries, render_starts
from tests.unit.samples import FILE, MOUNT, THREAD, event

PAGE = 4096
FIRST, SECOND = Interval(1000, 2000, 0), Interval(3000, 4000, 139, "SIGSEGV")
EVENTS = [
    event(1, time_ns=900),  # before the first start: page 0
    event(2, time_ns=1100, wait_ns=40, offset=PAGE, size=4 * PAGE, demanded=2),  # pages 1 to 4, 3 and 4 of them in vain
    event(3, time_ns=1200, wait_ns=None, op=FAULT, cls=AHEAD, offset=PAGE, size=PAGE),
    event(4, time_ns=1999, wait_ns=50, offset=5 * PAGE, demanded=5),
    event(5, time_ns=2000, offset=6 * PAGE, demanded=6),  # between the starts
    event(6, time_ns=3000, wait_ns=None, op=FAULT, cls=SHARED, offset=0, size=4 * PAGE),  # 1 to 3 are of the first
    event(7, time_ns=3100, wait_ns=7, cls=REFAULT, refaults=1, offset=5 * PAGE, demanded=5),
    event(8, time_ns=3200, op=FAULT, cls=SHARED, offset=5 * PAGE, wait_ns=None),  # what it demanded itself
]


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(":memory:")
    yield store
    store.connection.close()


def fill(store: Store, evidence: str) -> None:
    for fact in (msgspec.structs.replace(MOUNT, evidence=evidence), FILE, THREAD):
        store.fact(fact)
    store.events(EVENTS)


def test_each_start_has_what_happened_between_its_beginning_and_its_end(store: Store) -> None:
    fill(store, "kernel")
    first, second = profile(store.connection, [FIRST, SECOND]).starts
    assert (first.demands, first.pages, first.refaults, first.wait_ns) == (2, 5, 0, 90)
    assert (first.shared, first.unused, first.took_ns) == (0, 2, 1000)
    assert (second.demands, second.pages, second.refaults, second.wait_ns) == (1, 1, 1, 7)
    assert (second.shared, second.unused, second.signal) == (3, 0, "SIGSEGV")


@pytest.mark.parametrize(("evidence", "shared"), [("faults", 3), ("requests", None)])
def test_what_the_evidence_cannot_tell_is_none(store: Store, evidence: str, shared: int | None) -> None:
    fill(store, evidence)
    found = profile(store.connection, [FIRST, SECOND])
    assert (found.starts[1].shared, found.starts[1].unused) == (shared, None)
    console = Console(file=io.StringIO(), width=200)
    render_starts(found, console)
    assert f"; {'?' if shared is None else shared} pages shared" in console.file.getvalue()  # type: ignore[attr-defined]


def test_after_a_loss_nobody_knows_what_was_shared_or_not_used(store: Store) -> None:
    fill(store, "kernel")
    store.events([Lost(3, samples=True)])
    (start,) = profile(store.connection, [FIRST]).starts
    assert (start.pages, start.shared, start.unused) == (5, None, None)


def test_a_file_that_is_no_executable_has_no_row(store: Store) -> None:
    fill(store, "kernel")
    found = profile(store.connection, [FIRST])
    console = Console(file=io.StringIO(), width=200)
    render_binaries(found, console, most=3)
    assert found.binaries == [] and console.file.getvalue() == ""  # type: ignore[attr-defined]
