"""A daemon that has no more memory: threads that cannot be started, allocations that fail, the kernel's OOM killer.

The address space is limited while the daemon runs (prlimit(2), RLIMIT_AS); the OOM killer is had by a memory cgroup.
"""

import contextlib
import errno
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapfs.fuse.device import mounted_at
from mapfs.trace.reader import has_ended, open_trace, trace_events
from tests.conftest import Mounter
from tests.mount.test_faults import FAULTY, READ_PAGES, waiting
from tests.mount.test_places import needs_root
from tests.support import WITHIN, Client, client, mapfs, python, wait_until

READERS = 24


def _limit_memory(pid: int, more: int | None) -> None:
    """Lets the process have `more` bytes of addresses than now; None: as many as it likes."""
    size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    limit = resource.RLIM_INFINITY if more is None else size + more
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def test_slow_demands_queue_where_no_thread_can_be_started(mount: Mounter, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    daemon = mount(f"slow=gate:{gate}", "fast=pages:64p", f"--threads={READERS}", command=FAULTY)
    _limit_memory(daemon.process.pid, 4 << 20)  # no room for the stack of a thread, but for stacks that were in use
    with Client(READ_PAGES, daemon.file("slow"), READERS) as reader:
        waiting(daemon, READERS)
        line = daemon.wait_line("can start no more threads")
        assert line.startswith("mapfs: starting a thread for a slow demand failed: ") and "ulimit -u" in line
        assert 2 <= daemon.stats()["daemon"]["pager_threads"] < READERS
        # nobody else waits
        assert client("touch", daemon.file("fast"), "0-63")["numbers"] == list(range(64))
        assert sorted(os.listdir(daemon.path)) == [".mapfs", "fast", "slow"]
        gate.touch()
        assert reader.process.stdout and reader.process.stdout.readline() == "read\n"
    assert sorted(daemon.demands("slow")) == [("COLD", page) for page in range(READERS)]
    _limit_memory(daemon.process.pid, None)
    gate.unlink()
    mapfs("drop", daemon.file("slow"))
    with Client(READ_PAGES, daemon.file("slow"), READERS) as reader:
        wait_until(lambda: daemon.stats()["daemon"]["pager_threads"] == READERS + 1, "threads, as many as are allowed")
        gate.touch()
        assert reader.process.stdout and reader.process.stdout.readline() == "read\n"
    assert daemon.umount() == 0


def test_with_little_memory_it_goes_on_or_ends_and_nobody_is_stuck(mount: Mounter, tmp_path: Path) -> None:
    """2 MiB more than it has: allocations of a listing and of threads fail. docs/RELIABILITY.md tells of none at all."""
    trace, home = tmp_path / "t.db", tmp_path / "home"
    home.mkdir()
    for number in range(3000):
        (home / f"{number:04}-{'x' * 200}").write_text(f"{number:04}")
    daemon = mount("p=pages:1G", f"m=dir:{home}", "--trace", str(trace), "-q", wait=False).wait_mounted()
    pid = daemon.process.pid
    recorder = os.pidfd_open(daemon.stats()["recorder_pid"])
    _limit_memory(pid, 2 << 20)
    code = """
        import os, sys
        fds, errors = [], set()
        fd = os.open(sys.argv[1] + "/p", os.O_RDONLY)
        for number in range(3000):
            try:
                page = number * 7
                assert os.pread(fd, 4096, page * 4096)[:8] == page.to_bytes(8, "little")
                if not number % 500:
                    assert len(os.listdir(sys.argv[1] + "/m")) == 3000, "all, or an error"
                fds.append(os.open(f"{sys.argv[1]}/m/{number:04}-{'x' * 200}", os.O_RDONLY))
                assert os.read(fds[-1], 10) == b"%04d" % number
            except OSError as error:
                errors.add(error.errno)
        print(*errors)
    """
    errors = set(map(int, python(code, daemon.path).stdout.split()))
    assert errors <= {errno.EIO, errno.ENOMEM, errno.EAGAIN, errno.ENOTCONN, errno.ECONNABORTED, errno.ENOENT}, errors
    if daemon.process.poll() is None:  # it went on: with memory it does as before
        _limit_memory(pid, None)
        if errors:
            assert "ulimit" in daemon.wait_line("failed: mapfs ")
        assert len(os.listdir(daemon.file("m"))) == 3000
        assert client("read", daemon.file(f"m/2999-{'x' * 200}"), "0", "4")["data"] == b"2999".hex()
        assert daemon.umount() == 0
    else:
        assert daemon.wait_end() == 1
    assert select.select([recorder], [], [], WITHIN)[0], "the recorder ends too"
    os.close(recorder)
    assert mounted_at(daemon.path) is None
    assert all(line.startswith("mapfs: ") and "defect" not in line for line in daemon.lines), daemon.lines
    reading = open_trace(str(trace)).connection
    assert reading.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert has_ended(reading)
    demanded = {event["page"] for event in trace_events(reading) if event["op"] == "read" and event["file"] == "p"}
    reading.close()
    if not errors:
        assert demanded == {number * 7 for number in range(3000)}
    again = mount("p=pages:8p")  # a restart, on the same place
    assert client("touch", again.file("p"), "1")["numbers"] == [1]


@contextlib.contextmanager
def _memory_cgroup(limit: int) -> Iterator[Path]:
    """A cgroup below this process's own, whose processes may have `limit` bytes, and no swap (cgroups(7)). Skips."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    one = next((path for _, names, path in lines if "memory" in names.split(",")), None)
    own = Path("/sys/fs/cgroup/memory" if one else "/sys/fs/cgroup") / (one or lines[-1][2]).lstrip("/")
    group = own / f"mapfs-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error.strerror}")
    try:
        if one:
            (group / "memory.swappiness").write_text("0")
            (group / "memory.limit_in_bytes").write_text(str(limit))
        elif (group / "memory.max").exists():
            with contextlib.suppress(OSError):  # a kernel without swap
                (group / "memory.swap.max").write_text("0")
            (group / "memory.max").write_text(str(limit))
        else:
            pytest.skip("the memory controller is not on for this cgroup")
        yield group
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text(), "the end of what was in the cgroup")
        group.rmdir()


@needs_root
def test_the_oom_killer_takes_the_daemon_and_nobody_is_stuck(mount: Mounter, tmp_path: Path) -> None:
    """The overlay of a cow file lies in memory, and has more in it than the cgroup may have."""
    trace, place = tmp_path / "t.db", tmp_path / "overlay"
    place.mkdir()
    (tmp_path / "data").write_bytes(b"")
    os.truncate(tmp_path / "data", 1 << 30)
    subprocess.run(["mount", "-t", "tmpfs", "overlay", str(place)], check=True, timeout=WITHIN)
    try:
        with _memory_cgroup(128 << 20) as group:
            enter = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs")]
            command = [*enter, sys.executable, "-m", "mapfs"]
            spec = f"c=file:{tmp_path}/data,cow={place}"
            daemon = mount(spec, "p=pages:1G", "--trace", str(trace), "-q", wait=False, command=command).wait_mounted()
            pid = daemon.process.pid
            recorder_pid = daemon.stats()["recorder_pid"]
            recorder = os.pidfd_open(recorder_pid)
            Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
            # and not its recorder, which would be next until what the killed one held open is given back
            (group.parent / "cgroup.procs").write_text(str(recorder_pid))
            assert client("touch", daemon.file("p"), "0-99")["numbers"] == list(range(100))
            code = """
                import os, sys
                fd = os.open(sys.argv[1], os.O_RDWR)
                for at in range(0, 1 << 30, 1 << 20):
                    try:
                        os.pwrite(fd, b"x" * (1 << 20), at)
                    except OSError as error:
                        print(at >> 20, error.errno)
                        break
            """
            written, number = map(int, python(code, daemon.file("c")).stdout.split())
            assert 0 < written < 128
            assert number in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO)
            assert daemon.process.wait(WITHIN) == -signal.SIGKILL
            assert select.select([recorder], [], [], WITHIN)[0], "the recorder ends too"
            os.close(recorder)
            assert f"clean up with mapfs umount {daemon.path}" in daemon.wait_line(f"was killed (process {pid})")
            reading = open_trace(str(trace)).connection
            assert reading.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            events = list(trace_events(reading))
            reading.close()
            assert [event["page"] for event in events if event["op"] == "read" and event["file"] == "p"] == [
                *range(100)
            ]
            assert len([event for event in events if event["op"] == "write"]) >= written
            mapfs("umount", daemon.path)
            again = mount("p=pages:8p")
            assert client("touch", again.file("p"), "1")["numbers"] == [1]
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True, timeout=WITHIN)
