"""Other places than root's own shell: a plain user, a container, the plain link."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.support import ROOT, WITHIN, client, mapfs, wait_until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes users and name spaces, which only root can")
SCRIPT = """
set -eu
"$PYTHON" -m mapfs mount --daemon "$MNT" pages=pages:64p
trap '"$PYTHON" -m mapfs umount "$MNT"' EXIT
"$PYTHON" -m tests.client touch "$MNT/pages" 3 7 60
cat "$MNT/.mapfs/stats"
"$PYTHON" -m mapfs log --json "$MNT"
"""


def exact(done: "subprocess.CompletedProcess[str]") -> tuple[dict[str, object], list[dict[str, object]]]:
    """What `SCRIPT` printed: the touches were right and each made one request of one page, by its process."""
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    said, stats, *events = lines
    assert said["numbers"] == [3, 7, 60]
    assert [(event["page"], event["pages"], event["pid"], event["tid"]) for event in events] == [
        (page, 1, said["pid"], said["pid"]) for page in (3, 7, 60)
    ]
    return stats, events


@pytest.mark.timeout(700)
@needs_root
def test_a_plain_user_sees_the_same_exact_pages(readable_python: str, tmp_path: Path) -> None:
    """In a mount namespace of its own, where /dev/fuse has the mode 0666 that it has elsewhere."""
    home = Path(readable_python).parents[2]
    place = home / "home"
    place.mkdir()
    os.chown(place, 65534, 65534)
    node = tmp_path / "fuse"
    os.mknod(node, 0o666 | 0o020000, os.makedev(10, 229))
    os.chmod(node, 0o666)
    done = subprocess.run(
        [
            "unshare", "--mount", "--", "bash", "-euc",
            'mount --bind "$NODE" /dev/fuse; exec setpriv --reuid 65534 --regid 65534 --clear-groups bash -c "$SCRIPT"',
        ],
        env={
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "NODE": str(node), "SCRIPT": SCRIPT, "PYTHON": readable_python,
            "MNT": str(place / "mnt"), "HOME": str(place), "PYTHONDONTWRITEBYTECODE": "1",
        },
        cwd=home / "src", capture_output=True, text=True, timeout=WITHIN * 2, check=False,
    )  # fmt: skip
    _, events = exact(done)
    assert all(event["container"] is None for event in events)
    assert not (place / "mnt").exists()


def test_the_plain_link_serves_the_same_bytes_and_does_not_know_who(mount: Mounter) -> None:
    daemon = mount("pages=pages:64p", "slow=device:/dev/zero,size=64p", "--link=plain")
    said = client("shuffled", daemon.file("pages"), "64", "7")
    assert said["wrong"] == []
    assert client("touch", daemon.file("slow"), "9")["numbers"] == [0]
    events = daemon.events()
    pages = [
        page
        for event in events
        if event["file"] == "pages"
        for page in range(event["page"], event["page"] + event["pages"])
    ]
    assert sorted(pages) == list(range(64))
    assert {event["tid"] for event in events} == {None}
    stats = daemon.stats()
    assert (stats["link"], stats["readahead"]) == ("plain", -1)
    assert daemon.umount() == 0
    assert all(line.split()[2] == "?" for line in daemon.log)


def test_the_plain_link_ends_by_a_signal_and_reports_errors(mount: Mounter) -> None:
    faulty = [sys.executable, "-m", "tests.faulty"]
    daemon = mount("bad=raises:ValueError", "good=pages:4p", "--link=plain", command=faulty)
    assert client("read", daemon.file("bad"), "0", "10") == {"errno": 5}
    assert client("touch", daemon.file("good"), "1")["numbers"] == [1]
    assert {event["class"] for event in daemon.events() if event["file"] == "bad"} == {"ERROR"}
    with subprocess.Popen(["cat", daemon.file(".mapfs/events")], stdout=subprocess.DEVNULL) as reader:
        wait_until(lambda: os.path.exists(f"/proc/{reader.pid}/fd/3"), "the reader")
        reader.kill()
        assert reader.wait(WITHIN) == -9
    daemon.process.terminate()
    assert daemon.wait_end() == 0
    assert not os.path.exists(daemon.path)


def test_the_plain_link_ends_while_a_source_is_stalled(mount: Mounter, tmp_path: Path) -> None:
    faulty = [sys.executable, "-m", "tests.faulty"]
    daemon = mount(f"slow=gate:{tmp_path / 'never'}", "--link=plain", command=faulty)
    command = [sys.executable, "-m", "tests.client", "touch", daemon.file("slow"), "2"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as toucher:
        wait_until(lambda: daemon.stats()["daemon"]["open_handles"] == 1, "the demand")
        daemon.process.terminate()
        assert daemon.wait_end() == 0
        assert toucher.wait(WITHIN) != 0


def test_allow_other_lets_another_user_in_and_checks_modes(mount: Mounter, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("becomes another user, which only root can")
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:-2]:
        parent.chmod(parent.stat().st_mode | 0o055)
    backing = tmp_path / "backing"
    backing.mkdir()
    (backing / "open").write_text("open")
    (backing / "closed").write_text("closed")
    (backing / "closed").chmod(0o600)

    def as_nobody(path: str) -> int:
        return subprocess.run(
            ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "cat", path],
            capture_output=True, timeout=WITHIN, check=False,
        ).returncode  # fmt: skip

    private = mount(f"m=dir:{backing}", at="private")
    assert as_nobody(private.file("m/open")) != 0
    shared = mount(f"m=dir:{backing}", "--allow-other", at="shared")
    assert as_nobody(shared.file("m/open")) == 0
    assert as_nobody(shared.file("m/closed")) != 0
    assert [event["file"] for event in shared.events()] == ["m/open"]


def test_ready_soon_and_small(mount: Mounter) -> None:
    """Memory is asserted, time is not: docs/BENCHMARKS.md has it."""
    daemon = mount()
    pid = daemon.stats()["daemon"]["pid"]
    client("touch", daemon.file("pages"), "0-255")
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    assert resident < 60 << 10  # KiB
    mapfs("umount", daemon.path)
