"""Runs the plan: rounds in which each case is measured once, in an order that is shuffled anew, until the time is up.

Two mounts serve the file, one without read-ahead and one with. Before a cold pass its pages are taken out of the page
cache, those of the mount (`drop`) and those of the file itself (posix_fadvise(2)), so that both fetch from where the
file lies. A file of the user's is only read. Ctrl-C ends it between any two steps; the blocks put things in order.
"""

import contextlib
import os
import random
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mapfs.errors import MapfsError, UsageError
from mapfs.measuring.plan import CASES, READAHEAD, Case, Order, State, Target, Way
from mapfs.measuring.worker import Pass, Worker
from mapfs.mounting import Mounted, mounted
from mapfs.sources.spec import Spec
from mapfs.trace.residency import residency
from mapfs.units import PAGE_SIZE, format_size

_NAME = "file"  # in the mounts
_FEWEST = 256  # pages: of fewer nothing can be told
_ROUND = READAHEAD // PAGE_SIZE  # pages of a read(2) in sequence: no part of one is left over
_ROUNDS, _MOST_ROUNDS = 3, 9  # that there is time for, if each case takes all of its own; if they are sooner done
_LEAST = 0.02  # seconds of a case
_RESIDENT = 0.25  # of a case's time
_FLOOR = 0.15  # seconds
_BLOCK = 1 << 20
_STILL_THERE = 0.01  # the share of pages above which a file did not leave the page cache


@dataclass(frozen=True, slots=True)
class Subject:
    """The file that is measured; `pages` of it, from its beginning."""

    path: str
    size: int
    pages: int
    temporary: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """A case in one round. `requests` mapfs answered in the cold pass; None where it was not asked. `left`: pages of
    the file that could not be taken out of the page cache before; None where nobody can tell.
    """

    cold: Pass
    resident: Pass | None
    requests: int | None
    left: int | None


@dataclass(slots=True)
class Measured:
    """All rounds of all cases, in their order."""

    subject: Subject
    evidence: str
    cases: tuple[Case, ...]
    seconds: float = 0.0
    rounds: int = 0
    floor: dict[tuple[Way, Order], Pass] = field(default_factory=dict)
    samples: dict[Case, list[Sample]] = field(default_factory=dict)

    @property
    def cold(self) -> bool:
        """Whether the file itself can be cold at all; one in memory (tmpfs) cannot."""
        most = _STILL_THERE * self.subject.pages
        return all(sample.left is None or sample.left <= most for one in self.samples.values() for sample in one)


@contextlib.contextmanager
def subject(file: str | None, size: int) -> Iterator[Subject]:
    """`file`, of which the first `size` bytes are measured, or a temporary one of that size. Raises UsageError for
    what cannot be measured, MapfsError where it cannot be read, or written.
    """
    if file is not None:
        real = _size_of(file)
        pages = min(real, size) // PAGE_SIZE // _ROUND * _ROUND
        if pages < _FEWEST:
            least = format_size(_FEWEST * PAGE_SIZE)
            raise UsageError(f"{min(real, size)} bytes are too few to measure; it takes {least} at least")
        yield Subject(os.path.abspath(file), real, pages, temporary=False)
        return
    pages = -(-max(size, _FEWEST * PAGE_SIZE) // PAGE_SIZE // _ROUND) * _ROUND
    with tempfile.TemporaryDirectory(prefix="mapfs-bench-") as directory:
        path = Path(directory, _NAME)
        _write(path, pages * PAGE_SIZE)
        yield Subject(str(path), pages * PAGE_SIZE, pages, temporary=True)


def _size_of(file: str) -> int:
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise MapfsError(f"cannot read {file}: {error.strerror}") from error
    try:
        status = os.fstat(fd)
    finally:
        os.close(fd)
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{file} is no regular file; give one, or none at all for a temporary one")
    return status.st_size


def _write(path: Path, size: int) -> None:
    """On the disk for good, so that its pages can be dropped; of bytes that no filesystem makes smaller."""
    block = os.urandom(_BLOCK)
    try:
        with path.open("wb") as file:
            for start in range(0, size, _BLOCK):
                file.write(block[: size - start])
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise MapfsError(
            f"cannot write {format_size(size)} into {path.parent.parent}: {error.strerror}; "
            "give less (--size 16M), or another directory (TMPDIR)"
        ) from error


def measure(what: Subject, seconds: float, seed: int, tell: Callable[[float, str], None]) -> Measured:
    """Measures for about `seconds`. `tell` takes the share that is done, and what is next. Raises MapfsError."""
    spec = str(Spec("file", what.path, {"rw": None} if what.temporary else {}))
    with (
        mounted({_NAME: spec}) as exact,
        mounted({_NAME: spec}, readahead=READAHEAD) as ahead,
        Worker() as worker,
    ):
        bench = _Bench(what, exact, ahead, worker, seed)
        return bench.run(seconds, tell)


class _Bench:
    """One benchmark, mounted."""

    def __init__(self, what: Subject, exact: Mounted, ahead: Mounted, worker: Worker, seed: int) -> None:
        self._what = what
        self._exact = exact
        self._ahead = ahead
        self._worker = worker
        self._seed = seed
        self._measured = Measured(what, exact.stats()["evidence"], _cases(what))

    def run(self, seconds: float, tell: Callable[[float, str], None]) -> Measured:
        """As many rounds as there is time for, at least one."""
        began = time.monotonic()
        tell(0.0, "the client itself")
        for case in self._measured.cases:
            if case.target is Target.DIRECT and State.RESIDENT in case.states:
                self._measured.floor[case.way, case.order] = self._worker.floor(case, self._what.pages, _FLOOR)
        longest, taken = 0.0, time.monotonic() - began
        each = max(_LEAST, (seconds - taken) / len(self._measured.cases) / _ROUNDS)
        while not self._measured.rounds or (taken + longest < seconds and self._measured.rounds < _MOST_ROUNDS):
            cases = list(self._measured.cases)
            random.Random(f"{self._seed} {self._measured.rounds}").shuffle(cases)  # noqa: S311 -- no secret
            for case in cases:
                tell(min(1.0, (time.monotonic() - began) / seconds), f"{case.order}, {case.way}, {case.target}")
                self._measured.samples.setdefault(case, []).append(self._sample(case, each))
            self._measured.rounds += 1
            longest = max(longest, time.monotonic() - began - taken)
            taken = time.monotonic() - began
        self._measured.seconds = taken
        return self._measured

    def _sample(self, case: Case, seconds: float) -> Sample:
        mount = None
        if case.target is Target.MAPFS:
            mount = self._ahead if case.way is Way.READAHEAD else self._exact
            mount.drop(_NAME)
        left = _drop(self._what)
        before = _requests(mount)
        path = self._what.path if mount is None else str(mount / _NAME)
        seed = self._seed + self._measured.rounds
        cold = self._worker.cold(path, case, self._what.pages, seconds * (1 - _RESIDENT), seed)
        asked = None if before is None else (_requests(mount) or 0) - before
        resident = self._worker.resident(seconds * _RESIDENT) if State.RESIDENT in case.states else None
        self._worker.close()  # what was written is where the file lies by now
        return Sample(cold, resident, asked, left)


def _cases(what: Subject) -> tuple[Case, ...]:
    """Those that may be measured: a file of the user's is only read."""
    return tuple(case for case in CASES if what.temporary or not case.writes)


def _requests(mount: Mounted | None) -> int | None:
    return None if mount is None else int(mount.stats()["requests"])


def _drop(what: Subject) -> int | None:
    """Takes the pages out of the page cache, all but those that somebody maps; how many are still there."""
    try:
        fd = os.open(what.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise MapfsError(f"cannot read {what.path} any more: {error.strerror}") from error
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        found = residency(fd, 0, what.pages * PAGE_SIZE)
    finally:
        os.close(fd)
    return None if found is None else found.resident
