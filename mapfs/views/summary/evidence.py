"""What only evidence beyond the requests can tell: who profited from whom, and what was read ahead for nothing.

Of the tier `faults` it is told for the processes that were watched; of the tier `requests` for nobody.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import merge

from mapfs.trace.events import AHEAD, DROP, EVICT, FAULT, JOINED, PUSH, READ, SHARED
from mapfs.views.summary.model import Got, HeldBack, Joined, Share, Unasked, Who
from mapfs.views.summary.part import DEMAND, Group, Part, pages_of

REQUESTS, FAULTS, KERNEL = "requests", "faults", "kernel"


@dataclass(frozen=True, slots=True)
class Process:
    """`started` tells it from a later one with the same pid."""

    pid: int
    started: int
    command: str

    @property
    def who(self) -> Who:
        """Without what people do not need."""
        return Who(self.pid, self.command)


class Sight:
    """What the evidence of a trace could see."""

    def __init__(self, db: sqlite3.Connection, evidence: str, lost_samples: int) -> None:
        self.evidence = evidence
        self.lost_samples = lost_samples
        self._watched = set(db.execute("SELECT pid, started FROM watched")) if evidence == FAULTS else set()

    def sees(self, process: Process | None) -> bool:
        """Whether what `process` got from the page cache is in the trace."""
        if self.evidence == FAULTS:
            return process is not None and (process.pid, process.started) in self._watched
        return self.evidence == KERNEL

    @property
    def everything(self) -> bool:
        """Whether what is not in the trace did not happen."""
        return self.evidence == KERNEL and not self.lost_samples

    def unknown(self) -> str | None:
        """One sentence on what is shown as `?`, or is too low."""
        lost = f"the kernel lost {self.lost_samples:,} samples of evidence, so these numbers are too low"
        match self.evidence:
            case "requests":
                return (
                    "seen were the requests alone: who shared pages, joined a wait or used what was read ahead, "
                    "and which pages were evicted, is ?"
                )
            case "faults":
                return (
                    f"seen were the page faults of {len(self._watched):,} watched processes, besides the requests: "
                    "what others got from the page cache, what read(2) found there, and which pages were evicted, is ?"
                ) + (f"; {lost}" if self.lost_samples else "")
            case _:
                return lost if self.lost_samples else None


@dataclass(slots=True)
class _Sum:
    ahead: int = 0
    shared: int = 0
    joined: int = 0
    unknown: int = 0
    joined_wait_ns: int = 0


def got_of(parts: Sequence[Part], processes: dict[int, Process]) -> dict[Process | None, Got]:
    """What each process got from the page cache; `processes` by the id of a thread."""
    sums: dict[Process | None, _Sum] = defaultdict(_Sum)
    for part in parts:
        for (thread, _, cls), pages in part.faults.items():
            one = sums[processes.get(thread)]
            name = {AHEAD: "ahead", SHARED: "shared", JOINED: "joined"}.get(cls or "", "unknown")
            setattr(one, name, getattr(one, name) + pages)
        for (thread, _), (_, wait_ns, _) in part.joined.items():
            sums[processes.get(thread)].joined_wait_ns += wait_ns
    return {who: Got(one.ahead, one.shared, one.joined, one.unknown, one.joined_wait_ns) for who, one in sums.items()}


def sharing_of(parts: Sequence[Part], processes: dict[int, Process]) -> list[Share]:
    """Who owes pages to whom, most first."""
    sums: dict[tuple[Process | None, Process | None], _Sum] = defaultdict(_Sum)
    for part in parts:
        for (thread, by, cls), pages in part.faults.items():
            if cls in (SHARED, JOINED):
                one = sums[processes.get(thread), processes.get(by)]
                one.shared += pages if cls == SHARED else 0
                one.joined += pages if cls == JOINED else 0
        for (thread, by), (_, wait_ns, _) in part.joined.items():
            sums[processes.get(thread), processes.get(by)].joined_wait_ns += wait_ns
    made = [
        Share(got.who if got else None, by.who if by else None, one.shared, one.joined, one.joined_wait_ns)
        for (got, by), one in sums.items()
    ]
    return sorted(made, key=lambda one: (-one.shared - one.joined, str(one.got), str(one.brought)))


def joined_of(parts: Sequence[Part]) -> Joined:
    """All waits for the requests of other threads."""
    sums = [sum(column) for column in zip(*(row for part in parts for row in part.joined.values()), strict=True)]
    count, wait_ns, known = sums or (0, 0, 0)
    return Joined(count, wait_ns, count - known)


def unasked_of(db: sqlite3.Connection, page_size: int, parts: Sequence[Part], sight: Sight) -> tuple[Unasked, Unasked]:
    """What was read ahead and what was pushed, and what became of each page of it."""
    files = {file for part in parts for (_, file, kind), group in part.groups.items() if _may_be_unasked(kind, group)}
    if sight.evidence == REQUESTS:
        pages = sum(piece.several for part in parts for piece in part.pieces)
        pushed = sum(g.pages for part in parts for (_, _, kind), g in part.groups.items() if kind == PUSH << 3)
        return Unasked(None if pages else 0, None, None, pages), Unasked(pushed, None, None, 0)
    brought, used, unclear = followed(db, page_size, files)
    made = [
        Unasked(brought[op], used[op], brought[op] - used[op] if sight.everything else None, missed)
        for op, missed in ((READ, unclear), (PUSH, 0))
    ]
    return made[0], made[1]


def held_back_of(db: sqlite3.Connection) -> HeldBack:
    """What mapfs did not push ahead for what the evidence had seen."""
    return HeldBack(
        *db.execute(
            "SELECT ifnull(sum(times), 0), ifnull(sum(pushed), 0), ifnull(sum(untouched), 0) FROM held_back"
        ).fetchone()
    )


def followed(db: sqlite3.Connection, page_size: int, files: set[int]) -> tuple[dict[int, int], dict[int, int], int]:
    """Pages of `files` that were brought in unasked, by READ or PUSH; those of them that were touched; and of how many
    nobody can tell whether they were asked for. Follows the pages from being brought in to being touched, being asked
    for again or leaving the page cache, whichever comes first.
    """
    waiting: dict[tuple[int, int], int] = {}  # a page that nobody touched yet: by what it came
    brought, used = {READ: 0, PUSH: 0}, {READ: 0, PUSH: 0}
    unclear = 0
    for _, op, file, offset, size, ahead, demanded in in_order(db, files) if files else ():
        span = pages_of(offset, size, page_size)
        if op == READ and not ahead and demanded is None and len(span) > 1:
            unclear += len(span)
        unasked = op == PUSH or (op == READ and (ahead or (demanded is not None and len(span) > 1)))
        for page in span:
            by = waiting.pop((file, page), None)
            if op == FAULT and by is not None:
                used[by] += 1
            if unasked and (ahead or page != demanded):
                brought[op] += 1
                waiting[file, page] = op
    return brought, used, unclear


def _may_be_unasked(kind: int, group: Group) -> bool:
    return kind in (PUSH << 3, DEMAND | 1) or (kind == DEMAND and group.pages > len(group.waits))


def in_order(db: sqlite3.Connection, files: set[int]) -> Iterator[tuple[int, int, int, int, int, int, int | None]]:
    """serial, op, file, offset, size, whether nobody waited, and demanded: of what brought pages of `files` in, of
    touches (as FAULT), and of what took pages out.
    """
    within = f"file IN ({','.join(map(str, files))}) ORDER BY serial"
    queries = (
        "SELECT serial, op, file, offset, size, class IS 'AHEAD', demanded FROM requests"  # noqa: S608 -- numbers alone
        f" WHERE errno = 0 AND direct = 0 AND op IN ({READ}, {PUSH}, {DROP}) AND {within}",
        f"SELECT serial, {FAULT}, file, offset, size, 0, NULL FROM faults WHERE {within}",  # noqa: S608
        f"SELECT serial, {EVICT}, file, offset, size, 0, NULL FROM evictions WHERE {within}",  # noqa: S608
    )
    return merge(*map(db.execute, queries), key=lambda row: row[0])
