"""Whoever listens to a mount and fails, stalls or is stopped: the log's reader, readers of `.mapfs/events`, commands.

The mount goes on, the trace has everything, and each listener is told what it has missed. Those of metrics are in
test_metrics.py; a trace whose disk is full and a recorder that is stopped or killed in test_faults.py; a service manager
that does not listen in test_notify.py.
"""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapfs.fuse.device import TYPE, mounted_at
from mapfs.trace.reader import mount_stats, reading, trace_events
from tests.conftest import Mounter
from tests.support import ROOT, WITHIN, client, mapfs, python, wait_until

PAGES = 260_000  # more than a log keeps for a slow reader (views/log.py, CAPACITY)
LONG = 150.0  # seconds for as many demands
TOUCH = """
    import mmap, os, sys
    m = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)
    for page in range(int(sys.argv[2]), int(sys.argv[3])):
        assert int.from_bytes(m[page * 4096 : page * 4096 + 8], "little") == page
"""


@contextlib.contextmanager
def logging_to_a_pipe(path: Path, *args: str) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """A mount, and the end of the pipe that its log goes into, which nobody reads."""
    unread, log = os.pipe()
    try:
        command = [sys.executable, "-m", "mapfs", "mount", str(path), "--no-labels", "--evidence", "requests", *args]
        process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL, cwd=ROOT)
        os.close(log)
        try:
            wait_until(lambda: mounted_at(str(path)) is not None, "the mount")
            yield process, unread
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(WITHIN)
            mounted = mounted_at(str(path))
            if mounted is not None and mounted.type == TYPE:
                subprocess.run(["umount", "-l", str(path)], check=False, timeout=WITHIN)
    finally:
        with contextlib.suppress(OSError):  # a test has closed it
            os.close(unread)


def _pages(trace: Path) -> list[int]:
    """Of each request and drop of a trace, the first page."""
    with reading(str(trace)) as recorded:
        return [event["page"] for event in trace_events(recorded.connection) if event["op"] in ("read", "drop")]


def test_a_log_whose_reader_has_gone_is_given_up_and_nothing_else_is(tmp_path: Path) -> None:
    path, trace = tmp_path / "mnt", tmp_path / "t.db"
    with logging_to_a_pipe(path, "p=pages:64p", "--trace", str(trace)) as (process, unread):
        assert client("touch", str(path / "p"), "0")["numbers"] == [0]
        os.close(unread)
        assert client("touch", str(path / "p"), "1-30")["numbers"] == list(range(1, 31))
        wait_until(lambda: mount_stats(str(path))["sinks"]["log"] == "failed", "the end of the log")
        assert mount_stats(str(path))["sinks"][f"trace {trace}"] == "ok"
        assert client("touch", str(path / "p"), "31-63")["numbers"] == list(range(31, 64))
        mapfs("umount", str(path))
        assert process.wait(WITHIN) == 1  # the log is not complete
    assert _pages(trace) == list(range(64))


def _again(log: Path) -> int:
    """How many lines of a log are of pages that were asked for again."""
    return log.read_bytes().count(b"REFAULT")


def test_a_log_whose_reader_stalls_holds_up_nobody_and_says_how_much_it_skipped(tmp_path: Path) -> None:
    path, trace = tmp_path / "mnt", tmp_path / "t.db"
    with logging_to_a_pipe(path, f"p=pages:{PAGES}p", "--trace", str(trace)) as (process, unread):
        python(TOUCH, path / "p", 0, PAGES, within=LONG)
        wait_until(lambda: mount_stats(str(path))["requests"] == PAGES, "the recorder", within=LONG)
        assert mount_stats(str(path))["lost"] == 0
        # it is read again: what was kept, how much was skipped in between, and what comes from now on
        with open(tmp_path / "log", "wb") as log, subprocess.Popen(["cat"], stdin=unread, stdout=log) as reader:
            mapfs("drop", str(path / "p"))
            python(TOUCH, path / "p", 0, 10)
            wait_until(lambda: _again(tmp_path / "log") == 10, "the log", within=LONG)
            mapfs("umount", str(path))
            assert process.wait(WITHIN) == 0
            assert reader.wait(WITHIN) == 0
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if not line.startswith("mapfs: ")]
    skipped = [
        int(match[1].replace(",", "")) for line in lines if (match := re.search(r"skipped ([\d,]+) lines", line))
    ]
    assert skipped, "it was too slow for some"
    assert len(lines) - len(skipped) + sum(skipped) == PAGES + 1 + 10, "each request, and the drop, is there or counted"
    assert _pages(trace) == [*range(PAGES), 0, *range(10)]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_suspended_readers_hold_up_no_end_and_end_themselves_once_they_go_on(
    mount: Mounter, tmp_path: Path, end: signal.Signals
) -> None:
    trace = tmp_path / "t.db"
    daemon = mount("p=pages:100000p", "-q", "--trace", str(trace), wait=False).wait_mounted()
    recorder = os.pidfd_open(daemon.stats()["recorder_pid"])
    commands = [
        ["cat", daemon.file(".mapfs/events")],
        [sys.executable, "-m", "mapfs", "log", "-f", "--json", daemon.path],
        ["dd", f"if={daemon.file('.mapfs/events')}", "bs=1", "status=none"],
    ]
    with contextlib.ExitStack() as stack:
        readers = [
            stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
            )
            for command in commands
        ]
        for reader in readers:
            stack.callback(reader.kill)
        wait_until(lambda: daemon.stats()["daemon"]["control_reads"] == len(readers), "the readers")
        for reader in readers:
            reader.send_signal(signal.SIGSTOP)
        python(TOUCH, daemon.file("p"), 0, 20_000)
        daemon.process.send_signal(end)
        assert daemon.wait_end() == (0 if end == signal.SIGTERM else -end)
        assert select.select([recorder], [], [], WITHIN)[0], "the recorder ends too"
        os.close(recorder)
        for reader in readers:
            reader.send_signal(signal.SIGCONT)
        for reader in readers:
            reader.wait(WITHIN)  # nothing keeps them
    mapfs("umount", daemon.path, check=False)
    assert mounted_at(daemon.path) is None
    assert _pages(trace) == list(range(20_000))
    again = mount("p=pages:8p")
    assert client("touch", again.file("p"), "1")["numbers"] == [1]
