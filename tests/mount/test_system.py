"""The end of a mount that programs have stored something in, and what it asks of the system beyond the device."""

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mapfs.fuse import system
from tests.conftest import Mounter
from tests.support import WITHIN, Client, Daemon, client, mapfs, wait_until

FAULTY = [sys.executable, "-m", "tests.faulty"]
STORES = """
    import mmap, os, sys
    m = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 0)
    for line in sys.stdin:
        m[0:6] = b"stored"
        print("stored")
"""
TOUCHES = """
    import mmap, os, sys
    m = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)
    for line in sys.stdin:
        print(m[int(line) * mmap.PAGESIZE])
"""


def with_system(change: str, *command: str) -> list[str]:
    """`command` in a mount namespace of its own, in which `change` was done before."""
    return ["unshare", "--mount", "sh", "-ec", f'{change}; exec "$@"', "sh", *command]


def inside(daemon: Daemon) -> list[str]:
    """What a client begins with that is to run in the mount namespace of `daemon`."""
    return ["nsenter", "--mount", "--target", str(daemon.process.pid)]


@contextlib.contextmanager
def stored(daemon: Daemon, name: str, gate: Path, command: Sequence[str] = ()) -> Iterator[Client]:
    """A client that has stored something, which the end of the mount has written back: the source waits with it."""
    with Client(STORES, daemon.file(name), command=command) as one:
        assert one.ask() == "stored"
        if name == "added":
            mapfs("remove", daemon.path, name)
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(Path(f"{gate}.begun").exists, "the source is given what was stored")
        yield one


@pytest.mark.parametrize(("link", "name"), [("own", "given"), ("plain", "given"), ("own", "added")])
def test_a_mount_ends_when_its_sources_have_what_was_stored(
    mount: Mounter, tmp_path: Path, link: str, name: str
) -> None:
    gate = tmp_path / "gate"
    daemon = mount(f"{name}=stuck:{gate}", f"--link={link}", command=FAULTY)
    with stored(daemon, name, gate) as one:
        with pytest.raises(subprocess.TimeoutExpired):
            daemon.process.wait(1)  # it has nothing else to wait for
        gate.touch()
        assert daemon.wait_end() == 0
        assert gate.with_suffix(".written").read_bytes().startswith(b"stored")
        assert not any("is lost" in line for line in daemon.lines)
        assert one.end() == 0


def test_what_no_source_takes_any_more_is_said_to_be_lost(mount: Mounter, tmp_path: Path) -> None:
    gate = tmp_path / "never"
    daemon = mount(f"d=stuck:{gate}", command=FAULTY)
    with stored(daemon, "d", gate) as one:
        assert "stored" in daemon.wait_line("is lost")
        assert daemon.wait_end() == 0
        assert one.end() == 0


FUSECTL = "/sys/fs/fuse/connections"


@pytest.mark.skipif(os.geteuid() != 0, reason="changes what is mounted on /sys, in a namespace of its own")
@pytest.mark.parametrize(
    "change", [f"mountpoint -q {FUSECTL} || mount -t fusectl none {FUSECTL}", f"umount {FUSECTL} || true"]
)
def test_a_second_signal_ends_a_mount_that_waits_for_its_sources(mount: Mounter, tmp_path: Path, change: str) -> None:
    gate = tmp_path / "never"
    daemon = mount(f"d=stuck:{gate}", command=with_system(change, *FAULTY))
    with stored(daemon, "d", gate, inside(daemon)) as one:
        daemon.process.send_signal(signal.SIGTERM)
        assert "what they stored may be lost" in daemon.wait_line("stopped at once")
        assert daemon.wait_end() == 0, "\n".join(daemon.lines)
        assert one.end() == 0, "nobody waits for a mount that has ended"


@pytest.mark.skipif(os.geteuid() != 0, reason="changes what is mounted on /sys, in a namespace of its own")
def test_read_ahead_beyond_the_kernels_offer_is_refused_in_a_sentence(mount: Mounter) -> None:
    """In a container /sys is read-only, and root or not, nobody sets there how far to read ahead."""
    read_only = with_system("mount -o remount,bind,ro /sys", sys.executable, "-m", "mapfs")
    daemon = mount("p=pages:64p", "--readahead", "1M", command=read_only)
    assert "at most 128 KiB here, less than --readahead" in daemon.wait_line("reads ahead")
    with Client(TOUCHES, daemon.file("p"), command=inside(daemon)) as one:
        assert one.ask("40") == "40"
        assert one.end() == 0
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.wait_end() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="hides a file, in a namespace of its own")
@pytest.mark.parametrize(
    ("hidden", "sentence"),
    [
        ("$(command -v fusermount3)", "fusermount3 is not installed; install it with apt-get install fuse3"),
        ("/dev/fuse", "cannot mount on {}: "),
    ],
)
def test_what_a_mount_cannot_do_without_is_named(tmp_path: Path, hidden: str, sentence: str) -> None:
    path = tmp_path / "mnt"
    command = with_system(
        f"mount --bind /dev/null {hidden}", sys.executable, "-m", "mapfs", "mount", str(path), "a=zero:1p"
    )
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=WITHIN, stdin=subprocess.DEVNULL
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("mapfs: " + sentence.format(path))
    assert not path.exists()


def test_a_mount_point_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    done = mapfs("mount", str(tmp_path / ("long" * 100)), "a=zero:1p", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "cannot make the mount point" in done.stderr and "File name too long" in done.stderr


def test_a_mount_takes_as_many_descriptors_as_it_may_have(mount: Mounter) -> None:
    daemon = mount("p=pages:4p", command=["prlimit", "--nofile=64:256", sys.executable, "-m", "mapfs"])
    kept = system._KEPT  # for its end
    assert resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE) == (256 - kept, 256)


def test_without_its_recorder_a_mount_says_of_what_it_cannot_tell(mount: Mounter) -> None:
    """Pages are served on; what only the recorder knew is EIO and not an empty file."""
    daemon = mount("p=pages:4p")
    os.kill(daemon.stats()["recorder_pid"], signal.SIGKILL)
    wait_until(lambda: unread(daemon, "stats"), "the recorder's end is seen")
    assert unread(daemon, "metrics")
    assert unread(daemon, "events")
    assert client("touch", daemon.file("p"), "3")["numbers"] == [3]


def unread(daemon: Daemon, name: str) -> bool:
    """Whether a control file is EIO."""
    try:
        Path(daemon.file(".mapfs"), name).read_bytes()
    except OSError as error:
        assert error.errno == errno.EIO
        return True
    return False
