"""What the recorder remembers of threads has a bound, and never loses one whose events can still be asked for."""

import msgspec

from mapfs.trace.evidence.names import FIRST_KEY
from mapfs.trace.journal import Entry, Journal
from mapfs.trace.known import Known
from tests.unit.samples import THREAD

SLOTS = 4096
YOUNG = 1000  # threads that are known before their first event


def entry(serial: int, thread: int, by: int = 0) -> Entry:
    """An event of `thread`, whose page `by` brought."""
    return Entry(serial, 0, 0, 0, 0, 0, 0, 4096, 1, thread, 1, by, 0, 0, 0, 1, 0, 0, 0)


def test_threads_without_events_are_forgotten_and_those_with_are_not() -> None:
    journal = Journal(SLOTS)
    known = Known(journal)
    for serial in range(SLOTS):
        journal.append(entry(serial, 1, FIRST_KEY))  # what is overwritten below
    for serial in range(SLOTS, 2 * SLOTS):
        journal.append(entry(serial, 2, FIRST_KEY + 1) if serial == 2 * SLOTS - 1 else entry(serial, 3))
    for number in range(2 * SLOTS):
        known.thread(msgspec.structs.replace(THREAD, key=1 + number))
        known.thread(msgspec.structs.replace(THREAD, key=FIRST_KEY + number))
    assert len(known.threads) == 4 * SLOTS, "as many as there may be"
    newest = 1 + 2 * SLOTS
    known.thread(msgspec.structs.replace(THREAD, key=newest))
    by_daemon = {key for key in known.threads if key < FIRST_KEY}
    by_evidence = {key - FIRST_KEY for key in known.threads if key >= FIRST_KEY}
    assert by_daemon == {2, 3, *range(newest - YOUNG + 1, newest + 1)}
    assert by_evidence == {1, *range(2 * SLOTS - YOUNG, 2 * SLOTS)}
    last = known.event(journal[journal.count - 1])
    assert last.thread is not None and last.thread.key == 2
    assert last.by is not None and last.by.key == FIRST_KEY + 1
