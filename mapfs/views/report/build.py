"""From a trace to its report."""

import sqlite3

from mapfs.units import format_size
from mapfs.views.report.kinds import EVICT_, KINDS
from mapfs.views.report.marks import EXACTLY, cell_marks, exact_marks, labeller, longest_waits
from mapfs.views.report.model import Kind, Report
from mapfs.views.report.parts import scan_all, span_of
from mapfs.views.report.tables import demand_of, files_of, names_of, processes_of, sharing_of, timeline_of
from mapfs.views.report.unasked import unasked_of


def report_of(db: sqlite3.Connection, note: str | None = None, *, labels: bool = True) -> Report:
    """Asks the trace; `note` is what its reader could not read. Without `labels` no other file is read.

    Raises TraceError where another process that reads part of it fails.
    """
    mountpoint, version, page_size, readahead, evidence, ended, offset = db.execute(
        "SELECT mountpoint, version, page_size, readahead, evidence, ended_ns, wall_ns - monotonic_ns FROM mount"
    ).fetchone()
    lost: dict[str, int] = dict(db.execute("SELECT what, sum(count) FROM losses GROUP BY what"))
    start, end = span_of(db)
    part = scan_all(db, (start, end))
    seen, kernel = evidence != "requests", evidence == "kernel"
    names = names_of(db, part)
    events = sum(sums.count for sums in part.groups.values())
    each = events <= EXACTLY
    known = labeller(db, part.grid.layout, each=each) if labels else None
    exact = exact_marks(db, part.grid.layout, names, known) if each else None
    cells = None if each else cell_marks(part, names)
    drawn = set(range(len(names.files))) if each else set(cells.file if cells else ())
    readaheads, pushes = unasked_of(db, part, evidence, lost=bool(lost))
    return Report(
        mountpoint=mountpoint,
        version=version,
        page_size=page_size,
        readahead=readahead,
        evidence=evidence,
        lost=lost.get("events", 0),
        lost_samples=lost.get("samples", 0),
        start_wall_ns=start + offset,
        span_ns=end - start,
        events=events,
        unknown=[*_unknown(db, evidence, lost, readahead, ended=ended is not None), *([note] if note else [])],
        kinds=[Kind(*one) for one in KINDS],
        total=demand_of((kind, sums) for (_, _, kind), sums in part.groups.items()),
        files=files_of(db, part, names, drawn, seen=seen, kernel=kernel),
        processes=processes_of(db, part, names, evidence),
        sharing=sharing_of(part, names) if seen else None,
        readaheads=readaheads,
        pushes=pushes,
        evicted=sum(sums.pages for (_, _, kind), sums in part.groups.items() if kind == EVICT_) if kernel else None,
        timeline=timeline_of(part, end - start, kernel=kernel, whole=not lost),
        longest=longest_waits(db, part, names, known),
        exact=exact,
        cells=cells,
    )


def _unknown(db: sqlite3.Connection, evidence: str, lost: dict[str, int], readahead: int, *, ended: bool) -> list[str]:
    """Sentences on what the numbers do not tell."""
    said = ["A page that is in the page cache is touched without a mark: marks are misses, not accesses."]
    if evidence == "requests":
        said = [
            "Only requests were seen: who shared a page, joined a wait or used what was read ahead, and what left the"
            " page cache, nobody can tell (?)."
        ]
    elif evidence == "faults":
        watched = db.execute("SELECT count(*) FROM watched").fetchone()[0]
        said = [
            f"Besides the requests, the page faults of {watched:,} watched processes were seen: what others got from"
            " the page cache, what read(2) found there, and what left it, nobody can tell (?)."
        ]
    if lost.get("events"):
        said.append(
            f"{lost['events']:,} events were lost before they could be recorded: they are in none of the numbers."
        )
    if lost.get("samples"):
        said.append(f"The kernel lost {lost['samples']:,} samples of evidence: what needed no request is told too low.")
    if readahead > 0:
        said.append(f"The kernel read up to {format_size(readahead)} ahead: a page was requested, not always touched.")
    if readahead < 0:
        said.append("The kernel read ahead as it liked: a page was requested, not always touched.")
    if not ended:
        said.append("The mount had not ended: this is what had been recorded when the report was made.")
    return said
