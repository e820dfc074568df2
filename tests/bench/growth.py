"""Cost as work grows: files from 1 MiB to 1 TiB, 1 to 100,000 files, 1 to 64 clients, 1 to 10,000,000 events.

Each step is a mount of its own with a trace and the best evidence that there is, on any CPUs. What it takes is looked
at before it is unmounted: the memory and the descriptors of the daemon and of the recorder, and the time of the work.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mapfs.units import PAGE_SIZE, format_ns, format_size
from tests.bench import processes
from tests.bench.mounts import Daemon
from tests.bench.processes import BenchError

_WITHIN = 1800.0  # seconds for one step
_DEMANDS = 2000
_SIZES = (1 << 20, 1 << 30, 1 << 35, 1 << 40)
_FILES = (1, 100, 10_000, 100_000)
_CLIENTS = (1, 4, 16, 64)
_DECADES = (1, 1_000, 100_000, 1_000_000, 10_000_000)
_MANY = 100  # of which a time for each can be told: of fewer the first ones are most
_PASS = 16_384  # pages of the file that events are made with


@dataclass(frozen=True, slots=True)
class Step:
    """A mount at work: `does` returns ns of one unit of its work, and how many there were."""

    specs: tuple[str, ...]
    does: Callable[[Path], tuple[float, int]]


class Growth:
    """All steps. `scratch` has the compiled client; `say` takes a line of progress."""

    def __init__(self, scratch: Path, disk: Path, say: Callable[[str], None]) -> None:
        self._scratch = scratch
        self._disk = disk
        self._say = say

    def run(self, events: int, files: int) -> list[dict[str, Any]]:
        """A row a step; of events and files at most so many. Raises BenchError, and KeyboardInterrupt where a signal came."""
        rows = [self._step("file", format_size(size), self._file(size)) for size in _SIZES]
        for count in filter(files.__ge__, _FILES):
            with self._tree(count) as tree:
                rows.append(self._step("files", f"{count:,}", Step((f"tree=dir:{tree}",), _walked)))
        rows += [self._step("clients", f"{count}", self._clients(count)) for count in _CLIENTS]
        rows += [self._step("events", f"{count:,}", self._events(count)) for count in filter(events.__ge__, _DECADES)]
        return rows

    def _step(self, what: str, how_much: str, step: Step) -> dict[str, Any]:
        self._say(f"{what}: {how_much}")
        trace = self._disk / "growth.db"
        daemon = Daemon(self._scratch / "growth")
        try:
            daemon.start(*step.specs, trace=trace)
            each, units = step.does(daemon.path)
            memory = daemon.memory()
            stats = _recorded(daemon)
        finally:
            daemon.stop()
            processes.check()
        row = {
            "what": what, "how_much": how_much, "units": units, "ready_ms": daemon.ready_s * 1e3, "each_ns": each,
            "requests": stats["requests"], "lost": stats["lost"], "trace_bytes": trace.stat().st_size,
            "memory": {name: {"rss": one.rss, "descriptors": one.descriptors} for name, one in memory.items()},
        }  # fmt: skip
        for path in self._disk.glob("growth.db*"):
            path.unlink()
        return row

    def _file(self, size: int) -> Step:
        path = self._disk / "sparse"
        with path.open("wb") as file:
            file.truncate(size)
        pages = size // PAGE_SIZE

        def work(mount: Path) -> tuple[float, int]:
            count = min(_DEMANDS, pages)
            said = self._touch("spread", mount / "file", pages, 1, count)
            return said["p50_ns"], count

        return Step((f"file=file:{str(path).replace(',', ',,')}",), work)

    @contextmanager
    def _tree(self, count: int) -> Iterator[str]:
        """Empty files, at most a thousand to a directory; removed at the end."""
        root = self._disk / "tree"
        paths = [root / f"{number // 1000:03}" / f"{number:06}" for number in range(count)]
        try:
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            yield str(root).replace(",", ",,")
        finally:
            for path in paths:
                path.unlink(missing_ok=True)
            for directory in {path.parent for path in paths}:
                if directory.exists():
                    directory.rmdir()
            if root.exists():
                root.rmdir()

    def _clients(self, count: int) -> Step:
        """As many processes as clients, each with a file of its own, at the same time."""
        specs = tuple(f"{number}=pages:{_DEMANDS}p" for number in range(count))

        def work(mount: Path) -> tuple[float, int]:
            began = time.monotonic_ns()
            clients = [self._start("spread", mount / str(number), _DEMANDS, 1, _DEMANDS) for number in range(count)]
            try:
                for client in clients:
                    client.communicate(timeout=_WITHIN)
            finally:
                for client in clients:
                    client.kill()
                    client.wait()
            if any(client.returncode for client in clients):
                raise BenchError("a client failed")
            return (time.monotonic_ns() - began) / (count * _DEMANDS), count * _DEMANDS

        return Step(specs, work)

    def _events(self, count: int) -> Step:
        def work(mount: Path) -> tuple[float, int]:
            pages = min(count, _PASS)
            return self._touch("repeat", mount / "file", pages, count)["elapsed_ns"] / count, count

        return Step((f"file=pages:{_PASS}p",), work)

    def _touch(self, how: str, path: Path, *numbers: int) -> dict[str, float]:
        args = [str(self._scratch / "touch"), "-1", how, str(path), *map(str, numbers)]
        said: dict[str, float] = json.loads(processes.run(args, _WITHIN, what="the client", interruptible=True))
        return said

    def _start(self, how: str, path: Path, *numbers: int) -> "subprocess.Popen[bytes]":
        args = [str(self._scratch / "touch"), "-1", how, str(path), *map(str, numbers)]
        return subprocess.Popen(args, stdout=subprocess.PIPE, start_new_session=True)


def _walked(mount: Path) -> tuple[float, int]:
    """Looks at each file, as `ls -lR` does."""
    began, count = time.monotonic_ns(), 0
    for directory, _, names in os.walk(mount / "tree"):
        for name in names:
            os.stat(os.path.join(directory, name))
            count += 1
    return (time.monotonic_ns() - began) / max(1, count), count


def _recorded(daemon: Daemon) -> dict[str, Any]:
    """`.mapfs/stats`, once it has all that was answered: a recorder that lags far takes its time."""
    end = time.monotonic() + _WITHIN
    while (stats := daemon.stats())["behind"]:
        processes.check()
        if time.monotonic() > end:
            raise BenchError(f"the recorder did not catch up within {_WITHIN:.0f} s")
    return stats


HEADING = "## Cost as work grows"
_WHAT = {
    "file": ("a sparse file of", f"a demand, the median of {_DEMANDS:,} all over it"),
    "files": ("files in a mirror", "a file that is looked at, as by `ls -lR`"),
    "clients": ("clients at once", f"a demand, of {_DEMANDS:,} each, by the clock"),
    "events": ("events in the trace", "a demand, by the clock"),
}


def table_of(rows: list[dict[str, Any]], table: Callable[[list[str], list[list[str]]], str]) -> str:
    """The tables, one a kind of growth, with their heading, and what stayed flat."""
    parts = [HEADING, _INTRODUCTION]
    for what, (head, unit) in _WHAT.items():
        some = [row for row in rows if row["what"] == what]
        if not some:
            continue
        header = [head, unit, "until mounted", "requests", "lost", "RSS of the daemon", "of the recorder",
            "descriptors of the daemon", "of the recorder", "trace"]  # fmt: skip
        parts += [table(header, [_cells(row) for row in some]), _flat(some)]
    return "\n\n".join(parts)


_INTRODUCTION = """\
Each row is a mount of its own, with a trace and the best evidence that this machine gives, on any CPU. Memory (VmRSS) and
descriptors are those at the end of the work, before the mount ends. A quantity is called flat where its highest is at most
1.5 times its lowest, over all rows of a table; the time of each, over those of 100 or more. `--events N` and `--files N`
say how many there are at most."""


def _cells(row: dict[str, Any]) -> list[str]:
    daemon, recorder = (row["memory"][name] for name in ("daemon", "recorder"))
    return [
        row["how_much"], format_ns(row["each_ns"]), f"{row['ready_ms']:.0f} ms", f"{row['requests']:,}", f"{row['lost']:,}",
        format_size(daemon["rss"] * 1024), format_size(recorder["rss"] * 1024), f"{daemon['descriptors']}",
        f"{recorder['descriptors']}", format_size(row["trace_bytes"]),
    ]  # fmt: skip


def _flat(rows: list[dict[str, Any]]) -> str:
    """Which quantities stay what they are, and how much the others grow."""
    numbers = {
        "the time of each": [row["each_ns"] for row in rows if row["units"] >= _MANY] or [rows[0]["each_ns"]],
        "the time until it is mounted": [row["ready_ms"] for row in rows],
        "the daemon's memory": [row["memory"]["daemon"]["rss"] for row in rows],
        "the recorder's memory": [row["memory"]["recorder"]["rss"] for row in rows],
        "the daemon's descriptors": [row["memory"]["daemon"]["descriptors"] for row in rows],
        "the recorder's descriptors": [row["memory"]["recorder"]["descriptors"] for row in rows],
    }
    flat = [name for name, values in numbers.items() if max(values) <= 1.5 * min(values)]
    others = [f"{name} ({max(values) / min(values):.1f} times)" for name, values in numbers.items() if name not in flat]
    lost = sum(row["lost"] for row in rows)
    said = f"{f'**{lost:,} events were lost**' if lost else 'No event was lost'}. Flat: {', '.join(flat) or 'nothing'}."
    return said + (f" Not flat, from the lowest to the highest: {', '.join(others)}." if others else "")
