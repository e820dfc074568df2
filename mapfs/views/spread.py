"""A scan of a trace that is spread over the CPUs: each process takes a range of serial numbers, this one the first.

The others are new interpreters, for a connection of SQLite must not be carried across a fork. They are told what to do
through their standard input, and what they found comes back through their output. A trace in memory, or a short one,
is scanned here alone.
"""

import os
import pickle
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

from mapfs.errors import TraceError
from mapfs.trace.reader import open_trace

_ALONE = 300_000  # events that are scanned sooner than another interpreter starts
_MOST = 8  # processes

Layout = TypeVar("Layout")
Part = TypeVar("Part")


def spread(
    scan: Callable[[sqlite3.Connection, Layout, int, int], Part],
    db: sqlite3.Connection,
    layout: Layout,
    first: int,
    end: int,
) -> list[Part]:
    """What `scan`, a function of a module, finds from the serial number `first` to before `end`, in parts by serial
    number. Raises TraceError where a process fails.
    """
    path = db.execute("SELECT file FROM pragma_database_list WHERE name = 'main'").fetchone()[0]
    count = min(_MOST, len(os.sched_getaffinity(0)), max(1, (end - first) // _ALONE)) if path else 1
    cuts = [first + (end - first) * number // count for number in range(count + 1)]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for low, high in pairwise(cuts[1:]):
            running.append(_start())
            _tell(running[-1], pickle.dumps((scan, path, layout, low, high)))
        return [scan(db, layout, cuts[0], cuts[1]), *map(_result, running)]
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
            process.communicate()


def _start() -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "mapfs.views.spread"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _tell(process: "subprocess.Popen[bytes]", wanted: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(wanted)
        process.stdin.flush()
    except BrokenPipeError:
        pass  # it has ended, as its exit status will say


def _result(process: "subprocess.Popen[bytes]") -> Part:  # type: ignore[type-var]  # what `scan` makes
    out, _ = process.communicate()
    if process.returncode:
        raise TraceError(f"a process that read part of the trace ended with {process.returncode}; try again")
    part: Part | sqlite3.DatabaseError = pickle.loads(out)  # noqa: S301 -- from a process of our own
    if isinstance(part, sqlite3.DatabaseError):
        raise part
    return part


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever started it says what there is to say
    scan, path, layout, first, end = pickle.load(sys.stdin.buffer)  # noqa: S301 -- from a process of our own
    try:
        part = scan(open_trace(path).connection, layout, first, end)
    except sqlite3.DatabaseError as error:  # what the file holds: whoever reads it has the words for that
        part = error
    pickle.dump(part, sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
    sys.stdout.flush()


if __name__ == "__main__":
    _main()
