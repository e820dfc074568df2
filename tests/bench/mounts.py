"""The daemons that are measured: `mapfs mount --daemon`, pinned to one CPU, and gone at the end whatever happens."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mapfs.fuse import device
from mapfs.trace.reader import mount_stats
from tests.bench.processes import BenchError, bounded, kill, run

_ANSWER = 30.0  # seconds for a mount to appear, and to say something
_END = 90.0  # seconds for `mapfs umount`, which itself gives up after 60
_GONE = 5.0  # seconds for the processes to be gone after that
_RECORDED = 60.0  # seconds for the recorder to write down what it was given


@dataclass(frozen=True, slots=True)
class Memory:
    """Of /proc/PID/status, KiB, and how many descriptors it has open."""

    rss: int
    shared: int  # RssShmem: the part of it that is shared memory, the ring
    descriptors: int


class Daemon:
    """A mount at `path` with its recorder; `start` makes it, `stop` ends it, in whatever state it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trace: Path | None = None
        self.ready_s = 0.0
        self.pid = 0
        self.recorder = 0

    def start(self, *args: str, trace: Path | None = None) -> None:
        """Mounts `args` (options and NAME=SPEC), and takes the time until the command returns."""
        self.trace = trace
        traced = ["--trace", str(trace)] if trace else []
        began = time.monotonic()
        run(
            [sys.executable, "-m", "mapfs", "mount", "--daemon", str(self.path), *args, *traced, "-q"],
            _ANSWER,
            what="mapfs mount",
        )
        self.ready_s = time.monotonic() - began
        stats = self.stats()
        self.pid, self.recorder = int(stats["daemon"]["pid"]), int(stats["recorder_pid"])

    def stats(self) -> dict[str, Any]:
        """`.mapfs/stats`: of all requests that were answered before."""
        return bounded(lambda: mount_stats(str(self.path)), _ANSWER, what=".mapfs/stats")

    def requests(self) -> int:
        """READs answered so far; the ring is drained afterwards, so that the recorder is at rest."""
        return int(self.stats()["requests"])

    def pin(self, cpu: int) -> None:
        """Keeps all threads of the daemon, and those that they start, on `cpu`; not the recorder."""
        pin(self.pid, cpu)

    def memory(self) -> dict[str, Memory]:
        """What daemon and recorder have resident."""
        return {"daemon": memory_of(self.pid), "recorder": memory_of(self.recorder)}

    def check_trace(self, name: str, pages: int, *, ended: bool = False) -> None:
        """Asserts that the trace has one event for each of the `pages` of file `name`, and no other.

        Waits for the recorder unless the mount has `ended`, so that its work is not in the next measurement.
        """
        assert self.trace is not None
        until = time.monotonic() + (0 if ended else _RECORDED)
        while (counts := self._counts(name))[0] < pages and time.monotonic() < until:
            time.sleep(0.01)
        if counts != (pages, pages, 0):
            raise BenchError(
                f"the trace of {name} has {counts[0]} events on {counts[1]} pages and {counts[2]} losses, "
                f"not {pages} events on {pages} pages"
            )

    def _counts(self, name: str) -> tuple[int, int, int]:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(self.trace))}?mode=ro", uri=True)) as database:
            events = database.execute(
                "SELECT count(*), count(DISTINCT page) FROM events WHERE op = 'read' AND file = ?", (name,)
            )
            losses = database.execute("SELECT count(*) FROM losses")
            number, distinct = events.fetchone()
            return number, distinct, losses.fetchone()[0]

    def stop(self) -> None:
        """Unmounts it; one that does not end in order is killed, and that is a BenchError."""
        try:
            if device.mounted_at(str(self.path)) is not None:
                run([sys.executable, "-m", "mapfs", "umount", str(self.path)], _END, what="mapfs umount")
            if self._alive(_GONE):
                raise BenchError("mapfs umount has returned, but the daemon goes on")
        except BenchError:
            self._destroy()
            raise

    def _alive(self, within: float) -> list[int]:
        """Processes of this mount that have not ended after so many seconds; no other has its path."""
        wanted = b"\0--daemon\0" + os.fsencode(self.path) + b"\0"
        until = time.monotonic() + within
        while True:
            found = []
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError):
                    if wanted in Path(f"/proc/{pid}/cmdline").read_bytes():
                        found.append(int(pid))
            if not found or time.monotonic() > until:
                return found
            time.sleep(0.02)

    def _destroy(self) -> None:
        for pid in self._alive(0):
            kill(pid)
        destroy(self.path)
        self._alive(_GONE)


def pin(pid: int, cpu: int) -> None:
    """Keeps all threads of a process, and those that they start, on `cpu`."""
    pinned: set[str] = set()
    while not_yet := set(os.listdir(f"/proc/{pid}/task")) - pinned:
        for tid in not_yet:
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(int(tid), {cpu})
        pinned |= not_yet


def destroy(path: Path) -> None:
    """Takes away what is mounted there, however dead or busy it is."""
    for command in (["umount", "-l", "--"], ["fusermount3", "-u", "-z", "--"]):
        if device.mounted_at(str(path)) is not None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run([*command, str(path)], capture_output=True, check=False, timeout=10)


def memory_of(pid: int) -> Memory:
    """VmRSS, RssShmem (proc_pid_status(5)) and descriptors of a process."""
    fields = {}
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            name, _, value = line.partition(":")
            fields[name] = value
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    return Memory(int(fields["VmRSS"].split()[0]), int(fields["RssShmem"].split()[0]), descriptors)
