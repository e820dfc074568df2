"""What goes wrong reaches the one who asked, and nobody else; nothing and nobody stays stuck."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mapfs.fuse.device import mounted_at
from mapfs.trace.reader import open_trace, trace_events
from tests.conftest import Mounter
from tests.support import ROOT, WITHIN, Client, Daemon, Holder, client, mapfs, python, wait_until

FAULTY = [sys.executable, "-m", "tests.faulty"]


def touching(daemon: Daemon, name: str, *pages: str) -> "subprocess.Popen[str]":
    """A client that touches pages of a file, started and left alone."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.client", "touch", daemon.file(name), *pages],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def waiting(daemon: Daemon, count: int) -> None:
    """Until `count` demands wait for their source."""
    wait_until(lambda: daemon.stats()["daemon"]["waiting_demands"] == count, f"{count} waiting demands")


@pytest.mark.parametrize(
    "spec",
    [
        "raises:ValueError", "raises:OSError", "raises:SystemExit", "raises:KeyboardInterrupt", "raises:MemoryError",
        "raises:RecursionError", "raises:GeneratorExit", "raises:StopIteration", "raises:now-ValueError",
        "raises:now-KeyboardInterrupt", "raises:now-SystemExit", "raises:now-Mute", "raises:Surrogate", "returns:short", "returns:long", "returns:none",
        "returns:text", "returns:wide",
    ],
)  # fmt: skip
def test_a_source_that_fails_is_an_error_of_that_request_alone(mount: Mounter, spec: str) -> None:
    daemon = mount(f"bad={spec}", "good=pages:4p", command=FAULTY)
    toucher = touching(daemon, "bad", "5")
    assert toucher.wait(WITHIN) == -signal.SIGBUS
    assert client("read", daemon.file("bad"), "4096", "100") == {"errno": errno.EIO}
    assert client("touch", daemon.file("good"), "1")["numbers"] == [1]
    errors = [event for event in daemon.events() if event["file"] == "bad"]
    assert [(event["class"], event["page"], event["error"]) for event in errors] == [
        ("ERROR", 5, "EIO"),
        ("ERROR", 5, "EIO"),  # the kernel asks once more, without reading ahead, before it gives up (mm/filemap.c)
        ("ERROR", 1, "EIO"),
        ("ERROR", 1, "EIO"),
    ]
    assert all(event["reason"] for event in errors)
    assert daemon.umount() == 0
    lines = [line for line in daemon.log if "  ERROR  " in line]
    assert len(lines) == 4
    assert all(f"EIO: {errors[0]['reason']}" in line for line in lines)


def test_a_backing_file_that_shrinks_is_sigbus_and_never_a_shrunken_file(mount: Mounter, tmp_path: Path) -> None:
    backing = tmp_path / "data"
    backing.write_bytes(bytes(10 * 4096))
    daemon = mount(f"data=file:{backing}")
    code = (
        "import mmap, os, sys\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY); m = mmap.mmap(fd, 0, prot=mmap.PROT_READ)\n"
        "m[0]; print('mapped', flush=True); sys.stdin.readline()\n"
        "m[0]; m[5 * 4096]\n"
    )
    command = [sys.executable, "-c", code, daemon.file("data")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as toucher:
        assert toucher.stdout
        assert toucher.stdout.readline() == "mapped\n"
        os.truncate(backing, 4096)
        toucher.communicate("go\n", timeout=WITHIN)
        assert toucher.returncode == -signal.SIGBUS
    errors = [event for event in daemon.events() if event["class"] == "ERROR"]
    assert {(event["page"], event["error"]) for event in errors} == {(5, "EIO")}
    assert "has no bytes at 20480" in errors[0]["reason"]
    assert daemon.umount() == 0


def test_slow_demands_delay_no_other_and_are_answered_when_the_source_is(mount: Mounter, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    daemon = mount(f"slow=gate:{gate}", "fast=pages:64p", "--threads=3", command=FAULTY)
    clients = [touching(daemon, "slow", str(page)) for page in range(6)]
    waiting(daemon, 6)
    assert daemon.stats()["daemon"]["pager_threads"] == 4  # three that wait, one that leads; three demands queue
    assert client("touch", daemon.file("fast"), "0-63")["numbers"] == list(range(64))
    assert sorted(os.listdir(daemon.path)) == [".mapfs", "fast", "slow"]
    gate.touch()
    assert [each.wait(WITHIN) for each in clients] == [0] * 6
    assert sorted(page for _, page in daemon.demands("slow")) == list(range(6))
    assert daemon.umount() == 0


READ_PAGES = """
    import concurrent.futures, os, sys
    fd, pages = os.open(sys.argv[1], os.O_RDONLY), int(sys.argv[2])
    with concurrent.futures.ThreadPoolExecutor(pages) as threads:  # each page is read by a thread of its own
        found = list(threads.map(lambda page: int.from_bytes(os.pread(fd, 8, page * 4096), "little"), range(pages)))
    assert found == list(range(pages)), found
    print("read", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("readahead", ["0", "128K"])
def test_no_number_of_slow_reads_keeps_another_file_waiting(mount: Mounter, tmp_path: Path, readahead: str) -> None:
    """The kernel counts read(2) and reading ahead as background requests, and bounds how many it hands out."""
    gate = tmp_path / "gate"
    daemon = mount(f"slow=gate:{gate}", "fast=pages:64p", f"--readahead={readahead}", command=FAULTY)
    with Client(READ_PAGES, daemon.file("slow"), 64) as reader:
        wait_until(lambda: int(daemon.stats()["daemon"]["waiting_demands"]) >= 2, "slow reads")
        if readahead == "0":
            waiting(daemon, 64)
        python("import sys; assert len(open(sys.argv[1], 'rb').read()) == 64 * 4096", daemon.file("fast"))
        mapfs("drop", daemon.file("fast"))
        assert client("touch", daemon.file("fast"), "0-63")["numbers"] == list(range(64))
        gate.touch()
        assert reader.process.stdout and reader.process.stdout.readline() == "read\n"
    assert daemon.umount() == 0


READ_TOGETHER = """
    import concurrent.futures, os, sys, threading
    slow, fine = (os.open(path, os.O_RDONLY) for path in sys.argv[1:])
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        for first in range(0, 64, 8):
            start = threading.Barrier(8)
            def read(page):
                start.wait()
                assert os.pread(fine if page % 4 else slow, 8, page * 4096) == page.to_bytes(8, "little")
            asked = {page: threads.submit(read, page) for page in range(first, first + 8)}
            for page, one in asked.items():
                if page % 4:
                    one.result()
            print("fine", flush=True)
            for one in asked.values():
                one.result()
            print("slow", flush=True)
"""


def test_reads_that_were_put_off_wait_behind_no_other_that_hangs(mount: Mounter, tmp_path: Path) -> None:
    """All fall due at the same time, and each takes a thread that is there for it."""
    gate = tmp_path / "gate"
    daemon = mount(f"slow=gate:{gate},delay=100ms", "fine=pages:64p,delay=100ms", command=FAULTY)
    with Client(READ_TOGETHER, daemon.file("slow"), daemon.file("fine")) as reader:
        assert reader.process.stdout
        for _ in range(8):
            assert reader.process.stdout.readline() == "fine\n"
            gate.touch()
            assert reader.process.stdout.readline() == "slow\n"
            gate.unlink()
        assert reader.process.wait(WITHIN) == 0
    assert daemon.umount() == 0


def test_many_waiters_of_one_page_are_one_request(mount: Mounter, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    daemon = mount(f"slow=gate:{gate}", command=FAULTY)
    clients = [touching(daemon, "slow", "9") for _ in range(5)]
    waiting(daemon, 1)
    gate.touch()
    assert [each.wait(WITHIN) for each in clients] == [0] * 5
    assert daemon.demands("slow") == [("COLD", 9)]


def test_a_waiting_thread_can_be_killed(mount: Mounter, tmp_path: Path) -> None:
    daemon = mount(f"slow=gate:{tmp_path / 'never'}", command=FAULTY)
    victim = touching(daemon, "slow", "2")
    waiting(daemon, 1)
    victim.kill()
    assert victim.wait(WITHIN) == -signal.SIGKILL
    waiting(daemon, 0)
    events = daemon.events()
    assert [(event["class"], event["error"], event["page"]) for event in events] == [("ERROR", "EINTR", 2)]
    assert daemon.umount() == 0


def test_a_signal_that_does_not_kill_leaves_the_demand_waiting_and_a_later_kill_ends_it(
    mount: Mounter, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    daemon = mount(f"slow=gate:{gate}", command=FAULTY)
    stopped, killed = touching(daemon, "slow", "1"), touching(daemon, "slow", "2")
    waiting(daemon, 2)
    for victim in (stopped, killed):
        victim.send_signal(signal.SIGCHLD)  # ignored by default, so no interruption at all
        victim.send_signal(signal.SIGSTOP)
        victim.send_signal(signal.SIGCONT)
    killed.kill()
    assert killed.wait(WITHIN) == -signal.SIGKILL
    waiting(daemon, 1)
    (tmp_path / "gate.1").touch()
    assert stopped.wait(WITHIN) == 0
    assert daemon.umount() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_mount_and_what_waits_gets_an_error(
    mount: Mounter, tmp_path: Path, number: signal.Signals
) -> None:
    trace = tmp_path / "trace.db"
    daemon = mount(f"slow=gate:{tmp_path / 'never'}", "--trace", str(trace), command=FAULTY)
    client_ = touching(daemon, "slow", "2")
    waiting(daemon, 1)
    daemon.process.send_signal(number)
    assert daemon.wait_end() == 0
    assert client_.wait(WITHIN) == -signal.SIGBUS
    assert mounted_at(daemon.path) is None
    assert not os.path.exists(daemon.path)  # mapfs made it
    events = list(trace_events(open_trace(str(trace)).connection))
    # asked for once, or once more before the mount was gone
    reads = [event for event in events if event["op"] == "read"]  # what was no page leaves the page cache, too
    assert {(event["class"], event["page"], event["error"]) for event in reads} == {("ERROR", 2, "EIO")}


def test_a_busy_mount_is_detached_by_ctrl_c(mount: Mounter) -> None:
    daemon = mount("pages=pages:8p")
    with Holder(daemon.file("pages"), "3") as holder:
        daemon.process.send_signal(signal.SIGINT)
        assert daemon.wait_end() == 0
        assert "fails" in daemon.wait_line("is still used; detached")
        assert mounted_at(daemon.path) is None
        assert holder.release() == {"again": [3]}  # resident pages stay


def test_kill_9_loses_no_answered_event_and_umount_cleans_up(mount: Mounter, tmp_path: Path) -> None:
    trace = tmp_path / "trace.db"
    progress = tmp_path / "progress"
    daemon = mount("pages=pages:1G", "-q", "--trace", str(trace), wait=False).wait_mounted()
    recorder = os.pidfd_open(daemon.stats()["recorder_pid"])
    toucher = subprocess.Popen(
        [
            sys.executable,
            "-c",
            # the page just touched is noted in shared memory, which outlives the SIGBUS
            "import mmap, os, sys\n"
            "fd = os.open(sys.argv[1], os.O_RDONLY); m = mmap.mmap(fd, 0, prot=mmap.PROT_READ)\n"
            "p = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT); os.ftruncate(p, 8); n = mmap.mmap(p, 8)\n"
            "for page in range(262144):\n"
            "    m[page * 4096]\n"
            "    n[:8] = (page + 1).to_bytes(8, 'little')\n",
            daemon.file("pages"),
            str(progress),
        ]
    )
    wait_until(lambda: progress.exists() and int.from_bytes(progress.read_bytes()[:8], "little") > 2000, "some demands")
    daemon.process.kill()
    assert toucher.wait(WITHIN) == -signal.SIGBUS
    done = int.from_bytes(progress.read_bytes(), "little")
    wait_until(lambda: _ended(recorder), "the end of the recorder")
    os.close(recorder)
    pages = [event["page"] for event in trace_events(open_trace(str(trace)).connection) if event["op"] == "read"]
    assert pages == list(range(len(pages)))
    assert len(pages) in (done, done + 1)  # the last one answered may not have been touched
    assert f"clean up with mapfs umount {daemon.path}" in daemon.wait_line(f"was killed (process {daemon.process.pid})")
    stale = mapfs("summary", daemon.path, check=False)
    assert (stale.returncode, "mapfs umount" in stale.stderr) == (1, True)
    mapfs("umount", daemon.path)
    assert mounted_at(daemon.path) is None


def _ended(pidfd: int) -> bool:
    import select

    return bool(select.select([pidfd], [], [], 0)[0])


def test_a_killed_recorder_does_not_reach_the_mount(mount: Mounter, tmp_path: Path) -> None:
    daemon = mount("pages=pages:64p", "--trace", str(tmp_path / "trace.db"))
    recorder = daemon.stats()["recorder_pid"]
    assert client("touch", daemon.file("pages"), "1")["numbers"] == [1]
    os.kill(recorder, signal.SIGKILL)
    assert "the mount goes on" in daemon.wait_line("the recorder was killed (SIGKILL)")
    assert client("touch", daemon.file("pages"), "2-40")["numbers"] == list(range(2, 41))
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.wait_end() == 1
    assert "not complete" in daemon.wait_line("not complete")
    assert mounted_at(daemon.path) is None


def test_a_stopped_recorder_does_not_reach_the_mount(mount: Mounter) -> None:
    daemon = mount("pages=pages:64p")
    recorder = daemon.stats()["recorder_pid"]
    os.kill(recorder, signal.SIGSTOP)
    try:
        assert client("touch", daemon.file("pages"), "0-63")["numbers"] == list(range(64))
    finally:
        os.kill(recorder, signal.SIGCONT)
    assert [page for _, page in daemon.demands("pages")] == list(range(64))


def test_no_name_is_lost_by_a_recorder_that_was_stopped(mount: Mounter, tmp_path: Path) -> None:
    root, trace = tmp_path / "many", tmp_path / "t.db"
    root.mkdir()
    for number in range(3000):
        (root / f"{number:04}-{'x' * 200}").write_text("content")
    daemon = mount(f"many=dir:{root}", "-q", "--trace", str(trace), wait=False).wait_mounted()
    recorder = daemon.stats()["recorder_pid"]
    os.kill(recorder, signal.SIGSTOP)
    try:
        subprocess.run(["sh", "-c", 'cat "$0"/* > /dev/null', daemon.file("many")], check=True, timeout=WITHIN)
    finally:
        os.kill(recorder, signal.SIGCONT)
    assert daemon.umount() == 0
    everything = list(trace_events(open_trace(str(trace)).connection))
    events = [event for event in everything if event["op"] == "read"]
    assert sorted(event["file"] for event in events) == sorted(f"many/{path.name}" for path in root.iterdir())
    assert {event["command"] for event in events} == {"cat"}


def test_a_full_disk_stops_the_trace_and_not_the_mount(mount: Mounter, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "small", str(small)], check=True, timeout=WITHIN)
    try:
        daemon = mount("pages=pages:20000p", "-q", "--trace", str(small / "t.db"), wait=False).wait_mounted()
        said = client("shuffled", daemon.file("pages"), "20000", "3")
        assert said["wrong"] == []
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.wait_end() == 1
        assert "stopped" in daemon.wait_line("the trace")
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True, timeout=WITHIN)


def test_a_session_that_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    trigger, trace = tmp_path / "trigger", tmp_path / "t.db"
    trigger.touch()
    command = [sys.executable, "-m", "tests.broken", "session", str(trigger), "mount", str(tmp_path / "mnt")]
    done = subprocess.run(
        [*command, "pages=pages:8p", "--trace", str(trace)],
        capture_output=True, text=True, timeout=WITHIN, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"mapfs: cannot mount on {tmp_path}/mnt: on purpose; mapfs doctor tells what is missing"
    ]
    assert mounted_at(str(tmp_path / "mnt")) is None
    assert not (tmp_path / "mnt").exists()


def test_nobody_who_reads_standard_error_holds_up_the_end(tmp_path: Path) -> None:
    unread, full = os.pipe()
    os.set_blocking(full, False)
    try:
        while True:
            os.write(full, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(full, True)
    path = str(tmp_path / "mnt")
    process = subprocess.Popen([sys.executable, "-m", "mapfs", "mount", path, "pages=pages:8p"], stderr=full)
    try:
        wait_until(lambda: mounted_at(path) is not None, "the mount")
        with Holder(os.path.join(path, "pages"), "3") as holder:  # busy, so there is something to say
            process.terminate()
            process.wait(WITHIN)
            assert mounted_at(path) is None
            holder.release()
    finally:
        process.kill()
        process.wait(WITHIN)
        os.close(unread)
        os.close(full)


@pytest.mark.parametrize("part", ["pager", "link"])
def test_a_failing_thread_of_mapfs_ends_the_mount_with_an_error(tmp_path: Path, part: str) -> None:
    trigger, trace = tmp_path / "trigger", tmp_path / "t.db"
    command = [sys.executable, "-m", "tests.broken", part, str(trigger)]
    daemon = Daemon(tmp_path / "mnt", "pages=pages:8p", "--trace", str(trace), command=command)
    try:
        daemon.wait_ready()
        with Holder(daemon.file("pages"), "3") as holder:
            trigger.touch()
            # any request that is not a READ; its answer is the end of the mount
            listing = subprocess.run(["ls", daemon.path], capture_output=True, timeout=WITHIN, check=False)
            assert listing.returncode != 0
            assert daemon.wait_end() == 1
            assert holder.release() == {"again": [3]}
        assert "ended by an error of mapfs: RuntimeError: on purpose" in daemon.wait_line("ended by an error")
        assert mounted_at(daemon.path) is None
        assert not os.path.exists(daemon.path)
        events = trace_events(open_trace(str(trace)).connection)
        assert [event["page"] for event in events if event["op"] == "read"] == [3]
    finally:
        daemon.destroy()
