"""One demand, one request, one event, by the right thread: the core promise, on real mounts."""

import os
import sqlite3
from pathlib import Path

from mapfs.trace.reader import open_trace, trace_events
from tests.conftest import Mounter
from tests.mount.test_places import needs_root
from tests.support import client, wait_until


def test_first_touch_is_one_line_and_a_second_process_has_none(mount: Mounter) -> None:
    daemon = mount("pages=pages:64p")
    said = client("touch", daemon.file("pages"), "3", "7")
    assert said["numbers"] == [3, 7]
    again = client("touch", daemon.file("pages"), "3", "7")
    assert again["numbers"] == [3, 7]
    assert daemon.umount() == 0
    assert len(daemon.log) == 2
    for line, page in zip(daemon.log, (3, 7), strict=True):
        _, cls, who, file, word, number, offset, *_ = line.split()
        assert (cls, file, word, number) == ("COLD", "pages", "page", str(page))
        assert who.endswith(f"/{said['pid']}") and who.startswith("python")
        assert int(offset, 16) == page * 4096


def test_20000_random_touches_are_20000_events_everywhere(mount: Mounter, tmp_path: Path) -> None:
    trace = tmp_path / "trace.db"
    daemon = mount("pages=pages:20000p", "--trace", str(trace))
    said = client("shuffled", daemon.file("pages"), "20000", "1")
    assert said["wrong"] == []
    streamed = daemon.events()
    stats = daemon.stats()
    assert daemon.umount() == 0

    recorded = list(trace_events(open_trace(str(trace)).connection))
    expected = [(page, 1, "COLD", said["tid"], said["pid"]) for page in said["pages"]]
    for events in (streamed, recorded):
        reads = [event for event in events if event["op"] == "read"]
        got = [(event["page"], event["pages"], event["class"], event["tid"], event["pid"]) for event in reads]
        assert got == expected
    assert [int(line.split()[5]) for line in daemon.log] == said["pages"]
    assert (stats["requests"], stats["pages"], stats["lost"]) == (20000, 20000, 0)


def test_threads_and_forked_children_are_told_apart(mount: Mounter, tmp_path: Path) -> None:
    trace = tmp_path / "trace.db"
    daemon = mount("pages=pages:20250p", "-q", "--trace", str(trace), wait=False).wait_mounted()
    said = client("threads", daemon.file("pages"), "8", "2250")
    assert said["wrong"] == []
    assert said["status"] == 0
    assert daemon.umount() == 0
    database = sqlite3.connect(trace)
    by_thread: dict[tuple[int, int], list[int]] = {}
    for page, tid, pid in database.execute("SELECT page, tid, pid FROM events WHERE op = 'read'"):
        by_thread.setdefault((pid, tid), []).append(page)
    database.close()
    expected = {(said["pid"], int(tid)): pages for tid, pages in said["shares"].items()}
    expected[(said["child"], said["child"])] = list(range(18000, 20250))
    assert {who: sorted(pages) for who, pages in by_thread.items()} == expected


@needs_root
def test_the_cpus_are_kept_awake_while_requests_flow_alone(mount: Mounter) -> None:
    daemon = mount("a=pages:4p", "-q", "--low-latency", "--spin", "off", wait=False).wait_mounted()

    def held() -> bool:
        place = f"/proc/{daemon.process.pid}/fd"
        return any(os.path.realpath(f"{place}/{fd}") == "/dev/cpu_dma_latency" for fd in os.listdir(place))

    with open(daemon.file("a"), "rb") as file:
        file.read(4096)
        assert held()
    wait_until(lambda: not held(), "silence lets the CPUs sleep again")
    assert daemon.umount() == 0
