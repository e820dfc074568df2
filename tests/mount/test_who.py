"""`mapfs who`: the processes that map or hold a file, as the kernel counts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.support import WITHIN, Client, Holder, mapfs

KIB = 1024
PAGE = os.sysconf("SC_PAGE_SIZE")
WRITER = """
    import mmap, os, sys
    fd = os.open(sys.argv[1], os.O_RDWR)
    m = mmap.mmap(fd, 8 * 4096)
    os.close(fd)
    m[0] = 1
    for line in sys.stdin: print("ok")
"""


def test_who_maps_a_file_how_much_of_it_and_what_is_shared(mount: Mounter) -> None:
    daemon = mount("p=pages:64p", "d/w=memfd:64K", "-q", wait=False).wait_mounted()
    with Holder(daemon.file("p"), "0-9") as one, Holder(daemon.file("p"), "0-9") as other:
        with Client(WRITER, daemon.file("d/w")) as writer, open(daemon.file("d/w"), "rb"):
            assert writer.ask() == "ok"
            told = json.loads(mapfs("who", daemon.path, "--json").stdout)["users"]
            rows = {(row["pid"], row["file"]): row for row in told}
            assert set(rows) == {
                (one.said["pid"], "p"), (other.said["pid"], "p"), (writer.process.pid, "d/w"), (os.getpid(), f"inode {ino(daemon.file('d/w'))}"),
            }  # fmt: skip
            first, second = rows[one.said["pid"], "p"], rows[other.said["pid"], "p"]
            assert first["ranges"] == second["ranges"] == [[0, 64]]
            assert first["rss"] == first["shared"] + first["private"] >= 10 * PAGE
            assert first["shared"] == second["shared"] >= 10 * PAGE
            assert first["pss"] < first["rss"]
            assert (first["writable"], first["open"]) == (False, True)  # Python keeps a duplicate with a mapping
            mine = rows[writer.process.pid, "d/w"]
            assert (mine["writable"], mine["open"], mine["ranges"], mine["rss"]) == (True, True, [[0, 8]], PAGE)
        only = json.loads(mapfs("who", daemon.file("p"), "--json").stdout)["users"]
        assert {row["pid"] for row in only} == {one.said["pid"], other.said["pid"]}
        assert [row["file"] for row in only] == ["p", "p"]
        drawn = mapfs("who", daemon.file("p")).stdout
        assert f"python/{one.said['pid']}" in drawn.replace("python3", "python") and "0-63" in drawn
    assert "nobody that could be looked into maps or holds it" in mapfs("who", daemon.path).stdout


def ino(path: str) -> int:
    return os.stat(path).st_ino


def test_processes_of_others_are_counted_and_nothing_is_claimed_of_them(mount: Mounter, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("takes another user")
    daemon = mount("p=pages:64p", "--allow-other", "-q", wait=False).wait_mounted()
    with Holder(daemon.file("p"), "0-9"):
        code = (
            "import os, sys\n"
            "import mapfs.trace.users as users\n"
            "device = os.stat(sys.argv[1]).st_dev\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "found = users.users_of(device)\n"
            "print(len(found.users), found.closed > 0)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, daemon.path], capture_output=True, text=True, timeout=WITHIN, check=True
        )
        assert done.stdout == "0 True\n"


def test_what_is_no_mount_is_refused(mount: Mounter) -> None:
    daemon = mount("p=pages:64p", "-q", wait=False).wait_mounted()
    for path, sentence in (("/etc", "is in no mapfs mount"), (daemon.file("nought"), "No such file or directory")):
        done = mapfs("who", path, check=False)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert sentence in done.stderr
