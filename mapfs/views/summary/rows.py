"""Rows of files and of processes, from the groups that a scan found."""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from mapfs.trace.events import DROP, PUSH, READ, WRITE
from mapfs.units import page_count, tail_waste
from mapfs.views.summary.evidence import Process, Sight, got_of
from mapfs.views.summary.model import Counts, FileRow, Got, ProcessRow
from mapfs.views.summary.part import DEMAND, Group, Part
from mapfs.views.summary.ranks import rank_of_runs

_FAILED, _DIRECT, _AHEAD = 4, 2, 1  # in a kind
_NOTHING = Got(0, 0, 0, 0, 0)
Found = tuple[int, int, int, Group]  # thread, file, kind, group


def found_in(parts: Sequence[Part]) -> list[Found]:
    """All groups of all parts."""
    return [(*key, group) for part in parts for key, group in part.groups.items()]


def counts_of(found: Iterable[tuple[int, Group]]) -> Counts:
    """The sums of groups, each with its kind."""
    groups = list(found)

    def total(of: Callable[[Group], int], wanted: Callable[[int], bool]) -> int:
        return sum([of(group) for kind, group in groups if wanted(kind)])

    def number(group: Group) -> int:
        return len(group.waits)

    read = (DEMAND, DEMAND | _AHEAD)
    runs = [group.waits for kind, group in groups if kind == DEMAND]
    return Counts(
        demands=total(number, lambda kind: kind == DEMAND),
        ahead=total(number, lambda kind: kind == DEMAND | _AHEAD),
        pages=total(lambda group: group.pages - group.refaults, lambda kind: kind in read),
        refaults=total(lambda group: group.refaults, lambda kind: kind in read),
        bytes=total(lambda group: group.bytes, lambda kind: kind >> 3 == READ and not kind & _FAILED),
        errors=total(number, lambda kind: bool(kind & _FAILED)),
        direct=total(number, lambda kind: bool(kind & _DIRECT)),
        wait_ns=total(lambda group: group.wait_ns, lambda kind: kind >> 3 == READ and not kind & _AHEAD),
        written=total(lambda group: group.bytes, lambda kind: kind >> 3 == WRITE and not kind & _FAILED),
        pushed=total(lambda group: group.pages, lambda kind: kind >> 3 == PUSH),
        dropped=total(lambda group: group.pages, lambda kind: kind >> 3 == DROP),
        wait_p50_ns=rank_of_runs(runs, 50),
        wait_p99_ns=rank_of_runs(runs, 99),
    )


def files_of(
    db: sqlite3.Connection, parts: Sequence[Part], found: Sequence[Found], page_size: int, *, kernel: bool
) -> list[FileRow]:
    """A row for each path; of several versions of a file that were asked for, the newest says how large it is."""
    asked = {file for _, file, _, _ in found}
    paths: dict[int, str] = {}
    newest: dict[str, tuple[int, int]] = {}  # id and size
    for number, path, size in db.execute("SELECT id, path, size FROM files ORDER BY id"):
        paths[number] = path
        if number in asked:
            newest[path] = (number, size)
    grouped: dict[str, list[tuple[int, Group]]] = defaultdict(list)
    for _, file, kind, group in found:
        if file in paths:
            grouped[paths[file]].append((kind, group))
    evicted: dict[str, int] = defaultdict(int)
    for part in parts:
        for file, pages in part.evicted.items():
            evicted[paths.get(file, "?")] += pages
    made = []
    for path, groups in grouped.items():
        number, size = newest[path]
        end = max((part.ends.get(number, 0) for part in parts), default=0)
        waste = tail_waste(size, page_size) if end == size else 0
        gone = evicted[path] if kernel else None
        made.append(FileRow(path, size, page_count(size, page_size), waste, gone, counts_of(groups)))
    return sorted(made, key=lambda row: (-row.counts.pages, row.file))


def threads_of(db: sqlite3.Connection) -> tuple[dict[int, Process], dict[Process, str]]:
    """The process of each thread, by id, and the container of those that are in one."""
    processes, containers = {}, {}
    for thread, pid, started, command, container in db.execute(
        "SELECT id, pid, started, command, container FROM threads ORDER BY container"
    ):
        processes[thread] = process = Process(pid, started, command)
        if container is not None:
            containers[process] = container
    return processes, containers


def processes_of(
    db: sqlite3.Connection, parts: Sequence[Part], found: Sequence[Found], sight: Sight
) -> list[ProcessRow]:
    """A row for each process that asked for something, or got something without asking."""
    processes, containers = threads_of(db)
    tids: dict[int, int] = dict(db.execute("SELECT id, tid FROM threads"))
    grouped: dict[Process | None, list[tuple[int, Group]]] = defaultdict(list)
    threads: dict[Process | None, set[int]] = defaultdict(set)
    for thread, _, kind, group in found:
        process = processes.get(thread)
        grouped[process].append((kind, group))
        threads[process] |= {tids[thread]} if process else set()
    if all(kind >> 3 != READ for kind, _ in grouped[None]):
        del grouped[None]  # nobody knows who wrote back, and that is nobody's row
    got: Mapping[Process | None, Got] = got_of(parts, processes)
    made = [
        ProcessRow(
            pid=process.pid if process else None,
            command=process.command if process else None,
            container=containers.get(process) if process else None,
            threads=len(threads[process]),
            got=got.get(process, _NOTHING) if sight.sees(process) else None,
            counts=counts_of(grouped.get(process, ())),
        )
        for process in {**dict.fromkeys(grouped), **dict.fromkeys(got)}
    ]
    return sorted(made, key=lambda row: (-row.counts.pages, -row.counts.refaults, row.pid or 0))
