"""What became of pages that were brought in though nobody waited for them: read ahead by the kernel, or pushed."""

import sqlite3

from mapfs.trace.events import PUSH, READ
from mapfs.views.report.kinds import BROUGHT, PUSH_, READ_AHEAD
from mapfs.views.report.part import Part, Sums
from mapfs.views.summary.evidence import followed
from mapfs.views.summary.model import Unasked


def unasked_of(db: sqlite3.Connection, part: Part, evidence: str, *, lost: bool) -> tuple[Unasked, Unasked]:
    """What was read ahead, and what was pushed. Where some of it was not seen, nobody can tell what was wasted."""
    page_size = part.grid.layout.page_size
    files = {file for (file, _, kind), sums in part.groups.items() if _may_be_unasked(kind, sums)}
    brought, used, unclear = followed(db, page_size, files)
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
