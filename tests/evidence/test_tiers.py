"""Which evidence there is: for root, for a plain user, and when something is missing."""

import json
import os
import sqlite3
import subprocess
import sys
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mapfs.trace.barrier import Barrier
from mapfs.trace.evidence import bpf, faults, perf
from mapfs.trace.evidence.sample import TOUCHED_MAJOR, TOUCHED_MINOR
from tests.conftest import Mounter
from tests.evidence.test_sharing import TOUCH, told, toucher
from tests.mount.test_places import needs_root
from tests.support import ROOT, WITHIN, Client, mapfs

PAGE = os.sysconf("SC_PAGE_SIZE")
SHARERS = """
set -eu
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
mount --bind "$NODE" /dev/fuse
mount --bind "$CONF" /etc/fuse.conf
as_nobody "$PYTHON" -m mapfs mount --daemon --allow-other --trace "$TRACE" "$MNT" a=pages:512p 2>&1
trap 'as_nobody "$PYTHON" -m mapfs umount "$MNT"' EXIT
touch='import mmap, os, sys
m = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)
for page in sys.argv[2:]: m[int(page) * mmap.PAGESIZE]
print(os.getpid())'
as_nobody "$PYTHON" -c "$touch" "$MNT/a" 3 200 >&2
as_nobody "$PYTHON" -c "$touch" "$MNT/a" 3 200 400 >&2
"$PYTHON" -c "$touch" "$MNT/a" 3 200 400 480 >&2
as_nobody "$PYTHON" -m mapfs log --json "$MNT"
as_nobody cat "$MNT/.mapfs/stats"
"""


@pytest.mark.timeout(700)
@needs_root
def test_a_plain_user_sees_the_sharing_of_its_own_processes_alone(
    readable_python: str,
    tmp_path: Path,
) -> None:
    home = Path(readable_python).parents[2]
    place = home / "sharers"
    place.mkdir()
    os.chown(place, 65534, 65534)
    node, conf = tmp_path / "fuse", tmp_path / "fuse.conf"
    os.mknod(node, 0o666 | 0o020000, os.makedev(10, 229))
    os.chmod(node, 0o666)
    conf.write_text("user_allow_other\n")
    done = subprocess.run(
        ["unshare", "--mount", "--", "bash", "-c", SHARERS],
        env={
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "NODE": str(node), "CONF": str(conf), "PYTHON": readable_python,
            "MNT": str(place / "mnt"), "TRACE": str(place / "t.db"), "HOME": str(place), "PYTHONDONTWRITEBYTECODE": "1",
        },
        cwd=home / "src", capture_output=True, text=True, timeout=WITHIN * 3, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    first, second, roots = (int(line) for line in done.stderr.split() if line.isdigit())
    *events, stats = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert stats["evidence"] == "faults"
    assert [(one["class"], one["via"], one["page"], one["pid"], one["by"] and one["by"]["pid"]) for one in events] == [
        ("COLD", "fault", 3, first, None),
        ("COLD", "fault", 200, first, None),
        ("SHARED", "fault", 3, second, first),
        ("SHARED", "fault", 200, second, first),
        ("COLD", "fault", 400, second, None),
        ("COLD", "?", 480, roots, None),
    ]
    watched = {pid for (pid,) in sqlite3.connect(place / "t.db").execute("SELECT pid FROM watched")}
    assert {first, second} <= watched and roots not in watched


# touches the pages that it is told of, first of all after it was told to go on
SLOWLY = f"""
import mmap, os, sys
print(os.getpid())
sys.stdin.readline()
m = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)
for page in sys.argv[2:]: m[int(page) * {PAGE}]
"""


@needs_root
def test_both_tiers_see_the_same_faults(mount: Mounter) -> None:
    daemon = mount("a=pages:4096p", "-q", "--evidence", "kernel", wait=False).wait_mounted()
    pages = [str(page) for page in range(0, 4096, 16)]  # one of each window that the kernel maps at once
    rings, fds = faults.open_rings(), list[int]()
    attacher, maps = faults.Attacher(rings), faults.Maps(os.stat(daemon.path).st_dev)
    try:
        for number, mine in enumerate((pages[:150], pages[100:])):
            with subprocess.Popen(
                [sys.executable, "-u", "-c", SLOWLY, daemon.file("a"), *mine],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            ) as process:  # fmt: skip
                assert process.stdout
                pid = int(process.stdout.readline())
                fds += attacher.attach(pid, number)
                process.communicate(b"\n", timeout=WITHIN)
        taken = perf.take([ring for _, ring in rings], Barrier())
        maps.add([(role, data) for (role, _), data in zip(rings, taken, strict=True)])
        lost = sum(perf.LostCount(fd).more() for fd in fds)
        samples = maps.take(1 << 62)
    finally:
        perf.close_all(fds)
        for _, ring in rings:
            ring.close()
    assert lost == 0 and len(fds) >= 4
    seen: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for one in samples:
        if one.kind in (TOUCHED_MAJOR, TOUCHED_MINOR):
            seen[one.kind].add((one.tid, one.first))
    by_class: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for event in daemon.all_events():
        by_class[event["class"]].add((event["tid"], event["page"]))
    assert seen[TOUCHED_MAJOR] == by_class["COLD"] and len(by_class["COLD"]) == 256
    assert seen[TOUCHED_MINOR] == by_class["SHARED"] and len(by_class["SHARED"]) == 50


@needs_root
def test_faults_alone_name_who_shares(mount: Mounter) -> None:
    daemon = mount("a=pages:512p", "-q", "--evidence", "faults", wait=False).wait_mounted()
    with toucher(daemon.file("a")) as (one, first), toucher(daemon.file("a")) as (two, second):
        one.ask("touch 3 200")
        two.ask("touch 3 200 400")
        child = int(two.ask("fork 3 200 401"))
        assert told(daemon) == [
            ("COLD", 3, 1, first, None),
            ("COLD", 200, 1, first, None),
            ("SHARED", 3, 1, second, first),
            ("SHARED", 200, 1, second, first),
            ("COLD", 400, 1, second, None),
            ("SHARED", 3, 1, child, first),
            ("SHARED", 200, 1, child, first),
            ("COLD", 401, 1, child, None),
        ]
        assert {one["via"] for one in daemon.all_events()} == {"fault"}
        one.ask("read 77")
        assert [one["via"] for one in daemon.all_events() if one["page"] == 77] == ["?"]


def test_requests_alone_tell_of_no_sharing(mount: Mounter) -> None:
    daemon = mount("a=pages:512p", "-q", "--evidence", "requests", wait=False).wait_mounted()
    with toucher(daemon.file("a")) as (one, first), toucher(daemon.file("a")) as (two, _):
        one.ask("touch 3")
        two.ask("touch 3")
        (event,) = daemon.all_events()
    assert (event["class"], event["via"], event["total_ns"], event["pid"]) == ("COLD", "?", None, first)
    assert daemon.stats()["evidence"] == "requests"


def instances() -> set[str]:
    return set(os.listdir("/sys/kernel/tracing/instances"))


@needs_root
def test_nothing_is_left_in_the_kernel_after_kill_9(mount: Mounter) -> None:
    before = instances()
    daemon = mount("a=pages:512p", "-q", "--evidence", "kernel", wait=False).wait_mounted()
    with toucher(daemon.file("a")) as (one, _):
        one.ask("touch 3")
        recorder = daemon.stats()["recorder_pid"]
        assert perf_descriptors(recorder) and perf_descriptors(daemon.process.pid)
        os.kill(recorder, 9)
        daemon.process.kill()
        daemon.process.wait(WITHIN)
    assert instances() == before, "samples come by descriptors, which end with their processes"
    assert mapfs("umount", daemon.path).returncode == 0


def perf_descriptors(pid: int) -> int:
    """How many events of perf the process holds."""
    names = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # it was closed
            names.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return sum("perf_event" in name for name in names)


@needs_root
def test_rings_are_gone_with_the_mount(mount: Mounter) -> None:
    daemon = mount("a=pages:512p", "-q", "--evidence", "kernel", wait=False).wait_mounted()
    recorder = daemon.stats()["recorder_pid"]
    assert daemon.umount() == 0
    assert not os.path.exists(f"/proc/{recorder}")


def run(*args: str) -> int:
    """How long the program took, ms."""
    return int(subprocess.run(args, capture_output=True, text=True, timeout=WITHIN * 2, check=True).stdout)


@needs_root
@pytest.mark.parametrize("rate", [50_000, 0], ids=["50000", "unbounded"])
def test_no_fault_is_lost_unreported(mount: Mounter, fast: str, tmp_path: Path, rate: int) -> None:
    faults = 50_000
    daemon = mount(
        f"a=pages:{16 * faults}p", "-q", "--evidence", "kernel", "--trace", str(tmp_path / "t.db"), wait=False
    ).wait_mounted()
    run(fast, daemon.file("a"), str(16 * faults), "12000")
    stats = daemon.counted()
    before = stats["lost_samples"]
    assert stats["classes"]["COLD"] + stats["lost"] == faults
    taken = run(fast, daemon.file("a"), str(16 * faults), str(rate))
    if rate:
        assert taken >= faults * 1000 // rate
    stats = daemon.counted()
    cold, again = stats["classes"]["COLD"], stats["classes"]["REFAULT"]  # the machine may reclaim idle pages
    assert cold + stats["lost"] == faults
    assert stats["faults"]["SHARED"] + again + stats["lost_samples"] - before >= cold >= stats["faults"]["SHARED"]
    assert daemon.umount() == 0
    connection = sqlite3.connect(tmp_path / "t.db")
    shared = connection.execute("SELECT count(*), count(DISTINCT offset) FROM faults WHERE class = 'SHARED'").fetchone()
    reported = connection.execute("SELECT coalesce(sum(count), 0) FROM losses WHERE what = 'samples'").fetchone()[0]
    assert shared == (stats["faults"]["SHARED"],) * 2
    assert reported == stats["lost_samples"]


NESTED = """
set -eu
"$PYTHON" -m mapfs mount --daemon --evidence kernel "$MNT" a=pages:512p 2>&1
trap '"$PYTHON" -m mapfs umount "$MNT"' EXIT
touch='import mmap, os, sys
m = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)
m[3 * mmap.PAGESIZE]
print(os.getpid())'
"$PYTHON" -c "$touch" "$MNT/a" >&2
"$PYTHON" -c "$touch" "$MNT/a" >&2
"$PYTHON" -m mapfs log --json "$MNT"
"""


@needs_root
def test_in_a_pid_namespace_processes_have_its_numbers(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", "--mount", "--kill-child", "--", "bash", "-c", NESTED],
        env={**os.environ, "PYTHON": sys.executable, "MNT": str(tmp_path / "mnt")},
        cwd=ROOT, capture_output=True, text=True, timeout=WITHIN, check=True,
    )  # fmt: skip
    first, second = map(int, done.stderr.split()[-2:])
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert first < 1000, "the numbers are those of the namespace"
    assert [(one["op"], one["class"], one["via"], one["pid"], one["by"]) for one in events if one["page"] == 3] == [
        ("read", "COLD", "fault", first, None),
        ("fault", "SHARED", "fault", second, {"tid": first, "pid": first, "command": events[0]["command"]}),
    ]


@needs_root
def test_a_program_that_the_kernel_refuses_is_a_clear_error() -> None:
    with pytest.raises(OSError, match="R0 !read_ok") as failed:
        bpf.load(bpf.instruction(0x95))  # it ends with nothing to return
    assert "verifier refused a program" in str(bpf.remedy(failed.value))


def test_evidence_that_cannot_be_had_is_a_clear_error(tmp_path: Path) -> None:
    done = mapfs("mount", str(tmp_path / "x"), "--link=plain", "--evidence", "kernel", check=False)
    assert done.returncode == 2 and "--evidence needs the own link" in done.stderr
    (tmp_path / "m.toml").write_text('evidence = "all"\n[files]\na = "pages:4p"\n')
    done = mapfs("mount", str(tmp_path / "x"), "-c", str(tmp_path / "m.toml"), check=False)
    assert done.returncode == 2 and "evidence must be auto, requests, faults or kernel" in done.stderr
    assert not (tmp_path / "x").exists()


@needs_root
def test_doctor_says_which_tier_and_why(tmp_path: Path) -> None:
    findings = json.loads(mapfs("doctor", "--json").stdout)
    (kernel,) = [one for one in findings if "evidence" in one["what"]]
    assert kernel["state"] == "ok" and "kernel" in kernel["what"]
    code = "import os, sys; os.setgid(65534); os.setuid(65534); from mapfs.commands.doctor import evidence\n" \
        "import msgspec, dataclasses; print(msgspec.json.encode([dataclasses.asdict(f) for f in evidence()]).decode())"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:  # where others may read this checkout
        said: list[dict[str, Any]] = json.loads(done.stdout)
        assert any(one["remedy"] and "root" in one["remedy"] for one in said)


def test_a_toucher_that_is_used_in_these_tests_touches(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * PAGE * 4)
    with Client(TOUCH, tmp_path / "f") as client:
        assert int(client.ask()) == client.process.pid and client.ask("touch 0 3") == "done"
