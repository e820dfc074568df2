"""Runs the plan: rounds in which every target is measured once in each placement, in an order shuffled anew.

Daemons are new in each round and all mounted at once, so that what is compared is measured within
seconds of each other. Every run is checked: the bytes were right, each random touch was one request, and a trace
holds exactly one event a page.
"""

import contextlib
import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mapfs.sources.pages import page_bytes
from mapfs.trace.residency import residency
from mapfs.units import PAGE_SIZE, format_size
from tests.bench import processes
from tests.bench.mounts import Daemon, Memory
from tests.bench.plan import DAEMONS, PEERS, TARGETS, Content, Measure, Placement, Target
from tests.bench.processes import BenchError
from tests.bench.served import Served, compile_c, missing

_CLIENT = 120.0  # seconds for one run of the client; a slow disk is slow
_DROPS = 3  # a page that is on its way between lists of the kernel leaves at a second attempt
Key = tuple[Measure, Placement, str]


@dataclass(frozen=True, slots=True)
class Settings:
    """How much of it."""

    rounds: int
    pages: int  # demanded at random
    sequential: int  # bytes
    seed: int
    only: frozenset[str] = frozenset()  # names of targets; all of them where there is none

    def count(self, measure: Measure) -> int:
        """Pages that a run touches."""
        return self.pages if measure is Measure.RANDOM else self.sequential // PAGE_SIZE


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are: directories of this run alone, which are removed at the end."""

    scratch: Path  # mount points, traces and the compiled client
    files: dict[Content, Path]  # the file on the disk, the file on tmpfs


@dataclass(slots=True)
class Measured:
    """The numbers of all rounds, in their order."""

    runs: dict[Key, list[dict[str, float]]] = field(default_factory=dict)
    ready_s: list[float] = field(default_factory=list)
    idle: list[dict[str, Memory]] = field(default_factory=list)  # the default tree, just mounted
    used: list[dict[str, Memory]] = field(default_factory=list)  # the daemon `own`, after its runs
    left_out: dict[str, str] = field(default_factory=dict)  # target: why it was not measured


class Bench:
    """One benchmark. `say` takes a line of progress."""

    def __init__(
        self, settings: Settings, places: Places, cpus: dict[Placement, tuple[int, int]], say: Callable[[str], None]
    ) -> None:
        """`cpus` has (daemon's, client's) CPU of each placement."""
        self._settings = settings
        self._places = places
        self._cpus = cpus
        self._say = say
        self._measured = Measured()
        self._targets: list[Target] = []

    def run(self) -> Measured:
        """All rounds. Raises BenchError, and KeyboardInterrupt where a signal came."""
        for path in self._places.files.values():
            write_pages(path, max(self._settings.count(measure) for measure in Measure))
        self._targets = list(self._wanted())
        for number in range(self._settings.rounds):
            self._ready()
            with self._daemons() as daemons:
                for placement in self._cpus:
                    self._placement(number, placement, daemons)
                if isinstance(own := daemons.get("own"), Daemon):
                    self._measured.used.append(own.memory())
        return self._measured

    def _wanted(self) -> Iterator[Target]:
        """The targets that were asked for and can be measured here."""
        for target in TARGETS:
            if self._settings.only and target.name not in self._settings.only:
                continue
            why = missing(target.name, self._places.scratch) if target.name in PEERS else None
            if target.passed and os.geteuid():
                why = "takes root"
            if why is None:
                yield target
            else:
                self._say(f"without {target.text}: {why}")
                self._measured.left_out[target.name] = why

    def _ready(self) -> None:
        """How soon the default tree answers, and what it takes."""
        with self._mounted() as daemon:
            daemon.start()
            self._measured.ready_s.append(daemon.ready_s)
            self._measured.idle.append(daemon.memory())
        processes.check()

    @contextlib.contextmanager
    def _daemons(self) -> Iterator[dict[str, Daemon | Served]]:
        trace = self._places.scratch / "trace.db"
        wanted = {target.daemon for target in self._targets}
        daemons: dict[str, Daemon | Served] = {}
        with contextlib.ExitStack() as stack:
            for name, options in DAEMONS.items():
                if name in wanted:
                    daemon = daemons[name] = stack.enter_context(self._mounted(name))
                    daemon.start(*options, *self._specs(name), trace=trace if name == "trace" else None)
                    processes.check()
            for name in PEERS:
                if name in wanted:
                    daemons[name] = stack.enter_context(self._served(name))
                    processes.check()
            yield daemons
        if isinstance(traced := daemons.get("trace"), Daemon):
            for measure, placement, target in self._runs(lambda target: target.daemon == "trace"):
                traced.check_trace(target.file(measure, placement), self._settings.count(measure), ended=True)
            trace.unlink()

    @contextlib.contextmanager
    def _served(self, name: str) -> Iterator[Served]:
        peer = Served(name, self._places.scratch / name, self._places.files[Content.TMPFS], self._places.scratch)
        try:
            peer.start()
            yield peer
        finally:
            peer.stop()
            with contextlib.suppress(OSError):  # it is mounted still: what ends the benchmark says so
                peer.path.rmdir()

    @contextlib.contextmanager
    def _mounted(self, name: str = "default") -> Iterator[Daemon]:
        daemon = Daemon(self._places.scratch / name)
        try:
            yield daemon
        finally:
            daemon.stop()

    def _runs(self, wanted: Callable[[Target], bool]) -> Iterator[tuple[Measure, Placement, Target]]:
        for target in filter(wanted, self._targets):
            for measure in target.measures:
                for placement in self._cpus:
                    yield measure, placement, target

    def _specs(self, daemon: str) -> Iterator[str]:
        for measure, placement, target in self._runs(lambda target: target.daemon == daemon):
            if target.content is Content.PAGES:
                spec = f"pages:{self._settings.count(measure)}p"
            else:
                spec = "file:" + str(self._places.files[target.content]).replace(",", ",,")
            yield f"{target.file(measure, placement)}={spec}{target.options}"

    def _placement(self, number: int, placement: Placement, daemons: dict[str, Daemon | Served]) -> None:
        for measure in Measure:
            self._say(f"round {number + 1} of {self._settings.rounds}, {placement}: {measure}")
            targets = [target for target in self._targets if measure in target.measures]
            random.Random(f"{self._settings.seed} {number} {placement} {measure}").shuffle(targets)
            for target in targets:
                daemon = daemons[target.daemon] if target.daemon else None
                result = self._run(number, measure, placement, target, daemon)
                self._measured.runs.setdefault((measure, placement, target.name), []).append(result)
                processes.check()

    def _run(
        self, number: int, measure: Measure, placement: Placement, target: Target, daemon: Daemon | Served | None
    ) -> dict[str, float]:
        pages, (server, cpu) = self._settings.count(measure), self._cpus[placement]
        name = target.file(measure, placement)
        before = 0
        if target.content is Content.DISK:
            drop_cache(self._places.files[Content.DISK])
        if daemon:
            daemon.pin(server)
        if isinstance(daemon, Daemon):
            before = daemon.requests()
            path = daemon.path / name
        elif daemon:
            path = daemon.file
            drop_cache(path)  # it has one file, which was touched before
        else:
            path = self._places.files[target.content]
        said = client(self._places.scratch, cpu, measure, path, pages, self._settings.seed + number)
        if said.pop("sum") != pages * (pages - 1) // 2:
            raise BenchError(f"{name} gave wrong bytes")
        if isinstance(daemon, Served):
            if measure is Measure.RANDOM and said["major_faults"] != pages:
                raise BenchError(f"{name}: {pages} touches were {said['major_faults']:.0f} major faults, not one each")
        elif daemon:
            said["requests"] = daemon.requests() - before
            if target.passed and said["requests"]:
                raise BenchError(f"{name} was not passed through: it took {said['requests']:.0f} requests")
            if target.one_each(measure) and said["requests"] != pages:
                raise BenchError(f"{name}: {pages} touches were {said['requests']:.0f} requests, not one each")
            if daemon.trace:
                daemon.check_trace(name, pages)
        return said


def client(scratch: Path, cpu: int, measure: Measure, path: Path, pages: int, seed: int) -> dict[str, float]:
    """What the compiled client in `scratch` says of a run."""
    args = [str(scratch / "touch"), str(cpu), str(measure), str(path), str(pages)]
    args += [str(seed)] if measure is Measure.RANDOM else []
    said: dict[str, float] = json.loads(processes.run(args, _CLIENT, what="the client", interruptible=True))
    return said


def compile_client(scratch: Path) -> None:
    """Makes `touch` in `scratch` with the machine's C compiler."""
    compile_c(Path(__file__).with_name("touch.c"), scratch / "touch")


def write_pages(path: Path, pages: int) -> None:
    """A file with the bytes of `pages:`, on the disk for good, so that its pages can be dropped."""
    try:
        with path.open("wb") as file:
            for number in range(pages):
                file.write(page_bytes(number))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        size = format_size(pages * PAGE_SIZE)
        raise BenchError(f"cannot write {size} into {path.parent}: {error.strerror}; try --sequential 16M") from error


def drop_cache(path: Path) -> None:
    """Takes the file's pages out of the page cache (posix_fadvise(2)). Raises BenchError where they stay."""
    fd = os.open(path, os.O_RDONLY)
    try:
        for _ in range(_DROPS):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            left = residency(fd)
            if left is None or not left.resident:
                return
        raise BenchError(f"pages of {path.name} do not leave the page cache: somebody uses them")
    finally:
        os.close(fd)
