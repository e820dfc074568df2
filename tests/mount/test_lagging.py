"""A recorder that cannot make events as quickly as pages are demanded: what it has taken waits, and none is lost."""

import json
import os
import select
import signal
import sys
from pathlib import Path

import pytest

from mapfs.trace.reader import has_ended, mount_stats, open_trace, trace_events
from mapfs.trace.ring import SLOTS
from tests.conftest import Mounter
from tests.support import WITHIN, Daemon, client, mapfs

LAGGING = [sys.executable, "-m", "tests.lagging"]
PAGES = 2 * SLOTS + 10_000


def held_back(mount: Mounter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Daemon, Path, Path]:
    """A mount whose recorder has made no event of PAGES demands; the gate that lets it, and the trace."""
    gate, trace = tmp_path / "gate", tmp_path / "traces" / "t.db"
    trace.parent.mkdir()
    monkeypatch.setenv("MAPFS_GATE", str(gate))
    gate.touch()
    args = (f"p=pages:{PAGES}p", "-q", "--trace", str(trace))
    daemon = mount(*args, wait=False, command=LAGGING).wait_mounted()
    gate.unlink()
    client("shuffled", daemon.file("p"), str(PAGES), "6", within=4 * WITHIN)
    stats = mount_stats(str(daemon.path), now=True)
    assert (stats["requests"], stats["lost"], stats["behind"]) == (0, 0, PAGES)
    assert [name for name in os.listdir(trace.parent) if not name.startswith("t.db")] == [], "its file has no name"
    return daemon, gate, trace


def check(trace: Path) -> None:
    reading = open_trace(str(trace)).connection
    events = list(trace_events(reading))
    assert has_ended(reading)
    reading.close()
    pages = [event["page"] for event in events if event["op"] == "read"]
    assert sorted(pages) == list(range(PAGES))
    assert pages != sorted(pages)
    times = [event["time_ns"] for event in events if event["op"] == "read"]
    assert times == sorted(times)
    # of evidence the kernel may lose some, which is no fault of the recorder
    assert not [event for event in events if event["op"] == "lost" and not event["samples"]]
    assert {event["class"] for event in events if event["op"] == "read"} == {"COLD"}


def test_more_than_the_ring_holds_waits_and_becomes_events_in_order(
    mount: Mounter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, gate, trace = held_back(mount, tmp_path, monkeypatch)
    gate.touch()
    stats = daemon.counted()
    assert (stats["requests"], stats["lost"], stats["classes"]["COLD"]) == (PAGES, 0, PAGES)
    assert daemon.umount() == 0
    check(trace)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_mount_waits_for_all_of_it_and_says_so(
    mount: Mounter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: signal.Signals
) -> None:
    daemon, gate, trace = held_back(mount, tmp_path, monkeypatch)
    recorder = os.pidfd_open(mount_stats(str(daemon.path), now=True)["recorder_pid"])
    daemon.process.send_signal(end)
    assert f"{PAGES:,} requests are still to be written" in daemon.wait_line("still to be written")
    assert not select.select([recorder], [], [], 0)[0]
    gate.touch()
    assert select.select([recorder], [], [], WITHIN)[0]
    os.close(recorder)
    assert daemon.wait_end() == (0 if end == signal.SIGTERM else -end)
    check(trace)


def test_a_recorder_that_takes_nothing_at_all_loses_what_the_ring_cannot_hold_and_counts_it(
    mount: Mounter, tmp_path: Path
) -> None:
    trace = tmp_path / "t.db"
    args = (f"p=pages:{PAGES}p", "-q", "--trace", str(trace), "--evidence", "requests")
    daemon = mount(*args, wait=False).wait_mounted()
    recorder = daemon.stats()["recorder_pid"]
    os.kill(recorder, signal.SIGSTOP)
    try:
        client("shuffled", daemon.file("p"), str(PAGES), "6", within=4 * WITHIN)
    finally:
        os.kill(recorder, signal.SIGCONT)
    stats = daemon.counted()
    assert stats["requests"] + stats["lost"] == PAGES
    assert PAGES - SLOTS <= stats["lost"] <= PAGES - SLOTS + 1024, "a ring, but for what may be written just then"
    assert daemon.umount() == 0
    reading = open_trace(str(trace)).connection
    lost = [event["count"] for event in trace_events(reading) if event["op"] == "lost"]
    reading.close()
    assert sum(lost) == stats["lost"]


def test_a_mount_whose_recorder_is_behind_answers_who_asks_whether_it_does(
    mount: Mounter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, gate, _ = held_back(mount, tmp_path, monkeypatch)
    found = json.loads(mapfs("doctor", "--mounts", "--json", check=False).stdout)
    assert [one["state"] for one in found if one["what"] == f"{daemon.path} answers"] == ["ok"]
    gate.touch()
    assert daemon.umount() == 0
