"""A plan: the pages that a recorded run needed, in the order in which it needed them, to be pushed before they are
demanded again. Plain data, read from a trace by `planning`; nothing here knows of databases or mounts.
"""

import hashlib
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

_FIRST, _MOST = 64, 4096  # pages of the first batch, and of the largest: what was needed first is there first


class PlannedFile(msgspec.Struct, frozen=True):
    """A file of a plan, by its path in the mount. What is None the plan does not know."""

    path: str
    #: Bytes that it had.
    size: int | None = None
    #: The version of its content, by `version_text`.
    version: str | None = None


class Run(msgspec.Struct, frozen=True):
    """Pages that follow one another: `pages` from `first` on, of the file with this index in the plan."""

    file: int
    first: int
    pages: int


class Plan(msgspec.Struct, frozen=True):
    """Runs in the order of need, no page in two of them."""

    files: list[PlannedFile] = []
    runs: list[Run] = []

    @property
    def pages(self) -> int:
        """All of them."""
        return sum(run.pages for run in self.runs)

    def batches(self) -> Iterator[dict[int, list[tuple[int, int]]]]:
        """The runs in batches that grow, each as file -> (first, pages): within one their order does not matter, so
        that neighbours can be read together.
        """
        batch: dict[int, list[tuple[int, int]]] = {}
        limit = room = _FIRST
        for run in self.runs:
            first, left = run.first, run.pages
            while left:
                taken = min(left, room)
                batch.setdefault(run.file, []).append((first, taken))
                first, left, room = first + taken, left - taken, room - taken
                if not room:
                    yield batch
                    batch, limit = {}, min(_MOST, limit * 2)
                    room = limit
        if batch:
            yield batch


def version_text(version: Hashable) -> str | None:
    """`version`, as sources give it, in a form that can be kept and compared later; None: it never changes, or has no
    such form.
    """
    if version is None:
        return None
    text = repr(version)
    if " at 0x" in text:  # an object without a repr of its own is another in every process
        return None
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def difference(planned: PlannedFile, size: int, version: str | None) -> str | None:
    """Why a file of this size and version is not the one that was recorded; None: as far as is known, it is."""
    if planned.size is not None and planned.size != size:
        return f"it has {size:,} bytes and had {planned.size:,} when the trace was recorded"
    if planned.version is not None and version is not None and planned.version != version:
        return "its content is another version than the one that was recorded"
    return None


@dataclass(slots=True)
class Read:
    """`pages` from `first` on, to be read at once, and the `runs` (first, pages) in it that are wanted."""

    first: int
    pages: int
    runs: list[tuple[int, int]]


def reads_of(runs: Sequence[tuple[int, int]], gap: int, most: int) -> list[Read]:
    """`runs` of one file (first, pages) as reads of at most `most` pages; those with up to `gap` pages between them are
    one read. In the order in which `runs` needs the first of each.
    """
    pieces = [(at, min(most, first + pages - at)) for first, pages in runs for at in range(first, first + pages, most)]
    order = {first: number for number, (first, _) in reversed(list(enumerate(pieces)))}
    reads: list[Read] = []
    for first, pages in sorted(pieces):
        last = reads[-1] if reads else None
        if last is None or first - last.first - last.pages > gap or first + pages - last.first > most:
            reads.append(Read(first, pages, [(first, pages)]))
            continue
        last.pages = max(last.pages, first + pages - last.first)
        start, held = last.runs[-1]
        if start + held >= first:
            last.runs[-1] = (start, max(held, first + pages - start))
        else:
            last.runs.append((first, pages))
    return sorted(reads, key=lambda read: order[read.runs[0][0]])
