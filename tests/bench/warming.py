"""What a recorded run is worth: the same work over a slow source without a plan and behind `mapfs warm`, and the start of
a program as `mapfs run --warm TRACE` has it, beside the same start without mapfs.

All of it on any CPUs, each round with mounts of its own. The time is that of the work alone, which begins when the pages
have been pushed; how long that took stands beside it.
"""

import json
import os
import shutil
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from mapfs.units import format_ns
from tests.bench import processes
from tests.bench.mounts import Daemon
from tests.bench.processes import BenchError

HEADING = "## Warming"
_DELAY = "5ms"  # of each read of the slow source
_WITHIN = 300.0  # seconds for one run
_SPARSE = 100  # pages of the file to each that is touched
_ROWS = 20_000  # of the SQLite table
_SOONER, _START = 1 / 50, 1.3  # what is promised, of the time without
_QUERY = """
import sqlite3, sys, time
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro&immutable=1", uri=True)
connection.execute("PRAGMA mmap_size=1073741824")
began = time.monotonic_ns()
found = sum(connection.execute("SELECT length(v) FROM t WHERE k = ?", (k,)).fetchone()[0] for k in range(0, %d, 97))
print(time.monotonic_ns() - began)
"""
_PROGRAM = ("-c", "import json")


class Warming:
    """All rows. `scratch` has the compiled client; `say` takes a line of progress."""

    def __init__(self, scratch: Path, say: Callable[[str], None]) -> None:
        self._scratch = scratch
        self._say = say
        self._trace = scratch / "warming.db"

    def run(self, pages: int, rounds: int) -> list[dict[str, Any]]:
        """Raises BenchError, and KeyboardInterrupt where a signal came."""
        python = shutil.which("python3", path="/usr/bin:/bin")
        works: list[tuple[str, str, float | None, Callable[[], tuple[float, float, float]]]] = [
            (
                f"{pages:,} scattered pages, {_DELAY} a read",
                "the first touch of scattered pages comes at least 50 times sooner after `warm`", _SOONER,
                lambda: self._scattered(pages),
            ),
            (f"SQLite, {_ROWS // 97 + 1} rows by their key, {_DELAY} a read", "", None, self._sqlite),
        ]  # fmt: skip
        if python is not None:
            words = f"`{Path(python).name} {_PROGRAM[0]} '{_PROGRAM[1]}'`"
            works += [
                (f"{words} by `mapfs run`, {_DELAY} a read", "", None, lambda: self._start(python, delay=True)),
                (
                    f"{words} without mapfs, and by `mapfs run --warm TRACE`",
                    "a program starts in at most 1.3 of its time under `mapfs run --warm TRACE`", _START,
                    lambda: self._start(python, delay=False),
                ),
            ]  # fmt: skip
        rows = []
        for what, promise, limit, work in works:
            self._say(f"warming: {what}")
            rows.append(_row(what, promise, limit, [work() for _ in range(rounds)]))
            processes.check()
        return rows

    def _scattered(self, pages: int) -> tuple[float, float, float]:
        spec = f"far=pages:{pages * _SPARSE}p,delay={_DELAY}"
        touch = [str(self._scratch / "touch"), "-1", "spread", "{}/far", str(pages * _SPARSE), "1", str(pages)]
        return self._both(spec, lambda mount: _touched(touch, mount))

    def _sqlite(self) -> tuple[float, float, float]:
        database = self._scratch / "warming.sqlite"
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)")
            rows = ((number, "v" * (100 + number % 300)) for number in range(_ROWS))
            connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
            connection.commit()
        code = _QUERY % _ROWS

        def query(mount: Path) -> float:
            return float(processes.run([sys.executable, "-c", code, str(mount / "db")], _WITHIN, what="the query"))

        try:
            return self._both(f"db=file:{str(database).replace(',', ',,')},delay={_DELAY}", query)
        finally:
            database.unlink()

    def _both(self, spec: str, work: Callable[[Path], float]) -> tuple[float, float, float]:
        """ns of `work` without a plan, ns with one, and s of pushing."""
        with_trace, warmed = Daemon(self._scratch / "cold"), Daemon(self._scratch / "warm")
        try:
            with_trace.start("--evidence", "requests", spec, trace=self._trace)
            cold = work(with_trace.path)
            with_trace.stop()
            warmed.start("--evidence", "requests", spec)
            began = time.monotonic()
            warm = [sys.executable, "-m", "mapfs", "warm", str(warmed.path), str(self._trace)]
            processes.run(warm, _WITHIN, what="mapfs warm")
            pushed = time.monotonic() - began
            return cold, work(warmed.path), pushed
        finally:
            for daemon in (with_trace, warmed):
                daemon.stop()
            self._forget()

    def _start(self, python: str, *, delay: bool) -> tuple[float, float, float]:
        """With a delay, cold and warmed by mapfs; else without mapfs, and warmed by it."""
        slow = ["--inject", f"delay={_DELAY}"] if delay else []
        try:
            cold, _ = self._run(python, *slow, "-o", str(self._trace))
            without = cold if delay else _plain(python)
            warm, whole = self._run(python, *slow, "--warm", str(self._trace))
            return without, warm, whole
        finally:
            self._forget()

    def _run(self, python: str, *options: str) -> tuple[float, float]:
        """ns from the program's start to its end, and s of `mapfs run` before and after it."""
        began = time.monotonic()
        said = self._scratch / "warming.said"
        words = [sys.executable, "-m", "mapfs", "run", "--json", "--evidence", "requests", *options, "--", python]
        # what it tells comes on standard error, which is the program's too
        shell = ["sh", "-c", 'exec "$@" 2>"$0"', str(said), *words, *_PROGRAM]
        processes.run(shell, _WITHIN, what="mapfs run")
        took = float(json.loads(said.read_text().splitlines()[-1])["starts"][0]["took_ns"])
        said.unlink()
        return took, time.monotonic() - began - took / 1e9

    def _forget(self) -> None:
        for path in self._scratch.glob("warming.db*"):
            path.unlink()


def _touched(touch: list[str], mount: Path) -> float:
    words = [word.format(mount) for word in touch]
    return float(json.loads(processes.run(words, _WITHIN, what="the client"))["elapsed_ns"])


def _plain(python: str) -> float:
    """ns of the same start without mapfs, from before fork(2) to after wait(2) as `mapfs run` has it."""
    began = time.monotonic_ns()
    pid = os.posix_spawn(python, [python, *_PROGRAM], os.environ)
    status = os.waitpid(pid, 0)[1]
    took = time.monotonic_ns() - began
    if status:
        raise BenchError(f"{python} ended with {os.waitstatus_to_exitcode(status)}")
    return float(took)


def _row(what: str, promise: str, limit: float | None, found: list[tuple[float, float, float]]) -> dict[str, Any]:
    ratios = [warm / cold for cold, warm, _ in found]
    middle = statistics.median(ratios)
    return {
        "what": what, "promise": promise or None, "limit": limit,
        "without_ns": statistics.median(cold for cold, _, _ in found),
        "with_ns": statistics.median(warm for _, warm, _ in found),
        "around_s": statistics.median(around for _, _, around in found),
        "median": middle, "lowest": min(ratios), "highest": max(ratios), "rounds": ratios,
        "met": limit is None or middle <= limit,
    }  # fmt: skip


def table_of(rows: list[dict[str, Any]], table: Callable[[list[str], list[list[str]]], str]) -> str:
    """The section."""
    told = [
        [
            row["what"], format_ns(row["without_ns"]), format_ns(row["with_ns"]), f"{row['around_s']:.1f} s",
            f"{row['median']:.4f}", f"{row['lowest']:.4f} to {row['highest']:.4f}",
            f"{row['limit']:.2f}" if row["limit"] else "-",
            ("yes" if row["met"] else "**no**") if row["limit"] else "-",
        ]
        for row in rows
    ]  # fmt: skip
    head = ["the work", "without", "behind a plan", "pushing, or around the run", "ratio", "lowest to highest"]
    promises = [f"- {row['promise']} ({row['limit']:.2f})" for row in rows if row["promise"]]
    return "\n\n".join([HEADING, table([*head, "at most", "kept"], told), "Promised:\n\n" + "\n".join(promises)])
