"""What a report consists of. Times are ns, sizes bytes; None is what the evidence of the trace cannot tell.

A process is named by its place in `Report.processes`, a file by its place in `Report.files`, a kind by its place in
`Report.kinds`. A page counts once for each version of its file.
"""

from dataclasses import dataclass

from mapfs.views.summary.model import Unasked


@dataclass(frozen=True, slots=True)
class Demand:
    """Sums over requests. `demands` are reads through the page cache that a thread waited for, all together `wait_ns`;
    `pages` came in for the first time, `refaults` again, with what was read ahead; `bytes` were read.
    """

    demands: int
    pages: int
    refaults: int
    bytes: int
    wait_ns: int
    longest_ns: int
    errors: int


@dataclass(frozen=True, slots=True)
class Got:
    """Pages that came from the page cache without a request: brought in by own read-ahead or a push (`ahead`), by
    another process (`shared`), by a request that was waited for (`joined`), by nobody knows whom (`found`).
    """

    ahead: int
    shared: int
    joined: int
    found: int


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file; `drawn`: it is in the picture."""

    file: str
    size: int
    of_pages: int
    demand: Demand
    got: Got | None
    evicted: int | None
    drawn: bool


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process; pid None gathers what no known thread did. `colour` is that of its marks, None: that of others."""

    pid: int | None
    command: str | None
    container: str | None
    threads: int
    colour: int | None
    demand: Demand
    got: Got | None


@dataclass(frozen=True, slots=True)
class Share:
    """Pages that the process `got` owes to the process `by`."""

    got: int
    by: int
    shared: int
    joined: int


@dataclass(frozen=True, slots=True)
class Wait:
    """One long wait, `time_ns` after the start; `total_ns` is all that the thread waited, not only for mapfs."""

    time_ns: int
    kind: int
    file: int
    page: int
    pages: int
    label: str | None
    process: int
    tid: int | None
    wait_ns: int
    total_ns: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """Pages by rows of `row_ns` from the start on, by when their requests arrived: `new` ones, `refaults`, `evicted`;
    up to the end of a row, `asked` were brought in for the first time, and `resident` were in the page cache.
    """

    row_ns: int
    new: list[int]
    refaults: list[int]
    evicted: list[int] | None
    asked: list[int]
    resident: list[int] | None


@dataclass(frozen=True, slots=True)
class Cells:
    """Marks of a long trace, in columns: what happened within `width` bytes (of each file) and `row_ns`. `process` is
    the one that did most of it, `own` of the `count`; all but the busiest are one, `None`.
    """

    row_ns: int
    width: list[int]
    file: list[int]
    column: list[int]
    row: list[int]
    kind: list[int]
    process: list[int | None]
    count: list[int]
    own: list[int]


@dataclass(frozen=True, slots=True)
class Exact:
    """Marks of a short trace, in columns: each event, `time` after the start. `label`, `error` and `tid` are None where
    there is none; `by` is the process that brought the pages in.
    """

    time: list[int]
    wait: list[int | None]
    total: list[int | None]
    file: list[int]
    page: list[int]
    pages: list[int]
    kind: list[int]
    process: list[int]
    tid: list[int | None]
    by: list[int | None]
    label: list[str | None]
    error: list[str | None]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a mark can be, in the words of the log, and what that means."""

    name: str
    about: str


@dataclass(frozen=True, slots=True)
class Report:
    """All of it. `start_wall_ns` is Unix time. `unknown` are sentences on what the trace does not tell."""

    mountpoint: str
    version: str
    page_size: int
    readahead: int
    evidence: str
    lost: int
    lost_samples: int
    start_wall_ns: int
    span_ns: int
    events: int
    unknown: list[str]
    kinds: list[Kind]
    total: Demand
    files: list[FileRow]
    processes: list[ProcessRow]
    sharing: list[Share] | None
    readaheads: Unasked
    pushes: Unasked
    evicted: int | None
    timeline: Timeline
    longest: list[Wait]
    exact: Exact | None
    cells: Cells | None
