"""What became of pages that were pushed: used, not used, and which were demanded all the same; and the time it saved.

A page is used when a process got it from the page cache after it was pushed, which the requests alone cannot tell. It
is missed when it was demanded after the first push of its file. The time saved is what the pages that were used had
taken in the traces of runs before; without such a trace nobody can tell. A wait of a request for several pages is
shared out among them.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mapfs.trace.events import AHEAD, DROP, FAULT, HIT, PUSH, READ
from mapfs.trace.evidence.tiers import KERNEL, REQUESTS_ALONE
from mapfs.units import format_ns, page_count
from mapfs.views.lines import visible

_Event = tuple[int, str, int, int, str | None]  # op, path, offset, size, class


@dataclass(slots=True)
class Row:
    """Pages of one file; `used` and `unused` None: nobody can tell."""

    file: str
    pushed: int = 0
    used: int | None = 0
    unused: int | None = 0
    missed: int = 0


@dataclass(frozen=True, slots=True)
class Score:
    """All files that were pushed to. `saved_ns` is of `saved_pages` of the pages used, None: nobody can tell."""

    evidence: str
    complete: bool
    rows: list[Row]
    saved_ns: int | None
    saved_pages: int | None

    def total(self) -> Row:
        """The sum of the rows."""
        used = [row.used for row in self.rows if row.used is not None]
        unused = [row.unused for row in self.rows if row.unused is not None]
        return Row(
            "all",
            sum(row.pushed for row in self.rows),
            sum(used) if len(used) == len(self.rows) else None,
            sum(unused) if len(unused) == len(self.rows) else None,
            sum(row.missed for row in self.rows),
        )

    def as_json(self) -> dict[str, Any]:
        """The keys of docs/COMMANDS.md."""
        total = asdict(self.total())
        total.pop("file")
        files = [asdict(row) for row in self.rows]
        told = {"evidence": self.evidence, **total, "saved_ns": self.saved_ns, "saved_pages": self.saved_pages}
        return {**told, "files": files}


def score_of(db: sqlite3.Connection, before: Sequence[sqlite3.Connection] = ()) -> Score:
    """The score of what `db` has; `before` are traces of runs that were not warmed."""
    page_size, evidence = db.execute("SELECT page_size, evidence FROM mount").fetchone()
    (lost,) = db.execute("SELECT count(*) FROM losses").fetchone()
    rows: dict[str, Row] = {}
    pushed: dict[str, set[int]] = defaultdict(set)
    waiting: set[tuple[str, int]] = set()
    used: set[tuple[str, int]] = set()
    for op, path, offset, size, cls in _events(db):
        span = range(offset // page_size, max(offset // page_size + 1, page_count(offset + size, page_size)))
        row = rows.setdefault(path, Row(path))
        if op == PUSH:
            pushed[path].update(span)
            waiting.update((path, page) for page in span)
            continue
        mine = [(path, page) for page in span if (path, page) in waiting]
        waiting.difference_update(mine)
        if op in (FAULT, HIT):
            used.update(mine)
        elif op == READ and cls != AHEAD and pushed[path]:
            row.missed += len(span)
    everything = evidence == KERNEL and not lost
    for path, row in rows.items():
        row.pushed = len(pushed[path])
        row.used = sum(name == path for name, _ in used) if evidence != REQUESTS_ALONE or not row.pushed else None
        row.unused = row.pushed - row.used if everything and row.used is not None else None
    known = evidence != REQUESTS_ALONE
    saved, pages = _saved(used, before) if known and before else (None, None)
    return Score(evidence, not lost, [row for row in rows.values() if row.pushed], saved, pages)


def _events(db: sqlite3.Connection) -> Iterator[_Event]:
    """What concerns files that were pushed to, in order; an eviction has the op of a drop."""
    yield from db.execute(
        f"""
        SELECT e.op, f.path, e.offset, e.size, e.class FROM (
            SELECT serial, op, file, offset, size, class FROM requests
                WHERE op IN ({READ}, {PUSH}, {DROP}) AND errno = 0 AND direct = 0
            UNION ALL SELECT serial, op, file, offset, size, class FROM faults
            UNION ALL SELECT serial, {DROP}, file, offset, size, NULL FROM evictions
        ) e JOIN files f ON f.id = e.file
        WHERE e.file IN (SELECT file FROM requests WHERE op = {PUSH}) ORDER BY e.serial"""  # noqa: S608 -- numbers alone
    )


def _saved(used: set[tuple[str, int]], before: Sequence[sqlite3.Connection]) -> tuple[int, int]:
    """What the pages in `used` had taken, and of how many that is known; the mean where several traces have a page."""
    waits: dict[tuple[str, int], list[int]] = defaultdict(list)
    for db in before:
        (page_size,) = db.execute("SELECT page_size FROM mount").fetchone()
        found: dict[tuple[str, int], int] = {}
        for path, offset, size, wait in db.execute(
            "SELECT f.path, r.offset, r.size, r.wait_ns FROM requests r JOIN files f ON f.id = r.file"
            " WHERE r.op = ? AND r.errno = 0 AND r.direct = 0 ORDER BY r.serial",
            (READ,),
        ):
            first, end = offset // page_size, page_count(offset + size, page_size)
            for page in range(first, end):
                if (path, page) in used:
                    found.setdefault((path, page), wait // (end - first))
        for key, wait in found.items():
            waits[key].append(wait)
    return sum(sum(each) // len(each) for each in waits.values()), len(waits)


def render(score: Score, console: Console) -> None:
    """Prints a table of the files, and what was saved."""
    if not score.rows:
        console.print("nothing was pushed", highlight=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold")
    for name in ("pushed", "used", "unused", "still missed"):
        table.add_column(name, justify="right")
    for row in [*score.rows, *([score.total()] if len(score.rows) > 1 else [])]:
        numbers = (row.pushed, row.used, row.unused, row.missed)
        table.add_row(Text(visible(row.file)), *("?" if number is None else f"{number:,}" for number in numbers))
    console.print(table)
    if score.evidence == REQUESTS_ALONE:
        console.print("seen were the requests alone: whether a page that was pushed was used is ?", highlight=False)
    elif score.saved_ns is not None:
        console.print(
            f"time saved: {format_ns(score.saved_ns)}, what {score.saved_pages:,} of the pages used had taken when "
            "they were not pushed",
            highlight=False,
        )
    else:
        console.print("time saved: ?; name the trace of a run that was not warmed", highlight=False)
