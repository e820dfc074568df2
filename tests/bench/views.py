"""How long the views of a long trace take, and how much memory all processes of each take at most."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import processes
from tests.bench.processes import BenchError
from tests.bench.traces import write_trace

_WITHIN = 1800.0  # seconds for one run
_LOOK = 0.02  # seconds between two looks at the memory
_SHARE = 10  # of the requests, for the views that print each of them

#: command line, with {} for the trace and OUT for a file; whether it is also measured with all requests
_VIEWS: tuple[tuple[str, bool], ...] = (
    ("summary {}", True),
    ("report {} -f -o OUT", True),
    ("log {}", False),
    ("diff {} {}", False),
    ("export {} --to csv", False),
    ("export {} --to parquet -f -o OUT", False),
    ("export {} --to perfetto -f -o OUT", False),
    ("export {} --to prefetch", False),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command: seconds of the clock and of the CPUs, and KiB resident."""

    seconds: float
    cpu: float
    peak: int


def measure_views(scratch: Path, requests: int, rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Makes two traces up and runs the views on them. Raises BenchError, and KeyboardInterrupt where a signal came."""
    rows = []
    for count in (requests, max(1, requests // _SHARE)):
        trace = scratch / f"{count}.db"
        say(f"making up a trace of {count:,} requests")
        write_trace(str(trace), count)
        for line, all_of_them in _VIEWS:
            if count == requests and not all_of_them:
                continue
            say(f"mapfs {line.format('TRACE', 'TRACE')} of {count:,} requests")
            runs = [_run(line.format(trace, trace).replace("OUT", str(scratch / "out"))) for _ in range(rounds)]
            rows.append(_row(line, count, trace.stat().st_size, runs))
        trace.unlink()
    (scratch / "out").unlink(missing_ok=True)
    return rows


def _row(line: str, requests: int, size: int, runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "view": f"mapfs {line.replace(' -f -o OUT', '').replace('{}', 'TRACE')}",
        "requests": requests,
        "trace_bytes": size,
        "seconds": statistics.median(run.seconds for run in runs),
        "lowest_seconds": min(run.seconds for run in runs),
        "cpu_seconds": statistics.median(run.cpu for run in runs),
        "peak_kib": max(run.peak for run in runs),
    }


def _run(line: str) -> Run:
    began, peak = time.monotonic(), 0
    process = subprocess.Popen(
        [sys.executable, "-m", "mapfs", *line.split()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stderr
    try:
        while True:
            peak = max(peak, sum(map(_resident, processes.family(process.pid))))
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                break
            processes.check()
            if time.monotonic() - began > _WITHIN:
                raise BenchError(f"mapfs {line} did not end within {_WITHIN:.0f} s")
            time.sleep(_LOOK)
        seconds = time.monotonic() - began
        if process.returncode:
            raise BenchError(f"mapfs {line} ended with {process.returncode}: {process.stderr.read().strip()}")
    finally:
        if process.returncode is None:
            for one in reversed(processes.family(process.pid)):
                processes.kill(one)
            process.wait()
        process.stderr.close()
    return Run(seconds, usage.ru_utime + usage.ru_stime, peak)


def _resident(pid: int) -> int:
    """KiB; 0 of a process that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")), 0)
