"""`.mapfs/ctl` and the commands that are its clients: what is served can be changed and broken while it is served."""

import contextlib
import errno
import json
import mmap
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mapfs.client import ask
from tests.conftest import Mounter
from tests.support import Client, Daemon, Holder, client, mapfs, python, wait_until

PAGE = mmap.PAGESIZE


def raw(daemon: Daemon, *pieces: bytes) -> list[dict[str, Any]]:
    """Writes pieces to ctl as they are, and decodes the lines that come back."""
    fd = os.open(daemon.file(".mapfs/ctl"), os.O_RDWR)
    try:
        for piece in pieces:
            os.write(fd, piece)
        answer = b""
        while piece := os.read(fd, 1 << 16):
            answer += piece
        return [json.loads(line) for line in answer.splitlines()]
    finally:
        os.close(fd)


def descriptors(daemon: Daemon) -> list[str]:
    """What the daemon has open, but for what it keeps to know threads by."""
    home = f"/proc/{daemon.stats()['daemon']['pid']}/fd/"
    found = []
    for name in os.listdir(home):
        with contextlib.suppress(FileNotFoundError):
            found.append(re.sub(r"\d+", "", os.readlink(home + name)))
    return sorted(one for one in found if not one.endswith("/comm"))


# names


def test_files_are_added_and_removed_while_it_is_mounted(mount: Mounter, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"data")
    daemon = mount("a=zero:4K", "-q", wait=False).wait_mounted()
    before = descriptors(daemon)
    done = mapfs("add", daemon.path, "new/er=file:data,rw", "p=pages:4p", cwd=tmp_path)  # relative to the command
    assert f"{daemon.path}/new/er is served" in done.stdout
    with open(daemon.file("new/er"), "rb") as file:
        assert file.read() == b"data"
    with Holder(daemon.file("p"), "1") as holder:
        assert mapfs("remove", daemon.path, "p", "new/er").stdout.count("served no longer") == 2
        for name in ("p", "new/er", "new"):
            with pytest.raises(FileNotFoundError):
                os.stat(daemon.file(name))
        assert holder.release() == {"again": [1]}
    assert sorted(os.listdir(daemon.path)) == [".mapfs", "a"]
    wait_until(lambda: descriptors(daemon) == before, "the descriptors of what was removed")
    mapfs("add", daemon.path, "p=pages:8p")  # the name is free again
    assert client("touch", daemon.file("p"), "7")["numbers"] == [7]


def test_open_handles_of_a_removed_file_keep_working_and_demand_pages(mount: Mounter, tmp_path: Path) -> None:
    data = tmp_path / "home"
    data.mkdir()
    (data / "file").write_bytes(b"0123456789" * 2000)
    daemon = mount(f"m=dir:{data},rw", f"f=file:{data}/file")
    code = """
        import mmap, os, sys
        fd = os.open(sys.argv[1], os.O_RDONLY)
        m = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
        for line in sys.stdin: print(m[int(line)])
    """
    for name, given in (("f", "f"), ("m/file", "m")):
        with Client(code, daemon.file(name)) as reader:
            assert reader.ask("0") == str(ord("0"))
            mapfs("remove", daemon.path, given)
            assert reader.ask("9001") == str(ord("1"))  # a page that nobody had touched
            with pytest.raises(OSError) as caught:
                os.open(daemon.file(name), os.O_RDONLY)
            assert caught.value.errno == errno.ENOENT
            assert reader.end() == 0
    assert daemon.umount() == 0


def test_what_is_served_is_listed(mount: Mounter, tmp_path: Path) -> None:
    daemon = mount("p=pages:8p", f"m=dir:{tmp_path},rw", "d/e=memfd:4K", "s=shm:,interval=3s")
    client("touch", daemon.file("p"), "2", "5")
    mapfs("inject", daemon.file("p"), "delay=1ms@7")
    rows = {row["name"]: row for row in json.loads(mapfs("files", daemon.path, "--json").stdout)}
    assert set(rows) == {"p", "m", "d/e", "s"}
    assert rows["p"] == {
        "name": "p", "spec": "pages:8p", "size": 8 * PAGE, "mode": "ro", "coherency": "fixed", "open": 0,
        "rules": ["delay=1ms@7"], "resident": 2, "dirty": 0,
    }  # fmt: skip
    assert (rows["m"]["mode"], rows["m"]["size"], rows["s"]["coherency"]) == ("rw", None, "live")
    assert rows["d/e"]["mode"] == "rw"
    table = mapfs("files", daemon.path).stdout
    assert "2 of 8" in table and "injected: delay=1ms@7" in table and f"dir:{tmp_path},rw" in table


# faults


def test_page_200_is_sigbus_and_its_neighbours_are_fine(mount: Mounter) -> None:
    for number, arguments in enumerate(((), ("--readahead", "128K"))):
        daemon = mount("p=pages:400p", *arguments, at=f"mnt{number}")
        assert mapfs("inject", daemon.file("p"), "error=EIO@200").stdout == "error=EIO@200\n"
        assert client("touch", daemon.file("p"), "199", "201")["numbers"] == [199, 201]
        touched = python(
            "import mmap, os, sys\nm = mmap.mmap(os.open(sys.argv[1], 0), 0, prot=mmap.PROT_READ)\nm[200 * 4096]",
            daemon.file("p"), check=False,
        )  # fmt: skip
        assert touched.returncode == -signal.SIGBUS
        assert client("read", daemon.file("p"), str(200 * PAGE), "1")["errno"] == errno.EIO
        assert "EIO: error=EIO was asked for on page 200" in daemon.wait_line("ERROR")
        assert mapfs("inject", daemon.file("p"), "--clear").returncode == 0
        assert client("touch", daemon.file("p"), "199-201")["numbers"] == [199, 200, 201]
        assert daemon.umount() == 0


def test_a_delay_with_many_waiters_holds_up_only_them(mount: Mounter) -> None:
    daemon = mount("slow=pages:256p,delay=1h@0-99", "quick=pages:256p", "--threads", "2", "-q", wait=False)
    daemon.wait_mounted()
    waiting = [Client("import mmap, os, sys\nm = mmap.mmap(os.open(sys.argv[1], 0), 0)\nm[int(sys.argv[2]) * 4096]"
                      .replace("0), 0)", "0), 0, prot=1)"), daemon.file("slow"), page) for page in range(64)]  # fmt: skip
    try:
        wait_until(lambda: daemon.stats()["daemon"]["waiting_demands"] == 64, "64 demands that wait")
        assert client("touch", daemon.file("quick"), "0-255")["numbers"] == list(range(256))
        assert client("touch", daemon.file("slow"), "100-255")["numbers"] == list(range(100, 256))
        assert daemon.stats()["daemon"]["pager_threads"] <= 3  # who is put off takes no thread
        began = time.monotonic()
        daemon.process.terminate()
        assert daemon.wait_end() == 0
        assert time.monotonic() - began < 60  # of an hour
        for one in waiting:
            assert one.process.wait(30) == -signal.SIGBUS
    finally:
        for one in waiting:
            one.__exit__()


def test_delays_end_when_a_mount_is_detached(mount: Mounter) -> None:
    daemon = mount("slow=pages:64p,delay=1h", "-q", wait=False).wait_mounted()
    code = "import mmap, os, sys\nm = mmap.mmap(os.open(sys.argv[1], 0), 0, prot=1)\nprint(m[int(sys.argv[2]) * 4096])"
    waiting = [Client(code, daemon.file("slow"), page) for page in range(8)]
    try:
        wait_until(lambda: daemon.stats()["daemon"]["waiting_demands"] == 8, "8 demands that wait")
        assert "is busy" in mapfs("umount", daemon.path, check=False).stderr
        assert "is detached" in mapfs("umount", "--lazy", daemon.path).stdout
        for page, one in enumerate(waiting):
            assert one.process.stdout and one.process.stdout.readline() == f"{page}\n"
            assert one.process.wait(30) == 0
        assert daemon.wait_end() == 0
    finally:
        for one in waiting:
            one.__exit__()


def test_a_delay_ends_when_its_time_has_come_and_probability_and_times_hold(mount: Mounter) -> None:
    daemon = mount("p=pages:64p", "-q", wait=False).wait_mounted()
    assert client("touch", daemon.file("p"), "0")["numbers"] == [0]
    mapfs("inject", daemon.file("p"), "delay=200ms@1", "error=ENXIO@2:2x", "corrupt=zero@3", "delay=1h@4:0.0")
    assert client("touch", daemon.file("p"), "1")["numbers"] == [1]
    (waited,) = [event["wait_ns"] for event in daemon.events() if event["page"] == 1]
    assert waited >= 200_000_000
    for wanted in ("errno", "errno", "data"):
        assert wanted in client("read", daemon.file("p"), str(2 * PAGE), "8")
        client("read", daemon.file("p"), "0", "8")
        break  # the kernel may ask more than once for a page that fails; that the rule ends is what counts
    wait_until(lambda: "data" in client("read", daemon.file("p"), str(2 * PAGE), "8"), "the end of the errors")
    assert client("read", daemon.file("p"), str(3 * PAGE), "8")["data"] == "00" * 8
    assert client("touch", daemon.file("p"), "4", "5")["numbers"] == [4, 5]


def test_faults_of_a_file_in_a_mirror_outlive_its_inode(mount: Mounter, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(8 * PAGE))
    daemon = mount(f"m=dir:{tmp_path}", "-q", wait=False).wait_mounted()
    mapfs("inject", daemon.file("m/data"), "error=EIO@3")
    Path("/proc/sys/vm/drop_caches").write_text("2") if not os.geteuid() else None
    assert client("read", daemon.file("m/data"), str(3 * PAGE), "1")["errno"] == errno.EIO
    assert client("read", daemon.file("m/data"), "0", "1") == {"data": "00"}


def test_dropped_pages_are_demanded_again(mount: Mounter) -> None:
    daemon = mount("p=pages:16p", "-q", wait=False).wait_mounted()
    with Holder(daemon.file("p"), "0-15") as holder:
        assert "3 pages" in mapfs("drop", daemon.file("p"), "3+5-6").stdout
        assert holder.release()["again"] == list(range(16))
    events = [(e["op"], e["class"], e["page"], e["pages"]) for e in daemon.events()]
    assert events[:16] == [("read", "COLD", page, 1) for page in range(16)]
    assert events[16:] == [
        ("drop", None, 3, 1), ("drop", None, 5, 2), *(("read", "REFAULT", page, 1) for page in (3, 5, 6)),
    ]  # fmt: skip
    assert "16 pages" in mapfs("drop", daemon.file("p")).stdout
    assert json.loads(mapfs("files", daemon.path, "--json").stdout)[0]["resident"] == 0


# what is refused

REFUSED: list[tuple[list[str], int, str]] = [
    (["add", "MNT", "p"], 2, "'p' is not NAME=SPEC"),
    (["add", "MNT", "p=zero:4K"], 2, "the name 'p' is given twice"),
    (["add", "MNT", "p/q=zero:4K"], 2, "needs 'p' to be a directory"),
    (["add", "MNT", "a/../b=zero:4K"], 2, "is not a name"),
    (["add", "MNT", ".mapfs/x=zero:4K"], 2, ".mapfs is the control directory"),
    (["add", "MNT", "n=nought:4K"], 2, "there is no source of the kind 'nought'"),
    (["add", "MNT", "n=zero:x"], 2, "n: 'x' is not a size"),
    (["add", "MNT", "n=file:/nowhere"], 1, "n: cannot open file '/nowhere': No such file or directory"),
    (["add", "MNT", "n=dir:MNT"], 1, "lies inside the mount point"),
    (["add", "MNT", "n=concat:file:MNT/p"], 1, "lies inside the mount point"),
    (["add", "MNT", "n=python:os:getcwd"], 2, "names code to run"),
    (["add", "MNT", "n=concat:zero:4K|python:os:getcwd"], 2, "names code to run"),
    (["add", "MNT", "n=fd:3"], 2, "fd:N is a descriptor that mapfs inherited"),
    (["add", "MNT", "n=zero:4K,coherency=often"], 2, "coherency=often is none of fixed, open, live, passthrough"),
    (["remove", "MNT", "nought"], 2, "'nought' is no file that was given or added"),
    (["remove", "MNT", "m/file"], 2, "'m/file' is no file that was given or added"),
    (["remove", "MNT", ".mapfs"], 2, ".mapfs is the control directory"),
    (["inject", "MNT/p", "error=EWHAT"], 2, "'EWHAT' is no name of an error"),
    (["inject", "MNT/p", "latency=3s"], 2, "'latency' is no kind of fault"),
    (["inject", "MNT/p", "delay=2h"], 2, "the longest is 1h"),
    (["inject", "MNT/p", "error=EIO@x"], 2, "names no pages"),
    (["inject", "MNT/m", "error=EIO"], 2, "is a directory; name a file in it"),
    (["inject", "MNT/nought", "error=EIO"], 1, "cannot look at"),
    (["inject", "/etc/hostname", "error=EIO"], 1, "is in no mapfs mount"),
    (["inject", "MNT/.mapfs/stats", "error=EIO"], 2, "is no file with pages"),
    (["drop", "MNT/p", "9-3"], 2, "ends before it begins"),
    (["commit", "MNT/p"], 2, "p has no overlay; serve it with the option cow"),
    (["discard", "MNT/m/file"], 2, "has no overlay"),
    (["files", "/tmp"], 1, "/tmp is no mapfs mount"),
    (["files", "/nowhere"], 1, "/nowhere is no mapfs mount"),
]


def test_what_is_refused_says_why_in_one_sentence_and_changes_nothing(mount: Mounter, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "file").write_bytes(b"x")
    daemon = mount("p=pages:8p", f"m=dir:{home}", "-q", wait=False).wait_mounted()
    before, listed = descriptors(daemon), mapfs("files", daemon.path, "--json").stdout
    for arguments, code, sentence in REFUSED:
        done = mapfs(*(word.replace("MNT", daemon.path) for word in arguments), check=False)
        assert (done.returncode, done.stdout) == (code, ""), (arguments, done)
        assert sentence in done.stderr, (arguments, done.stderr)
        assert done.stderr.count("\n") == 1 and done.stderr.startswith("mapfs: "), done.stderr
    assert mapfs("files", daemon.path, "--json").stdout == listed
    assert descriptors(daemon) == before


HOSTILE = [
    b"\n", b"x\n", b"{}\n", b"[]\n", b"null\n", b'{"do": 3}\n', b'{"do": "nothing"}\n', b'{"do": "add"}\n',
    b'{"do": "add", "name": 3, "spec": "zero:1"}\n', b'{"do": "add", "name": "x", "spec": "zero:1", "more": 1}\n',
    b'{"do": "add", "name": "", "spec": "zero:1"}\n', b'{"do": "add", "name": "\\ud800", "spec": "zero:1"}\n',
    b'{"do": "add", "name": "x", "spec": "text:\\ud800"}\n', b'{"do": "add", "name": "x\\u0000", "spec": "zero:1"}\n',
    b'{"do": "add", "name": "x", "spec": "file:/etc\\u0000/hosts"}\n', b'\xff\xfe\n', b'{"do": "files"\n',
    b'{"do": "remove", "name": "../../etc"}\n', b'{"do": "drop", "file": 99999999}\n', b'{"do": "drop", "file": -1}\n',
    b'{"do": "drop", "file": 1e400}\n', b'{"do": "drop", "file": "../p"}\n', b'{"do": "drop", "file": ""}\n',
    b'{"do": "inject", "file": "p", "rules": "error=EIO"}\n', b'{"do": "inject", "file": "p", "rules": [null]}\n',
    b'{"do": "drop", "file": "p", "pages": "999999999999999999999"}\n', b"[" * 100_000 + b"\n", b'{"do":"files"}' * 3 + b"\n",
]  # fmt: skip


def test_a_half_written_or_hostile_line_harms_nothing(mount: Mounter) -> None:
    daemon = mount("p=pages:8p", "-q", wait=False).wait_mounted()
    for line in HOSTILE:
        for answer in raw(daemon, line):
            assert answer["ok"] is False and answer["error"] and "\n" not in answer["error"], (line, answer)
    assert raw(daemon, b'{"do": "add", "name": "half", "spec": "zero:1') == []  # and closed
    assert raw(daemon, b'{"do": "a', b'dd", "name": "whole", ', b'"spec": "zero:4K"}\n{"do": "fi', b'les"}\n')[1]["ok"]
    fd = os.open(daemon.file(".mapfs/ctl"), os.O_RDWR)
    refused = 0
    for _ in range(40):
        try:
            os.write(fd, b"x" * (1 << 16))
        except OSError as error:
            refused = error.errno or 0
            break
    os.close(fd)
    assert refused == errno.EMSGSIZE
    assert sorted(row["name"] for row in ask(daemon.path, "files")["files"]) == ["p", "whole"]
    assert client("touch", daemon.file("p"), "3")["numbers"] == [3]
    assert daemon.umount() == 0


def test_ctl_is_its_owners_alone(mount: Mounter) -> None:
    if os.geteuid():
        pytest.skip("takes another user")
    daemon = mount("p=pages:8p", "--allow-other")
    assert os.stat(daemon.file(".mapfs/ctl")).st_mode & 0o777 == 0o600
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", 'echo "{}" > "$0"',
         daemon.file(".mapfs/ctl")], capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode != 0 and "Permission denied" in done.stderr


def test_many_clients_at_once_are_each_answered(mount: Mounter) -> None:
    daemon = mount("p=pages:8p", "-q", wait=False).wait_mounted()
    failed: list[object] = []

    def work(own: int) -> None:
        try:
            for turn in range(20):
                ask(daemon.path, "add", name=f"d/{own}-{turn}", spec="zero:4K")
                assert os.stat(daemon.file(f"d/{own}-{turn}")).st_size == 4096
                ask(daemon.path, "remove", name=f"d/{own}-{turn}")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(own,)) for own in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert [row["name"] for row in ask(daemon.path, "files")["files"]] == ["p"]
