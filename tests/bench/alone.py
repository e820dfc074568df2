"""What is measured by itself, not against another target: slow demands beside fast ones, and a mount that nobody uses."""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mapfs.client import ask
from tests.bench import processes
from tests.bench.measure import client
from tests.bench.mounts import Daemon
from tests.bench.plan import Content, Measure, Placement
from tests.bench.processes import BenchError

SLOW = 64  # demands in flight
_DELAY = "25s"  # of each; they are hurried on when the fast ones are done
_WITHIN = 20.0  # seconds for them to be in flight, and to be answered
_IDLE = 10.0  # seconds
_LONGER, _TICK = 2.0, 10.0  # what is promised: times the p99, and ms of CPU time


def measure_alone(
    scratch: Path,
    file: Path,
    pages: int,
    rounds: int,
    cpus: dict[Placement, tuple[int, int]],
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Rows like those of the ratios. `file` holds `pages` pages of `pages:` and lies on tmpfs."""
    rows = []
    for placement, (server, cpu) in cpus.items():
        say(f"{SLOW} slow demands beside fast ones, {placement}")
        found = [_beside(scratch / "beside", file, pages, server, cpu) for _ in range(rounds)]
        promise = f"{SLOW} slow demands in flight delay a fast file's by at most a factor of 2 (p99)"
        rows.append(_row("beside", placement, promise, found, _LONGER))
    say(f"a mount that nobody uses for {_IDLE:.0f} s")
    promise = f"idle for {_IDLE:.0f} s: ms of CPU time of daemon and recorder together, a tick at most"
    rows.append(_row("idle", "any", promise, [_idle(scratch / "idle", scratch / "idle.db")], _TICK))
    return rows


def _row(measure: str, placement: str, promise: str, found: list[float], limit: float) -> dict[str, Any]:
    middle = statistics.median(found)
    return {
        "measure": measure, "placement": placement, "promise": promise, "limit": limit, "median": middle,
        "lowest": min(found), "highest": max(found), "rounds": found, "met": middle <= limit,
    }  # fmt: skip


@contextmanager
def _mounted(path: Path, *args: str, trace: Path | None = None) -> Iterator[Daemon]:
    daemon = Daemon(path)
    try:
        daemon.start(*args, trace=trace)
        yield daemon
    finally:
        daemon.stop()
        processes.check()


def _beside(path: Path, file: Path, pages: int, server: int, cpu: int) -> float:
    """The p99 of random demands while others wait, by that of the same demands without them."""
    served = str(file).replace(",", ",,")
    specs = (f"quiet=file:{served}", f"beside=file:{served}", f"slow=pages:{SLOW}p,delay={_DELAY}")
    with _mounted(path, "--evidence", "requests", *specs) as daemon:
        daemon.pin(server)
        quiet = client(path.parent, cpu, Measure.RANDOM, path / "quiet", pages, 1)["p99_ns"]
        args = [str(path.parent / "touch"), str(cpu), "hold", str(path / "slow"), str(SLOW)]
        with subprocess.Popen(args, stdout=subprocess.DEVNULL, start_new_session=True) as waiting:
            try:
                _until(daemon, SLOW)
                daemon.pin(server)  # the threads that were started for them, too
                beside = client(path.parent, cpu, Measure.RANDOM, path / "beside", pages, 1)["p99_ns"]
                if daemon.stats()["daemon"]["waiting_demands"] != SLOW:
                    raise BenchError("the slow demands were answered before the fast ones were; give less (--pages)")
            finally:
                ask(str(path), "hurry")
            if waiting.wait(_WITHIN):
                raise BenchError(f"the client of the slow demands ended with {waiting.returncode}")
    return float(beside / quiet)


def _until(daemon: Daemon, waiting: int) -> None:
    end = time.monotonic() + _WITHIN
    while (now := daemon.stats()["daemon"]["waiting_demands"]) != waiting:
        if time.monotonic() > end:
            raise BenchError(f"{now} of {waiting} slow demands are in flight after {_WITHIN:.0f} s")
        time.sleep(0.02)


def _idle(path: Path, trace: Path) -> float:
    """ms of CPU time that the processes of a traced mount take while nobody uses it, after it was used."""
    with _mounted(path, f"{Content.PAGES}=pages:16p", trace=trace) as daemon:
        (path / Content.PAGES).read_bytes()
        time.sleep(1)  # what the demands left to do is done
        before = _cpu_ns(daemon.pid) + _cpu_ns(daemon.recorder)
        time.sleep(_IDLE)
        after = _cpu_ns(daemon.pid) + _cpu_ns(daemon.recorder)
    trace.unlink()
    return (after - before) / 1e6


def _cpu_ns(pid: int) -> int:
    """Of all its threads: the first number of /proc/PID/task/TID/schedstat (Documentation/scheduler/sched-stats.rst)."""
    return sum(
        int(Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()[0]) for tid in os.listdir(f"/proc/{pid}/task")
    )
