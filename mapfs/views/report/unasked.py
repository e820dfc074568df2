"""What became of pages that were brought in though nobody waited for them: read ahead by the kernel, or pushed."""

import sqlite3

from mapfs.trace.events import FAULT, PUSH, READ
from mapfs.views.report.kinds import BROUGHT, PUSH_, READ_AHEAD
from mapfs.views.report.part import Part, Sums, pages_of
from mapfs.views.summary.evidence import in_order
from mapfs.views.summary.model import Unasked


def unasked_of(db: sqlite3.Connection, part: Part, evidence: str, *, lost: bool) -> tuple[Unasked, Unasked]:
    """What was read ahead, and what was pushed. Follows each such page until it is touched, asked for again, or leaves
    the page cache, whichever comes first. Where some of it was not seen, nobody can tell what was wasted.
    """
    page_size = part.grid.layout.page_size
    files = {file for (file, _, kind), sums in part.groups.items() if _may_be_unasked(kind, sums)}
    waiting: dict[tuple[int, int], int] = {}
    brought, used, unclear = {READ: 0, PUSH: 0}, {READ: 0, PUSH: 0}, 0
    for _, op, file, offset, size, ahead, demanded in in_order(db, files) if files else ():
        first = offset // page_size
        pages = range(first, first + pages_of(offset, size, page_size))
        asked_for = op == READ and not ahead
        if asked_for and demanded is None and len(pages) > 1:
            unclear += len(pages)
        for page in pages:
            came_by = waiting.pop((file, page), None)
            if op == FAULT and came_by is not None:
                used[came_by] += 1
            if op == PUSH or (op == READ and (ahead or (demanded is not None and page != demanded))):
                brought[op] += 1
                waiting[file, page] = op
    seen, everything = evidence != "requests", evidence == "kernel" and not lost

    def told(op: int, missed: int) -> Unasked:
        none = not brought[op] + missed
        return Unasked(
            brought[op] if seen or not missed else None,
            used[op] if seen or none else None,
            brought[op] - used[op] if everything or none else None,
            missed,
        )

    return told(READ, unclear), told(PUSH, 0)


def _may_be_unasked(kind: int, sums: Sums) -> bool:
    return kind in (PUSH_, READ_AHEAD) or (kind in BROUGHT and sums.pages > sums.count)
