"""The tables of a report, from the sums that the scan found."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from mapfs.units import page_count
from mapfs.views.report.grid import ROW_BITS
from mapfs.views.report.kinds import (
    BROUGHT,
    DIRECT,
    DROP_,
    ERROR_,
    EVICT_,
    FOUND,
    GOT,
    JOINED_,
    PUSH_,
    READ_AHEAD,
    SHARED_,
    USED,
    WRITE_,
)  # fmt: skip
from mapfs.views.report.model import Demand, FileRow, Got, ProcessRow, Share, Timeline
from mapfs.views.report.part import Part, Sums

_WAITED = BROUGHT - {READ_AHEAD}


@dataclass(slots=True)
class Names:
    """Which row a file's id and a thread's id belong to. Several versions of a file are one row, several threads of a
    process too; 0, and what is not known, is nobody.
    """

    files: list[str] = field(default_factory=list)
    file: dict[int, int] = field(default_factory=dict)
    processes: list[tuple[int, int, str] | None] = field(default_factory=lambda: [None])
    thread: dict[int, int] = field(default_factory=dict)
    tids: dict[int, int] = field(default_factory=dict)

    def process(self, thread: int | None) -> int:
        """The row of a thread."""
        return self.thread.get(thread or 0, 0)


def demand_of(groups: Iterable[tuple[int, Sums]]) -> Demand:
    """Sums of groups, each with its kind."""
    by = _by_kind(groups)
    waited = [by[kind] for kind in _WAITED]
    brought = [by[kind] for kind in BROUGHT]
    return Demand(
        demands=sum(one.count for one in waited),
        pages=sum(one.pages - one.refaults for one in brought),
        refaults=sum(one.refaults for one in brought),
        bytes=sum(one.bytes for one in brought) + by[DIRECT].bytes,
        wait_ns=sum(one.wait_ns for one in waited),
        longest_ns=max(one.longest_ns for one in waited),
        errors=by[ERROR_].count,
    )


def got_of(groups: Iterable[tuple[int, Sums]]) -> Got:
    """The same of what came from the page cache."""
    by = _by_kind(groups)
    return Got(by[USED].pages, by[SHARED_].pages, by[JOINED_].pages, by[FOUND].pages)


def _by_kind(groups: Iterable[tuple[int, Sums]]) -> defaultdict[int, Sums]:
    by: defaultdict[int, Sums] = defaultdict(Sums)
    for kind, sums in groups:
        by[kind].add(sums)
    return by


def names_of(db: sqlite3.Connection, part: Part) -> Names:
    """The rows, those with most pages first."""
    names = Names()
    busy: Counter[str] = Counter()
    paths = dict(db.execute("SELECT id, path FROM files"))
    for (file, _, kind), sums in part.groups.items():
        busy[paths.get(file, "?")] += sums.pages if kind in BROUGHT else 0
    names.files = sorted(busy, key=lambda path: (-busy[path], path))
    row_of = {path: row for row, path in enumerate(names.files)}
    names.file = {file: row_of[paths.get(file, "?")] for file in {file for file, _, _ in part.groups}}
    _name_processes(db, part, names)
    return names


def _name_processes(db: sqlite3.Connection, part: Part, names: Names) -> None:
    who: dict[int, tuple[int, int, str]] = {}
    for thread, tid, *process in db.execute("SELECT id, tid, pid, started, command FROM threads"):
        names.tids[thread] = tid
        who[thread] = tuple(process)
    busy: Counter[tuple[int, int, str]] = Counter()
    acted = {thread for _, thread, _ in part.groups} | {by for _, by, _ in part.sharing}
    for (_, thread, kind), sums in part.groups.items():
        if thread in who:
            busy[who[thread]] += sums.pages if kind in BROUGHT | GOT else 0
    for thread in acted & who.keys():
        busy[who[thread]] += 0
    known = sorted(busy, key=lambda one: (-busy[one], one))
    names.processes = [None, *known]
    row_of = {one: row for row, one in enumerate(names.processes)}
    names.thread = {thread: row_of[one] for thread, one in who.items() if one in row_of}


def files_of(
    db: sqlite3.Connection, part: Part, names: Names, drawn: set[int], *, seen: bool, kernel: bool
) -> list[FileRow]:
    """A row for each; of several versions the size of the newest."""
    own: list[list[tuple[int, Sums]]] = [[] for _ in names.files]
    for (file, _, kind), sums in part.groups.items():
        own[names.file[file]].append((kind, sums))
    sizes: dict[str, int] = dict(db.execute("SELECT path, size FROM files ORDER BY id"))
    page_size = part.grid.layout.page_size
    return [
        FileRow(
            path, sizes.get(path, 0), page_count(sizes.get(path, 0), page_size), demand_of(own[row]),
            got_of(own[row]) if seen else None,
            sum(sums.pages for kind, sums in own[row] if kind == EVICT_) if kernel else None, row in drawn,
        )
        for row, path in enumerate(names.files)
    ]  # fmt: skip


def processes_of(db: sqlite3.Connection, part: Part, names: Names, evidence: str) -> list[ProcessRow]:
    """A row for each, the first for nobody known."""
    own: list[list[tuple[int, Sums]]] = [[] for _ in names.processes]
    for (_, thread, kind), sums in part.groups.items():
        if kind not in (EVICT_, DROP_, PUSH_):
            own[names.process(thread)].append((kind, sums))
    threads: Counter[int] = Counter(
        names.thread[thread] for thread in {t for _, t, _ in part.groups} & names.thread.keys()
    )
    colours = {names.thread[t]: colour for t, colour in part.grid.layout.colours.items() if t in names.thread}
    boxes = {(pid, started): box for pid, started, box in db.execute("SELECT pid, started, container FROM threads")}
    watched = set(db.execute("SELECT pid, started FROM watched"))
    rows = []
    for row, one in enumerate(names.processes):
        pid, started, command = one or (None, None, None)
        seen = evidence == "kernel" or (evidence == "faults" and (pid, started) in watched)
        box = boxes.get((pid, started)) if pid is not None and started is not None else None
        got = got_of(own[row]) if seen else None
        rows.append(ProcessRow(pid, command, box, threads[row], colours.get(row), demand_of(own[row]), got))
    return rows


def sharing_of(part: Part, names: Names) -> list[Share]:
    """Who owes pages to whom, most first."""
    shared: Counter[tuple[int, int]] = Counter()
    joined: Counter[tuple[int, int]] = Counter()
    for (thread, by, kind), pages in part.sharing.items():
        if kind in (SHARED_, JOINED_):
            (shared if kind == SHARED_ else joined)[names.process(thread), names.process(by)] += pages
    made = [Share(*pair, shared[pair], joined[pair]) for pair in {*shared, *joined}]
    return sorted(made, key=lambda one: (-one.shared - one.joined, one.got, one.by))


def timeline_of(part: Part, span_ns: int, *, kernel: bool, whole: bool) -> Timeline:
    """`whole`: no event was lost. What was resident is known where evictions are seen, and nothing was written, pushed
    or dropped: then each page that was read had been absent, and each that left had been there.
    """
    layout = part.grid.layout
    shift = layout.row_shift
    count = min((span_ns // layout.height_ns) + 1, (1 << ROW_BITS) >> shift)
    new, refaults, evicted = [0] * count, [0] * count, [0] * count
    for (kind, row), pages in part.pages.items():
        at = min(row >> shift, count - 1)
        if kind in BROUGHT:
            new[at] += pages - part.again[kind, row]
            refaults[at] += part.again[kind, row]
        elif kind == PUSH_:
            new[at] += pages - part.again[kind, row]
        elif kind == EVICT_:
            evicted[at] += pages
    plain = not {kind for kind, _ in part.pages} & {WRITE_, PUSH_, DROP_}
    changes = [a + b - c for a, b, c in zip(new, refaults, evicted, strict=True)]
    return Timeline(
        row_ns=layout.height_ns,
        new=new,
        refaults=refaults,
        evicted=evicted if kernel else None,
        asked=list(accumulate(new)),
        resident=list(accumulate(changes)) if kernel and whole and plain else None,
    )
