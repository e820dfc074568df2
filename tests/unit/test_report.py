"""A report's numbers are those of queries on the trace, whatever way they were counted; and its page is inert."""

import json
import os
import random
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mapfs.trace.columns import Columns, UnreadableError
from mapfs.trace.events import (
    AHEAD,
    COLD,
    DROP,
    ERROR,
    EVICT,
    FAULT,
    HIT,
    JOINED,
    PUSH,
    REFAULT,
    SHARED,
    WRITE,
    WRITTEN,
    Event,
    Lost,
)  # fmt: skip
from mapfs.trace.facts import Fact, FileFact, MountFact, ThreadFact
from mapfs.trace.reader import open_trace
from mapfs.trace.store import Store
from mapfs.views import spread
from mapfs.views.report import arrays, build, grid, marks, page_of, report_of
from mapfs.views.report import scan as report_scan
from mapfs.views.report.arrays import scan_columns
from mapfs.views.report.grid import COLUMN_BITS, KEPT, ROW_BITS, Grid
from mapfs.views.report.kinds import COLD_, KINDS
from mapfs.views.report.model import Report
from mapfs.views.report.part import Part
from mapfs.views.report.parts import _layout, _together, scan_all, span_of
from mapfs.views.report.scan import scan, scan_texts
from mapfs.views.summary import summarise
from mapfs.views.summary.model import Unasked
from tests.unit.samples import FILE, MOUNT, THREAD, event

PAGE = MOUNT.page_size
FILES = [FILE, *(FileFact(n, n + 1, f"f{n}", "pages:", 300 * PAGE * n - 5, 1) for n in range(2, 18))]
FILES.append(FileFact(18, 30, "f2", "pages:", 900 * PAGE, 2))  # another version of f2
THREADS = [THREAD, *(ThreadFact(n, 200 + n, "t", 200 + n - n % 2, 5, f"p{n // 2}", "", None, 0) for n in range(2, 30))]


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store(":memory:")
    yield made
    made.connection.close()


def mounted(**changes: Any) -> MountFact:
    made = msgspec.structs.replace(MOUNT, **changes)
    assert isinstance(made, MountFact)
    return made


def fill(store: Store, events: list[Event | Lost], evidence: str = "kernel") -> sqlite3.Connection:
    facts: list[Fact] = [mounted(evidence=evidence), *FILES, *THREADS]
    for fact in facts:
        store.fact(fact)
    store.events(events)
    return store.connection


def some_events(count: int, seed: int) -> list[Event | Lost]:
    """Of every sort; most are reads of a page."""
    rng = random.Random(seed)
    events: list[Event | Lost] = []
    for serial in range(1, count + 1):
        file = rng.choice(FILES[: rng.choice((2, 18))])
        thread = rng.choice([*THREADS, None])
        at: dict[str, Any] = {
            "time_ns": 5_000 + serial * 997 - rng.randrange(400), "wait_ns": rng.randrange(10_000), "file": file,
            "offset": rng.randrange(max(1, file.size // PAGE)) * PAGE, "thread": thread, "tid": thread.tid if thread else 0,
        }  # fmt: skip
        sort = rng.randrange(30)
        if sort < 12:
            at |= {"cls": COLD}
        elif sort < 17:
            at |= {"cls": REFAULT, "refaults": 1}
        elif sort == 17:
            at |= {"cls": COLD, "size": 3 * PAGE, "refaults": rng.randrange(3), "demanded": at["offset"] // PAGE}
        elif sort == 18:
            at |= {"cls": ERROR, "errno": 5, "reason": "on purpose"}
        elif sort == 19:
            at |= {"op": WRITE, "cls": WRITTEN, "size": rng.choice((PAGE, 17))}
        elif sort == 20:
            at |= {"op": rng.choice((PUSH, DROP)), "cls": None, "size": 5 * PAGE}
        elif sort == 21:
            at |= {"cls": None, "direct": True}
        elif sort == 22:
            at |= {"cls": rng.choice((None, AHEAD)), "size": rng.choice((PAGE, 700))}
        elif sort < 27:
            by = rng.choice([*THREADS, None])
            cls = rng.choice((SHARED, SHARED, AHEAD, JOINED, None))
            at |= {"op": rng.choice((FAULT, HIT)), "cls": cls, "by": by, "by_key": by.key if by else 0}
            at |= {"size": rng.choice((1, 1, 4)) * PAGE} | ({} if cls == JOINED else {"wait_ns": None})
        else:
            at |= {"op": EVICT, "cls": None, "size": rng.choice((1, 1, 2)) * PAGE}
        events.append(event(serial, **at))
    return events


PAGES = f"((offset + size + {PAGE - 1}) / {PAGE} - offset / {PAGE})"
READS = "op = 1 AND errno = 0 AND direct = 0"


def one(db: sqlite3.Connection, query: str, *values: object) -> Any:
    return db.execute(query, values).fetchone()[0] or 0


def check_numbers(report: Report, db: sqlite3.Connection) -> None:
    """Each against a query of its own."""
    joined = "FROM requests r LEFT JOIN threads t ON t.id = r.thread LEFT JOIN files f ON f.id = r.file"
    wheres: list[tuple[Any, str, tuple[object, ...]]] = [(report.total, "1", ())]
    wheres += [(row.demand, "f.path = ?", (row.file,)) for row in report.files]
    wheres += [(row.demand, "t.pid IS ? AND t.command IS ?", (row.pid, row.command)) for row in report.processes]
    for demand, where, values in wheres:
        waited = f"{READS} AND class IS NOT 'AHEAD'"
        assert (
            demand.demands, demand.wait_ns, demand.longest_ns, demand.pages, demand.refaults, demand.bytes, demand.errors,
        ) == db.execute(
            f"SELECT ifnull(sum({waited}), 0), ifnull(sum(iif({waited}, wait_ns, 0)), 0),"
            f" ifnull(max(iif({waited}, wait_ns, 0)), 0), ifnull(sum(iif({READS}, {PAGES} - refaults, 0)), 0),"
            f" ifnull(sum(iif({READS}, refaults, 0)), 0), ifnull(sum(iif(op = 1 AND errno = 0, r.size, 0)), 0),"
            f" ifnull(sum(errno <> 0), 0) {joined} WHERE {where}".replace("size + ", "r.size + "),
            values,
        ).fetchone(), where  # fmt: skip
    for row in report.files:
        assert row.evicted == one(
            db, f"SELECT sum({PAGES}) FROM evictions WHERE file IN (SELECT id FROM files WHERE path = ?)", row.file
        )
    for process in report.processes:
        assert process.got is not None
        for name in ("ahead", "shared", "joined"):
            assert getattr(process.got, name) == one(
                db,
                f"SELECT sum({PAGES}) FROM faults e LEFT JOIN threads t ON t.id = e.thread"
                " WHERE class = ? AND t.pid IS ? AND t.command IS ?",
                name.upper(), process.pid, process.command,
            )  # fmt: skip
    assert report.sharing is not None
    told = {
        (report.processes[share.got].pid, report.processes[share.by].pid): (share.shared, share.joined)
        for share in report.sharing
    }
    assert told == {
        (got, by): sums
        for got, by, *sums_ in db.execute(
            f"SELECT t.pid, b.pid, sum(iif(class = 'SHARED', {PAGES}, 0)), sum(iif(class = 'JOINED', {PAGES}, 0))"
            " FROM faults e LEFT JOIN threads t ON t.id = e.thread LEFT JOIN threads b ON b.id = e.by_thread"
            " WHERE class IN ('SHARED', 'JOINED') GROUP BY 1, 2"
        )
        for sums in [tuple(sums_)]
    }
    check_timeline(report, db)
    waits = db.execute(
        "SELECT wait_ns FROM (SELECT wait_ns, serial FROM requests WHERE op = 1 AND class IS NOT 'AHEAD' UNION ALL"
        " SELECT wait_ns, serial FROM faults WHERE class = 'JOINED') ORDER BY wait_ns DESC, serial LIMIT 25"
    )
    assert [wait.wait_ns for wait in report.longest] == [wait for (wait,) in waits]


def check_timeline(report: Report, db: sqlite3.Connection) -> None:
    line = report.timeline
    start = one(db, "SELECT min(time_ns) FROM (SELECT time_ns FROM requests UNION ALL SELECT time_ns FROM faults"
        " UNION ALL SELECT time_ns FROM evictions)")  # fmt: skip
    sums = dict[str, Counter[int]](new=Counter(), refaults=Counter(), evicted=Counter())
    for row, new, again in db.execute(
        f"SELECT (time_ns - {start}) / {line.row_ns}, sum({PAGES} - refaults), sum(iif(op = 1, refaults, 0))"
        f" FROM requests WHERE {READS} OR op = 3 GROUP BY 1"
    ):
        sums["new"][row], sums["refaults"][row] = new, again
    for row, pages in db.execute(f"SELECT (time_ns - {start}) / {line.row_ns}, sum({PAGES}) FROM evictions GROUP BY 1"):
        sums["evicted"][row] = pages
    for name, counted in sums.items():
        told = getattr(line, name)
        assert {row: pages for row, pages in enumerate(told) if pages} == {r: n for r, n in counted.items() if n}, name
    assert line.asked[-1] == sum(sums["new"].values())


@pytest.mark.parametrize("seed", range(3))
def test_each_number_of_a_short_trace_is_that_of_a_query(store: Store, seed: int) -> None:
    db = fill(store, some_events(3_000, seed))
    report = report_of(db, labels=False)
    check_numbers(report, db)
    assert report.exact is not None and report.cells is None
    assert len(report.exact.time) == report.events == 3_000
    drawn = report.exact
    told = [
        (report.files[file].file, page, report.processes[process].pid, wait)
        for file, page, process, wait in zip(drawn.file, drawn.page, drawn.process, drawn.wait, strict=True)
    ]
    columns = "e.serial, f.path, e.offset / m.page_size, t.pid"
    joins = "CROSS JOIN mount m LEFT JOIN files f ON f.id = e.file LEFT JOIN threads t ON t.id = e.thread"
    rows = db.execute(
        f"SELECT {columns}, e.wait_ns FROM requests e {joins} UNION ALL SELECT {columns}, e.wait_ns FROM faults e"
        f" {joins} UNION ALL SELECT {columns}, NULL FROM evictions e {joins} ORDER BY 1"
    )
    assert told == [row[1:] for row in rows]


def test_each_number_of_a_long_trace_is_that_of_a_query(store: Store) -> None:
    db = fill(store, some_events(60_000, 7))
    report = report_of(db, labels=False)
    check_numbers(report, db)
    assert report.cells is not None and report.exact is None
    drawn = {row for row, file in enumerate(report.files) if file.drawn}
    assert set(report.cells.file) == drawn and len(drawn) == 12
    for row in drawn:  # what began in a cell is counted in it once; what is longer than a cell, in each
        counted = sum(n for f, k, n in zip(report.cells.file, report.cells.kind, report.cells.count, strict=True)
            if f == row and KINDS[k][0] == "REFAULT")  # fmt: skip
        assert counted == one(
            db, "SELECT count(*) FROM requests WHERE class = 'REFAULT' AND file IN (SELECT id FROM files WHERE path = ?)",
            report.files[row].file,
        )  # fmt: skip


def test_a_report_and_a_summary_say_the_same(store: Store) -> None:
    db = fill(store, some_events(4_000, 11))
    report, summary = report_of(db, labels=False), summarise(db)
    assert (report.total.pages, report.total.refaults, report.total.bytes, report.total.errors) == (
        summary.total.pages, summary.total.refaults, summary.total.bytes, summary.total.errors,
    )  # fmt: skip
    pages = {row.file: (row.demand.pages, row.demand.refaults) for row in report.files}
    for file in summary.files:
        assert pages[file.file] == (file.counts.pages, file.counts.refaults)


def test_a_trace_in_parts_is_the_same_as_in_one(store: Store) -> None:
    db = fill(store, some_events(9_000, 3))
    layout = _layout(db, span_of(db))
    whole = scan(db, layout, 1, 9_001)
    parts = _together([scan(db, layout, 1, 2_000), scan(db, layout, 2_000, 8_000), scan(db, layout, 8_000, 9_001)])
    same(parts, whole)


def same(one: Part, other: Part) -> None:
    for name in ("groups", "sharing", "longest", "pages"):
        assert getattr(one, name) == getattr(other, name), name
    assert +one.again == +other.again
    assert one.grid.cells == other.grid.cells and one.grid.layout == other.grid.layout


@pytest.fixture
def ended(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A trace in a file, so that it is read in columns."""
    path = str(tmp_path / "t.db")
    made = Store(path)
    fill(made, some_events(9_000, 4))
    made.close(1_000_000_000)
    with closing(open_trace(path).connection) as db:
        yield db


def test_other_processes_read_parts_of_a_trace(ended: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    span = span_of(ended)
    whole = scan(ended, _layout(ended, span), 1, 9_001)
    monkeypatch.setattr(spread, "_ALONE", 1_000)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    same(scan_all(ended, span), whole)


@pytest.mark.parametrize("dense", [True, False])
def test_columns_and_sqlite_make_the_same_page(
    ended: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, dense: bool
) -> None:
    monkeypatch.setattr(arrays, "_MANY", 1_000)
    monkeypatch.setattr(marks, "EXACTLY", 0)
    monkeypatch.setattr(build, "EXACTLY", 0)
    if not dense:
        monkeypatch.setattr(arrays, "_DENSE", 1)
    in_columns = report_of(ended, labels=False)
    check_numbers(in_columns, ended)

    def unreadable(*_: object) -> Part:
        raise UnreadableError

    monkeypatch.setattr(report_scan, "scan_columns", unreadable)
    assert in_columns.cells is not None and len(set(in_columns.cells.kind)) > 10
    assert page_of(report_of(ended, labels=False)) == page_of(in_columns)


def test_ids_of_many_bits_take_no_table(tmp_path: Path) -> None:
    """A thread that the recorder heard of late has an id of its own sort."""
    path, far = str(tmp_path / "t.db"), (1 << 33) + 7
    made = Store(path)
    thread = msgspec.structs.replace(THREAD, key=far)
    made.fact(mounted(evidence="kernel"))
    made.fact(FILE)
    made.fact(thread)
    made.events([event(1, thread=thread), event(2, offset=PAGE, thread=None, tid=0)])
    made.close(1_000_000_000)
    with closing(open_trace(path).connection) as db, closing(Columns(db)) as columns:
        layout = _layout(db, span_of(db))
        assert layout.thread_bits > 32
        same(scan_columns(columns, layout, 1, 3), scan_texts(db, layout, 1, 3))


def test_columns_get_coarser_as_rows_of_sqlite_do(ended: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "KEPT", 6_000)
    monkeypatch.setattr(arrays, "KEPT", 6_000)
    monkeypatch.setattr(arrays, "_MANY", 1_000)
    monkeypatch.setattr(report_scan, "_CHUNK", 500)
    layout = _layout(ended, span_of(ended))
    with closing(Columns(ended)) as columns:
        in_columns = scan_columns(columns, layout, 1, 9_001)
    assert in_columns.grid.layout.row_shift and in_columns.grid.layout.column_shift
    assert len(in_columns.grid.cells) <= 6_000
    in_rows = scan_texts(ended, layout, 1, 9_001)
    assert in_columns.grid.layout == in_rows.grid.layout
    # the cells are the same; what lies in two that become one is counted in it once or twice, by when that happens
    assert in_columns.grid.cells.keys() == in_rows.grid.cells.keys()
    assert in_columns.groups == in_rows.groups


def test_what_a_file_has_grown_by_is_in_its_last_column(store: Store) -> None:
    small = FileFact(1, 2, "a", "pages:", 2 * PAGE, 1)
    db = fill(store, [event(1, file=small), event(2, file=small, offset=5_000 * PAGE)])
    cells = scan_texts(db, _layout(db, span_of(db)), 1, 3).grid.cells
    assert sorted(cell >> ROW_BITS & (1 << COLUMN_BITS) - 1 for cell in cells) == [0, 255]


def test_ids_that_fit_no_number_change_nothing(store: Store) -> None:
    db = fill(store, some_events(2_000, 6))
    layout = _layout(db, span_of(db))
    large = replace(layout, file_bits=40, thread_bits=40)
    assert layout.packs and not large.packs
    packed, rows = scan(db, layout, 1, 2_001), scan(db, large, 1, 2_001)
    assert packed.groups == rows.groups and packed.sharing == rows.sharing and packed.longest == rows.longest
    assert packed.pages == rows.pages and packed.grid.cells == rows.grid.cells


def test_cells_that_are_merged_lose_no_mark(store: Store) -> None:
    db = fill(store, some_events(2_000, 5))
    part = scan(db, _layout(db, span_of(db)), 1, 2_001)
    before, marks = len(part.grid.cells), sum(part.grid.cells.values())
    coarse = Grid(replace(part.grid.layout, row_shift=3, column_shift=2))
    coarse.add(part.grid)
    assert coarse.layout.height_ns == part.grid.layout.row_ns * 8
    assert len(coarse.cells) < before and sum(coarse.cells.values()) == marks


def test_more_cells_than_may_be_kept_get_coarser(store: Store) -> None:
    db = fill(store, [event(1)])
    own = Grid(_layout(db, span_of(db)))
    base = own.layout.base(FILE.id, THREAD.key, COLD_)
    assert base is not None
    for colour in range(16):
        own.cells.update({base + (colour << 22) + cell: 2 for cell in range(0, 1 << 18, 3)})
    marks = sum(own.cells.values())
    assert len(own.cells) > KEPT and own.fit()
    assert len(own.cells) <= KEPT and sum(own.cells.values()) == marks
    shown = own.shown()
    assert len(shown) <= 150_000 and sum(cell.count for cell in shown) == marks


def test_what_became_of_pages_that_were_read_ahead(store: Store) -> None:
    def got(serial: int, page: int) -> Event:
        return event(serial, op=FAULT, cls=AHEAD, offset=page * PAGE, wait_ns=None)

    db = fill(store, [
        event(1, size=4 * PAGE, demanded=1),  # 0, 2 and 3 are read ahead
        got(2, 2),
        got(3, 2),  # by another process: used once
        event(4, op=EVICT, cls=None, offset=0),
        got(5, 0),  # too late: somebody must have asked for it again, unseen
        event(6, op=PUSH, cls=None, offset=5 * PAGE),
        got(7, 5),
    ])  # fmt: skip
    report = report_of(db, labels=False)
    assert report.readaheads == Unasked(brought=3, used=1, wasted=2, unclear=0)
    assert report.pushes == Unasked(brought=1, used=1, wasted=0, unclear=0)


def test_what_the_requests_alone_do_not_tell_is_null(store: Store) -> None:
    db = fill(store, [event(1, size=4 * PAGE), Lost(7)], evidence="requests")
    report = report_of(db, labels=False)
    assert report.sharing is None and report.evicted is None and report.timeline.resident is None
    assert report.files[0].got is None and report.processes[1].got is None
    assert report.readaheads == Unasked(None, None, None, 4)
    said = " ".join(report.unknown)
    assert "nobody can tell" in said and "7 events were lost" in said and "had not ended" in said


def test_what_is_resident_is_counted_where_it_is_known(store: Store) -> None:
    db = fill(store, [event(1), event(2, offset=PAGE), event(3, op=EVICT, cls=None, offset=0)])
    resident = report_of(db, labels=False).timeline.resident
    assert resident is not None and resident[-1] == 1


def test_a_trace_without_events_makes_a_page(store: Store) -> None:
    report = report_of(fill(store, []))
    assert report.events == 0 and report.exact is not None
    assert "</html>" in page_of(report)


HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "{{script}}{{data}}",
    "\u202eevil\u2028\x1b[31m",
    "&quot;'\"`${alert(1)}",
    "]]><!--",
]


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "script":
            self.scripts.append(data)


def hostile_report(store: Store) -> Report:
    store.fact(mounted(mountpoint=HOSTILE[0], evidence="kernel"))
    events: list[Event | Lost] = []
    for number, name in enumerate(HOSTILE, 1):
        file = FileFact(number, number, name, name, 8 * PAGE, 1)
        thread = ThreadFact(number, 100 + number, name, 100 + number, 5, name, name, name, 0)
        store.fact(file)
        store.fact(thread)
        events.append(event(number, file=file, thread=thread, cls=ERROR, errno=5, reason=name))
    store.events(events)
    return report_of(store.connection)


def test_names_cannot_become_anything_but_text(store: Store) -> None:
    report = hostile_report(store)
    page = page_of(report)
    elements = Elements()
    elements.feed(page)
    assert elements.tags.count("script") == 2 and "img" not in elements.tags
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert data and not set(data[1]) & set("<>&\u202e\u2028")
    told = json.loads(data[1])
    assert {file["file"] for file in told["files"]} >= {HOSTILE[0], HOSTILE[1], HOSTILE[2], r"\u202eevil\u2028\x1b[31m"}


def test_a_page_asks_for_nothing(store: Store) -> None:
    page = page_of(report_of(fill(store, some_events(100, 1))))
    assert "http:" not in page and "https:" not in page and "@import" not in page and "url(" not in page
    assert "default-src 'none'" in page.replace("&#x27;", "'")
