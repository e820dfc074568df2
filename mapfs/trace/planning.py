"""From traces to a plan: which pages were needed, in which order. Read by commands, before there is a mount to delay.

Of a trace each request counts that was answered, and what a process got from the page cache after it was read ahead or
pushed; where all is seen (tier kernel) what was read ahead and not touched does not. An exported list (`mapfs export
--to prefetch`) counts as it stands.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mapfs.errors import TraceError
from mapfs.trace.classify import PageSet
from mapfs.trace.events import AHEAD, READ
from mapfs.trace.evidence.tiers import KERNEL
from mapfs.trace.plan import Plan, PlannedFile, Run
from mapfs.trace.reader import reading
from mapfs.units import PAGE_SIZE, page_count

_SQLITE = b"SQLite format 3\0"
_FIELDS = 3  # of a line of an exported list


def plan_of(traces: Sequence[str], only: str | None = None) -> Plan:
    """The plan of several traces or exported lists, what the first one needed first; `only`: of that file of the mount,
    or of the files below that directory. Raises TraceError where one cannot be read, or two are of different versions
    of a file.
    """
    merger = _Merger(only)
    for trace in traces:
        if _is_database(trace):
            with reading(trace) as recorded:
                merger.add(trace, *_of_trace(recorded.connection, trace))
        else:
            merger.add(trace, *_of_list(trace))
    return Plan(merger.files, merger.runs)


def plan_for(traces: Sequence[str], of_files: Mapping[str, str]) -> Plan | None:
    """The plan of a mount: `traces` are of all of it, `of_files` of single files by their name. None: there is none."""
    plans = [plan_of(traces)] if traces else []
    plans += [plan_of([trace], only=name) for name, trace in of_files.items()]
    if not plans:
        return None
    merger = _Merger(None)
    for plan in plans:
        merger.add("", plan.files, plan.runs)
    return Plan(merger.files, merger.runs)


@dataclass
class _Merger:
    """Takes the runs of several plans, each page once."""

    only: str | None
    files: list[PlannedFile] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    _index: dict[str, int] = field(default_factory=dict)
    _seen: list[PageSet] = field(default_factory=list)

    def add(self, trace: str, files: Sequence[PlannedFile], runs: Iterable[Run]) -> None:
        places = [self._place(trace, file) for file in files]
        for run in runs:
            place = places[run.file]
            if place is None:
                continue
            seen = self._seen[place]
            for page in range(run.first, run.first + run.pages):
                if seen.add(page):
                    self._put(place, page)

    def _place(self, trace: str, file: PlannedFile) -> int | None:
        if self.only is not None and file.path != self.only and not file.path.startswith(self.only + "/"):
            return None
        place = self._index.get(file.path)
        if place is None:
            place = self._index[file.path] = len(self.files)
            self.files.append(file)
            self._seen.append(PageSet())
            return place
        known = self.files[place]
        for one, other in ((known.size, file.size), (known.version, file.version)):
            if None not in (one, other) and one != other:
                raise TraceError(
                    f"{trace} has another version of {file.path} than the traces before it; leave one of them out"
                )
        if known.size is None or known.version is None:
            self.files[place] = PlannedFile(file.path, known.size or file.size, known.version or file.version)
        return place

    def _put(self, file: int, page: int) -> None:
        if self.runs:
            last = self.runs[-1]
            if last.file == file and last.first + last.pages == page:
                self.runs[-1] = Run(file, last.first, last.pages + 1)
                return
        self.runs.append(Run(file, page, 1))


def _is_database(path: str) -> bool:
    try:
        if os.path.isdir(path):
            raise TraceError(f"{path} is a directory; give the trace of a run, written by mapfs mount --trace FILE")
        with open(path, "rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror}; give a trace, or a list by mapfs export") from error


def _of_trace(connection: sqlite3.Connection, trace: str) -> tuple[list[PlannedFile], Iterator[Run]]:
    """The newest version of each file that was demanded, and what was needed of it."""
    page_size, evidence = connection.execute("SELECT page_size, evidence FROM mount").fetchone()
    if page_size != PAGE_SIZE:
        raise TraceError(f"{trace} was recorded with pages of {page_size} bytes, here they have {PAGE_SIZE}")
    (lost,) = connection.execute("SELECT count(*) FROM losses").fetchone()
    rows = connection.execute(
        "SELECT id, path, size, version FROM files f"
        " WHERE id IN (SELECT file FROM requests WHERE op = ? AND errno = 0)"
        " AND id = (SELECT max(id) FROM files WHERE path = f.path) ORDER BY id",
        (READ,),
    ).fetchall()
    places = {number: place for place, (number, *_) in enumerate(rows)}
    files = [PlannedFile(path, size, version) for _, path, size, version in rows]
    return files, _needed(connection, places, everything=evidence == KERNEL and not lost)


def _needed(connection: sqlite3.Connection, places: Mapping[int, int], *, everything: bool) -> Iterator[Run]:
    """`everything`: what was touched is known, so that nothing else was needed."""
    rows = connection.execute(
        "SELECT file, offset, size, class, demanded, serial FROM requests WHERE op = ? AND errno = 0 AND direct = 0"
        " UNION ALL SELECT file, offset, size, NULL, NULL, serial FROM faults WHERE class = ? ORDER BY serial",
        (READ, AHEAD),
    )
    for file, offset, size, cls, demanded, _ in rows:
        place = places.get(file)
        if place is None or not size:
            continue
        first, pages = offset // PAGE_SIZE, page_count(offset + size) - offset // PAGE_SIZE
        if everything and pages > 1 and cls == AHEAD:
            continue
        if everything and pages > 1 and demanded is not None:
            first, pages = demanded, 1
        yield Run(place, first, pages)


def _of_list(path: str) -> tuple[list[PlannedFile], list[Run]]:
    index: dict[str, int] = {}
    runs = []
    with open(path, encoding="utf-8", errors="backslashreplace") as lines:
        for number, line in enumerate(lines, 1):
            if line.startswith("#") or not line.strip():
                continue
            try:
                offset, size, name = line.rstrip("\n").split("\t", _FIELDS - 1)
                start, length = int(offset), int(size)
                if start < 0 or length < 1:
                    raise ValueError
            except ValueError:
                raise TraceError(
                    f"{path} is neither a trace nor a list of pages (line {number}); "
                    "write one with mapfs export TRACE --to prefetch"
                ) from None
            first = start // PAGE_SIZE
            runs.append(Run(index.setdefault(name, len(index)), first, page_count(start + length) - first))
    return [PlannedFile(name) for name in index], runs
