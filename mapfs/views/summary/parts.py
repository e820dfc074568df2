"""The scan, spread over the CPUs: each process takes a range of serial numbers, this one the first.

The others are new interpreters, for a connection of SQLite must not be carried across a fork. What they found comes
back through their standard output. A trace in memory, or a short one, is scanned here alone.
"""

import os
import pickle
import sqlite3
import subprocess
import sys
from dataclasses import asdict
from itertools import pairwise

import msgspec

from mapfs.errors import TraceError
from mapfs.views.summary.part import Layout, Part
from mapfs.views.summary.scan import scan

_ALONE = 300_000  # events that are scanned sooner than another interpreter starts
_MOST = 8  # processes
_WORKER = "mapfs.views.summary.worker"


def scan_all(db: sqlite3.Connection, layout: Layout) -> list[Part]:
    """The whole trace, in parts by serial number. Raises TraceError where a process fails."""
    first, end = layout.edges[0], layout.edges[-1]
    path = db.execute("SELECT file FROM pragma_database_list WHERE name = 'main'").fetchone()[0]
    count = min(_MOST, len(os.sched_getaffinity(0)), max(1, (end - first) // _ALONE)) if path else 1
    cuts = [first + (end - first) * number // count for number in range(count + 1)]
    running = [_start(path, layout, low, high) for low, high in pairwise(cuts[1:])]
    try:
        return [scan(db, layout, cuts[0], cuts[1]), *map(_result, running)]
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.communicate()


def _start(path: str, layout: Layout, first: int, end: int) -> "subprocess.Popen[bytes]":
    text = msgspec.json.encode({"path": path, "layout": asdict(layout), "first": first, "end": end}).decode()
    return subprocess.Popen([sys.executable, "-m", _WORKER, text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


def _result(process: "subprocess.Popen[bytes]") -> Part:
    out, _ = process.communicate()
    if process.returncode:
        raise TraceError(f"a process that read part of the trace ended with {process.returncode}; try again")
    part: Part = pickle.loads(out)  # noqa: S301 -- from a process of our own
    return part
