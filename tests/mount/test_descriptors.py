"""A daemon that has no more descriptors: who opens is told, whoever runs it hears what to raise, and it goes on."""

import contextlib
import errno
import os
import sys
from pathlib import Path

import pytest

from mapfs.fuse.device import mounted_at
from mapfs.trace.reader import reading, trace_events
from tests.conftest import Mounter
from tests.support import Client, Daemon, Holder, client, mapfs, wait_until

FILES = 300
# opens as many files as it is given, and reads of each: how many, and why no more; then closes all
OPENER = """
    import os, sys
    for line in sys.stdin:
        first, number, fds = int(line), 0, []
        try:
            for name in range(first, 300):
                fds.append(os.open(f"{sys.argv[1]}/{name:03}", os.O_RDONLY))
        except OSError as error:
            number = error.errno
        assert [int(os.read(fd, 10)) for fd in fds] == list(range(first, first + len(fds)))
        print(len(fds), number)
        sys.stdin.readline()
        for fd in fds:
            os.close(fd)
        print("closed")
"""


def limited(descriptors: int) -> list[str]:
    """mapfs with no more than so many descriptors."""
    return ["prlimit", f"--nofile={descriptors}:{descriptors}", sys.executable, "-m", "mapfs"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    for number in range(FILES):
        (home / f"{number:03}").write_text(f"{number:03}")
    return home


@pytest.mark.parametrize("link", ["own", "plain"])
def test_who_opens_too_much_is_told_and_it_goes_on_when_some_are_closed(mount: Mounter, home: Path, link: str) -> None:
    daemon = mount(f"m=dir:{home}", f"--link={link}", command=limited(100))
    assert len(os.listdir(daemon.file("m"))) == FILES  # from then on libfuse has the pipe that it keeps
    with Client(OPENER, daemon.file("m")) as opener:
        opened, number = map(int, opener.ask("0").split())
        assert number == errno.EMFILE
        assert 0 < opened < 100
        line = daemon.wait_line("too many files open")
        assert line == "mapfs: open failed: mapfs has too many files open; raise the limit of open files (ulimit -n)"
        with pytest.raises(OSError) as caught:
            os.listdir(daemon.file("m"))
        assert caught.value.errno == errno.EMFILE
        assert opener.ask() == "closed"
        # the last handle goes when the kernel says so, after close(2)
        wait_until(lambda: len(os.listdir(daemon.file("m"))) == FILES, "descriptors to be free again")
        assert daemon.stats()["daemon"]["open_handles"] <= 1
        again, number = map(int, opener.ask("150").split())
        assert (again, number) == (opened, errno.EMFILE)
        assert opener.ask() == "closed"
        assert opener.end() == 0
    read = [event["file"] for event in daemon.events() if event["op"] == "read"]
    if link == "own":
        assert read == [f"m/{number:03}" for number in [*range(opened), *range(150, 150 + again)]]
    assert daemon.umount() == 0
    assert [line for line in daemon.lines if "too many files" in line] == [line], "said once, not for each"


def test_a_daemon_without_descriptors_ends_as_any_other(mount: Mounter, home: Path) -> None:
    daemon = mount(f"m=dir:{home}", command=limited(100))
    with Client(OPENER, daemon.file("m")) as opener:
        assert opener.ask("0").split()[1] == str(errno.EMFILE)
        daemon.process.terminate()
        assert daemon.wait_end() == 0
        assert "detached" in daemon.wait_line("is still used")
        assert mounted_at(daemon.path) is None
    assert not os.path.exists(daemon.path)
    daemon = mount(f"m=dir:{home}")  # where it was
    assert client("read", daemon.file("m/007"), "0", "3")["data"] == b"007".hex()


def test_a_mount_that_lacks_descriptors_from_the_start_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    """With two more each time, until there are enough: each place where it may run out of them, once."""
    place, trace, failed = tmp_path / "mnt", tmp_path / "t.db", 0
    for descriptors in range(8, 100, 2):
        daemon = Daemon(place, "p=pages:8p", "--trace", str(trace), command=limited(descriptors))
        try:
            if daemon.wait_started():
                assert daemon.umount() == 0
                break
            assert daemon.wait_end() == 1
            failed += 1
            assert daemon.lines and all(line.startswith("mapfs: ") for line in daemon.lines), daemon.lines
            assert not any("defect" in line for line in daemon.lines), daemon.lines
            assert mounted_at(str(place)) is None
            assert not place.exists()
            assert not trace.exists(), daemon.lines
        finally:
            daemon.destroy()
    assert failed
    assert trace.exists()


def test_a_recorder_watches_no_more_processes_than_it_has_descriptors_for(mount: Mounter, tmp_path: Path) -> None:
    """Tier faults: each watched process takes two descriptors a CPU, as long as it lives."""
    trace = tmp_path / "t.db"
    each = 2 * len(os.sched_getaffinity(0))
    limit, clients = 60 + 12 * each, 24
    daemon = mount(
        "p=pages:64p", "--evidence", "faults", "--trace", str(trace), "-q", wait=False, command=limited(limit)
    )
    daemon.wait_mounted()
    with contextlib.ExitStack() as stack:
        for number in range(clients):
            stack.enter_context(Holder(daemon.file("p"), str(number)))
        line = daemon.wait_line("the page faults of some processes are not seen")
        assert "ulimit -n" in line
        # who asks is answered all the same, with everything that was demanded
        assert sorted(page for _, page in daemon.demands("p")) == list(range(clients))
        assert daemon.stats()["requests"] == clients
        assert mapfs("summary", daemon.path).returncode == 0
    assert daemon.umount() == 0
    with reading(str(trace)) as recorded:
        (watched,) = recorded.connection.execute("SELECT count(*) FROM watched").fetchone()
        demanded = [event["page"] for event in trace_events(recorded.connection) if event["op"] == "read"]
    assert 0 < watched < clients
    assert demanded == list(range(clients))
