"""`.mapfs/events`, `.mapfs/stats` and the commands that read them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import Mounter
from tests.support import WITHIN, client, mapfs, wait_until


def test_a_reader_that_is_stopped_holds_up_nobody_and_is_told_what_it_lost(mount: Mounter) -> None:
    daemon = mount("pages=pages:100000p", "-q", "--readahead", "0", wait=False).wait_mounted()
    reader = subprocess.Popen(["cat", daemon.file(".mapfs/events")], stdout=subprocess.PIPE)
    wait_until(lambda: daemon.stats()["daemon"]["control_reads"] == 1, "the reader")
    reader.send_signal(signal.SIGSTOP)
    try:
        said = client("shuffled", daemon.file("pages"), "80000", "5", within=4 * WITHIN)
        assert said["wrong"] == []
        assert daemon.counted()["requests"] == 80000
    finally:
        reader.send_signal(signal.SIGCONT)
    assert reader.stdout
    seen = lost = 0
    while seen + lost < 80000:
        event = json.loads(reader.stdout.readline())
        if event["op"] == "lost":
            lost += event["count"]
        else:
            seen += 1
    assert (seen + lost, lost > 0) == (80000, True)
    reader.kill()
    assert reader.wait(WITHIN) == -signal.SIGKILL
    reader.stdout.close()
    assert daemon.umount() == 0


def test_a_reader_that_waits_can_be_killed(mount: Mounter) -> None:
    daemon = mount("pages=pages:4p")
    for number in (signal.SIGTERM, signal.SIGKILL):
        reader = subprocess.Popen(["cat", daemon.file(".mapfs/events")], stdout=subprocess.DEVNULL)
        wait_until(lambda: daemon.stats()["daemon"]["control_reads"] == 1, "the reader")
        reader.send_signal(number)
        assert reader.wait(WITHIN) == -number
        wait_until(lambda: daemon.stats()["daemon"]["control_reads"] == 0, "the end of the reader")
    assert daemon.umount() == 0


def test_older_events_than_the_ring_holds_are_reported_lost_and_the_trace_has_them(
    mount: Mounter, tmp_path: Path
) -> None:
    trace = ["--trace", str(tmp_path / "t.db"), "--evidence", "requests"]
    daemon = mount("pages=pages:70000p", "-q", *trace, wait=False).wait_mounted()
    client("shuffled", daemon.file("pages"), "70000", "6", within=4 * WITHIN)
    events = daemon.events()
    assert events[0]["op"] == "lost"
    assert events[0]["count"] + len(events) - 1 == 70000
    summary = json.loads(mapfs("summary", "--json", daemon.path).stdout)
    assert summary["total"]["demands"] >= 70000 - 5000  # the trace is written behind the mount's back
    assert daemon.umount() == 0
    summary = json.loads(mapfs("summary", "--json", str(tmp_path / "t.db")).stdout)
    assert (summary["total"]["demands"], summary["total"]["pages"], summary["lost"]) == (70000, 70000, 0)


def test_log_and_summary_say_the_same_of_a_mount_and_of_its_trace(mount: Mounter, tmp_path: Path) -> None:
    trace = str(tmp_path / "t.db")
    daemon = mount("a=pages:5000", "b=pages:8p", "--trace", trace)
    first, second = client("touch", daemon.file("a"), "1", "0"), client("touch", daemon.file("b"), "2-5")
    live = mapfs("log", "--json", daemon.path).stdout
    live_summary = json.loads(mapfs("summary", "--json", daemon.path).stdout)
    only = mapfs("log", daemon.path, "--file", "b*", "--pid", str(second["pid"])).stdout.splitlines()
    assert [line.split()[3:6] for line in only] == [["b", "page", str(page)] for page in range(2, 6)]
    assert mapfs("log", daemon.path, "--file", "b", "--pid", str(first["pid"])).stdout == ""
    assert daemon.umount() == 0
    assert [json.loads(line) for line in mapfs("log", "--json", trace).stdout.splitlines()] == [
        json.loads(line) for line in live.splitlines()
    ]
    assert mapfs("log", trace).stdout.splitlines() == daemon.log
    recorded = json.loads(mapfs("summary", "--json", trace).stdout)
    assert recorded["total"] == live_summary["total"]
    assert recorded["files"] == live_summary["files"]
    assert [(row["file"], row["of_pages"], row["waste"], row["counts"]["pages"]) for row in recorded["files"]] == [
        ("b", 8, 0, 4),
        ("a", 2, 8192 - 5000, 2),
    ]
    assert {(row["pid"], row["counts"]["pages"]) for row in recorded["processes"]} == {
        (first["pid"], 2),
        (second["pid"], 4),
    }
    text = mapfs("summary", trace).stdout
    assert "6 demands for 6 pages" in text
    assert "3.1 KiB" in text


def test_a_trace_can_be_followed_while_it_is_written(mount: Mounter, tmp_path: Path) -> None:
    trace = str(tmp_path / "t.db")
    daemon = mount("a=pages:8p", "--trace", trace)
    log = subprocess.Popen([sys.executable, "-m", "mapfs", "log", "-f", trace], stdout=subprocess.PIPE, text=True)
    assert log.stdout
    client("touch", daemon.file("a"), "5")
    assert "page 5" in log.stdout.readline()
    assert daemon.umount() == 0
    assert log.wait(WITHIN) == 0
    log.stdout.close()


def test_colours_are_for_terminals_and_switch_off(mount: Mounter) -> None:
    daemon = mount("a=pages:8p")
    client("touch", daemon.file("a"), "5")
    assert "\x1b[" not in mapfs("log", daemon.path).stdout
    assert "\x1b[36mCOLD" in mapfs("log", daemon.path, env={**os.environ, "FORCE_COLOR": "1"}).stdout
    both = {**os.environ, "FORCE_COLOR": "1", "NO_COLOR": "1"}
    assert "\x1b[" not in mapfs("log", daemon.path, env=both).stdout


def test_a_long_spec_does_not_reach_the_recorder(mount: Mounter) -> None:
    daemon = mount(f"long=text:{'x' * 100_000}")
    assert client("read", daemon.file("long"), "0", "2") == {"data": "7878"}
    assert daemon.demands("long") == [("COLD", 0)]
    assert daemon.umount() == 0
