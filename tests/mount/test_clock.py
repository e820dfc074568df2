"""The clock of the machine is set back by days, or on, while a mount is served: nobody waits longer, nothing gets lost.

The machine's own clock is left alone: libfaketime gives the daemon and its recorder another CLOCK_REALTIME, which a
file moves while they run. Waits, orders and the times of events are CLOCK_MONOTONIC's (clock_gettime(2)).
"""

import os
import sys
from pathlib import Path

import pytest

from mapfs.trace.reader import open_trace, trace_events
from tests.conftest import Mounter
from tests.mount.test_faults import touching, waiting
from tests.mount.test_writing import MAPPER
from tests.support import WITHIN, Client, client, pages_of, wait_until

DAY = 86_400 * 10**9  # ns
LIBRARY = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime (apt-get install libfaketime)")


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with what CLOCK_REALTIME is set off by, for the processes that are started as `command`."""
    place = tmp_path / "clock"
    place.write_text("+0\n")
    for name, value in {
        "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1", "FAKETIME_NO_CACHE": "1",
        "FAKETIME_TIMESTAMP_FILE": str(place),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return place


# maps a file, and says its first byte whenever it is asked
WATCHER = """
    import mmap, os, sys
    m = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)
    for line in sys.stdin:
        print(m[0])
"""
COMMAND = ["env", f"LD_PRELOAD={LIBRARY}", sys.executable, "-m", "mapfs"]


def _set(clock: Path, by: str) -> None:
    new = clock.with_suffix(".new")
    new.write_text(f"{by}\n")
    new.rename(clock)


@pytest.mark.parametrize("by", ["-10d", "+10d"])
def test_a_clock_that_jumps_holds_up_nobody_and_moves_no_event(
    mount: Mounter, tmp_path: Path, clock: Path, by: str
) -> None:
    jump = -10 * DAY if by == "-10d" else 10 * DAY
    trace, data, live = tmp_path / "t.db", tmp_path / "data", tmp_path / "live"
    data.write_bytes(b"." * 20_000)
    live.write_bytes(b"." * 20_000)
    daemon = mount(
        "p=pages:64p", "slow=pages:8p,delay=3s@1", f"c=file:{data},cow", f"l=file:{live},coherency=live,interval=50ms",
        "--trace", str(trace), command=COMMAND,
    )  # fmt: skip
    started = daemon.stats()["started_ns"]
    assert client("touch", daemon.file("p"), "0-3")["numbers"] == [0, 1, 2, 3]
    with open(daemon.file("c"), "r+b") as file:
        file.write(b"before")
    written = os.stat(daemon.file("c")).st_mtime_ns
    with Client(MAPPER, daemon.file("c")) as reader, Client(WATCHER, daemon.file("l")) as watcher:
        assert watcher.ask() == "46"
        slow = touching(daemon, "slow", "1")
        waiting(daemon, 1)
        _set(clock, by)
        os.chmod(daemon.file("c"), 0o640)  # its time of change is the daemon's own
        assert abs(os.stat(daemon.file("c")).st_ctime_ns - (started + jump)) < DAY, "the daemon has the new time"
        # what waited goes on, and what comes now is served, written, noticed and told as before
        assert slow.wait(WITHIN) == 0
        assert client("touch", daemon.file("p"), "4-7")["numbers"] == [4, 5, 6, 7]
        assert reader.ask("store 0 later!") == "ok"
        assert reader.ask("msync") == "ok"
        assert os.stat(daemon.file("c")).st_mtime_ns > written, "a new content has a later time than the one before"
        live.write_bytes(b"x" * 20_000)
        wait_until(lambda: watcher.ask() == str(ord("x")), "what was written underneath")
    assert daemon.stats()["started_ns"] == started
    assert daemon.umount() == 0
    reading = open_trace(str(trace)).connection
    events = [event for event in trace_events(reading) if event["op"] in ("read", "write")]
    (anchor,) = {event["wall_ns"] - event["time_ns"] for event in events}
    times = [event["time_ns"] for event in events if event["file"] in ("p", "c")]  # a slow one is told when it is over
    assert times == sorted(times)
    assert all(0 <= event["wait_ns"] < WITHIN * 1e9 for event in events)
    assert all(0 <= event["wall_ns"] - started < DAY for event in events), "wall times are those of the start, and on"
    started_ns, ended_ns = reading.execute("SELECT monotonic_ns, ended_ns FROM mount").fetchone()
    assert anchor == started - started_ns
    assert started_ns < times[0] <= times[-1] < ended_ns
    reading.close()
    assert list(pages_of(events, "p")) == list(range(8))
