"""Who got a page without a request, by whose request, and who waited for somebody else's."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mapfs.trace.reader import open_trace, trace_events
from tests.conftest import Mounter
from tests.containers.test_runc import config
from tests.support import ROOT, WITHIN, Client, Daemon

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the kernel's tracepoints are for root")
PAGE = os.sysconf("SC_PAGE_SIZE")

# touches the pages that it is told of, and says who it is; `fork N` has a child do so
TOUCH = f"""
import mmap, os, sys, threading
fd = os.open(sys.argv[1], os.O_RDONLY)
m = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
for line in sys.stdin:
    what, *pages = line.split() or ["who"]
    if what == "who":
        print(os.getpid())
    elif what == "touch":
        for page in pages: m[int(page) * {PAGE}]
        print("done")
    elif what == "read":
        for page in pages: os.pread(fd, {PAGE}, int(page) * {PAGE})
        print("done")
    elif what == "drop":
        os.posix_fadvise(fd, int(pages[0]) * {PAGE}, int(pages[1]) * {PAGE}, os.POSIX_FADV_DONTNEED)
        print("done")
    elif what == "fork":
        child = os.fork()
        if not child:
            for page in pages: m[int(page) * {PAGE}]
            os._exit(0)
        os.waitpid(child, 0)
        print(child)
"""


@contextmanager
def toucher(path: str) -> Iterator[tuple[Client, int]]:
    """A process that has `path` mapped, and its pid."""
    with Client(TOUCH, path) as client:
        yield client, int(client.ask())


@pytest.fixture
def served(mount: Mounter) -> Daemon:
    return mount("a=pages:512p", "slow=pages:64p,delay=2s", "-q", "--evidence", "kernel", wait=False).wait_mounted()


def told(daemon: Daemon, **wanted: Any) -> list[tuple[Any, ...]]:
    """Class, first page, number of pages, pid, and whose pages they were, of the events that are as `wanted`."""
    return [
        (one["class"], one["page"], one["pages"], one["pid"], one["by"] and one["by"]["pid"])
        for one in daemon.all_events()
        if all(one[key] == value for key, value in wanted.items())
    ]


def test_a_second_process_shares_what_the_first_brought_in(served: Daemon) -> None:
    with toucher(served.file("a")) as (one, first), toucher(served.file("a")) as (two, second):
        one.ask("touch 3 200")
        two.ask("touch 3 200 400")
        one.ask("touch 400 3")
        assert told(served) == [
            ("COLD", 3, 1, first, None),
            ("COLD", 200, 1, first, None),
            ("SHARED", 3, 1, second, first),
            ("SHARED", 200, 1, second, first),
            ("COLD", 400, 1, second, None),
            ("SHARED", 400, 1, first, second),
        ]
        shared = [one for one in served.all_events() if one["class"] == "SHARED"]
    assert {one["op"] for one in shared} == {"fault"} and {one["via"] for one in shared} == {"fault"}
    assert {one["by"]["command"] for one in shared} == {"python3"} or all(one["by"]["command"] for one in shared)
    assert served.stats()["faults"] == {"?": 0, "AHEAD": 0, "SHARED": 3, "JOINED": 0}


def test_a_forked_child_shares_its_parents_pages(served: Daemon) -> None:
    with toucher(served.file("a")) as (parent, pid):
        parent.ask("touch 3 200")
        child = int(parent.ask("fork 3 200 400"))
        assert told(served) == [
            ("COLD", 3, 1, pid, None),
            ("COLD", 200, 1, pid, None),
            ("SHARED", 3, 1, child, pid),
            ("SHARED", 200, 1, child, pid),
            ("COLD", 400, 1, child, None),
        ]


def test_pages_that_are_mapped_around_a_touched_one_are_shared_too(served: Daemon) -> None:
    with toucher(served.file("a")) as (one, first), toucher(served.file("a")) as (two, second):
        one.ask("touch 32 33 34 40")
        two.ask("touch 33")
        assert told(served, **{"class": "SHARED"}) == [
            ("SHARED", 32, 3, second, first),
            ("SHARED", 40, 1, second, first),
        ]
        two.ask("touch 32 33 34 40")
        assert len(told(served)) == 6, "what it has already is no news"


def test_read_2_shares_as_a_mapping_does(served: Daemon) -> None:
    with toucher(served.file("a")) as (one, first), toucher(served.file("a")) as (two, second):
        one.ask("read 7")
        two.ask("read 7")
        two.ask("read 8")
        one.ask("touch 8")
        events = served.all_events()
    assert [(one["op"], one["class"], one["via"], one["page"], one["pid"]) for one in events] == [
        ("read", "COLD", "read", 7, first),
        ("hit", "SHARED", "read", 7, second),
        ("read", "COLD", "read", 8, second),
        ("fault", "SHARED", "fault", 8, first),
    ]


def test_two_of_three_join_the_request_for_a_slow_page(served: Daemon) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(toucher(served.file("slow"))) for _ in range(3)]
        for client, _ in clients:
            assert client.process.stdin
            client.process.stdin.write("touch 5\n")
            client.process.stdin.flush()
        for client, _ in clients:
            client.ask()
        events = served.all_events()
    cold, *joined = sorted(events, key=lambda one: one["class"])
    assert (cold["class"], cold["via"], cold["demanded"]) == ("COLD", "fault", 5)
    assert cold["wait_ns"] >= 2_000_000_000 and cold["total_ns"] > cold["wait_ns"]
    assert [(one["op"], one["class"], one["page"], one["pages"], one["by"]["pid"]) for one in joined] == [
        ("fault", "JOINED", 5, 1, cold["pid"])
    ] * 2
    assert {cold["pid"], *(one["pid"] for one in joined)} == {pid for _, pid in clients}
    assert all(0 < one["wait_ns"] < one["total_ns"] for one in joined)


THREADS = f"""
import ctypes, mmap, os, sys, threading
fd = os.open(sys.argv[1], os.O_RDONLY)
m = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE)
base = ctypes.addressof(ctypes.c_char.from_buffer(m))
memcpy = ctypes.CDLL(None).memcpy  # called without the interpreter's lock
memcpy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
start = threading.Barrier(8)
def touch(number):
    target = ctypes.create_string_buffer(1)
    start.wait()
    memcpy(target, base + 9 * {PAGE}, 1)
    memcpy(target, base + (100 + 20 * number) * {PAGE}, 1)
threads = [threading.Thread(target=touch, args=(n,)) for n in range(8)]
for t in threads: t.start()
for t in threads: t.join()
print(os.getpid(), *(t.native_id for t in threads))
"""


def test_eight_threads_are_told_apart(mount: Mounter) -> None:
    daemon = mount("f=pages:512p,delay=2s", "-q", "--evidence", "kernel", wait=False).wait_mounted()
    done = subprocess.run(
        [sys.executable, "-c", THREADS, daemon.file("f")], capture_output=True, text=True, timeout=WITHIN, check=True
    )
    pid, *tids = map(int, done.stdout.split())
    events = [one for one in daemon.all_events() if one["page"] == 9]
    cold = [one for one in events if one["class"] == "COLD"]
    joined = [one for one in events if one["class"] == "JOINED"]
    assert len(cold) == 1 and len(events) == 8
    assert {one["by"]["tid"] for one in joined} == {cold[0]["tid"]}
    assert all(one["wait_ns"] > 50_000_000 for one in joined)
    assert sorted([cold[0]["tid"], *(one["tid"] for one in joined)]) == sorted(tids)
    own = [one for one in daemon.all_events() if one["page"] >= 100]
    assert sorted((one["page"], one["class"], one["tid"]) for one in own) == [
        (100 + 20 * number, "COLD", tid) for number, tid in enumerate(tids)
    ]
    assert {one["pid"] for one in daemon.all_events()} == {pid}


def test_what_is_read_ahead_is_ahead_when_it_is_touched(mount: Mounter) -> None:
    daemon = mount("a=pages:512p", "-q", "--readahead", "128K", "--evidence", "kernel", wait=False).wait_mounted()
    with toucher(daemon.file("a")) as (one, first), toucher(daemon.file("a")) as (two, second):
        one.ask("touch 100")
        request, *around = daemon.all_events()
        assert (request["class"], request["pages"], request["demanded"]) == ("COLD", 32, 100)
        brought = range(request["page"], request["page"] + 32)
        assert {(one["class"], one["pid"]) for one in around} == {("AHEAD", first)}
        ahead = {page for one in around for page in range(one["page"], one["page"] + one["pages"])}
        assert ahead and ahead < set(brought) and 100 not in ahead, "the kernel maps what it has around the page"
        two.ask("touch 100")
        shared = told(daemon, **{"class": "SHARED"})
        assert {one[3:] for one in shared} == {(second, first)}
        assert {page for one in shared for page in range(one[1], one[1] + one[2])} >= ahead | {100}


def test_pages_that_leave_the_cache_are_told_and_asked_for_again(served: Daemon) -> None:
    with toucher(served.file("a")) as (one, pid):
        one.ask("read 3 4 5 7")
        one.ask("drop 3 5")
        one.ask("read 4")
        evicted = [one for one in served.all_events() if one["op"] == "evict"]
        assert {(one["pid"], one["class"]) for one in evicted} == {(pid, None)}
        # the kernel's order, and so the runs: a page in a CPU's batch for the LRU list leaves at a second attempt
        assert sorted(page for one in evicted for page in range(one["page"], one["page"] + one["pages"])) == [
            3,
            4,
            5,
            7,
        ]
        assert told(served, op="read")[-1] == ("REFAULT", 4, 1, pid, None)
        assert served.stats()["evicted"] == 4


def test_what_mapfs_drops_is_a_drop_and_no_eviction(served: Daemon) -> None:
    with toucher(served.file("a")) as (one, pid):
        one.ask("touch 3 4")
        done = subprocess.run(
            [sys.executable, "-m", "mapfs", "drop", served.file("a")],
            cwd=ROOT, capture_output=True, timeout=WITHIN, check=False,
        )  # fmt: skip
        assert done.returncode == 0
        one.ask("touch 4")
        assert [one["op"] for one in served.all_events()] == ["read", "read", "drop", "read"]
        assert told(served)[-1] == ("REFAULT", 4, 1, pid, None)


def test_a_store_shares_a_page_that_another_stored(mount: Mounter) -> None:
    daemon = mount("w=memfd:64p", "-q", "--evidence", "kernel", wait=False).wait_mounted()
    code = f"""
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 0)
for line in sys.stdin:
    m[int(line) * {PAGE}] = 1
    print(os.getpid())
"""
    with Client(code, daemon.file("w")) as one, Client(code, daemon.file("w")) as two:
        first, second = int(one.ask("3")), int(two.ask("3"))
        assert told(daemon, op="read") == [("COLD", 3, 1, first, None)]
        assert told(daemon, op="fault") == [("SHARED", 3, 1, second, first)]


@pytest.mark.skipif(shutil.which("runc") is None, reason="needs runc: apt-get install runc")
def test_two_containers_are_told_apart(served: Daemon, tmp_path: Path) -> None:
    cgroups = Path("/sys/fs/cgroup")
    for name in ("one", "two"):
        bundle = tmp_path / name
        (bundle / "root").mkdir(parents=True)
        made = config(bundle)
        made["process"]["args"] = [
            sys.executable, "-c", f"import mmap; f = open('/mnt/a'); m = mmap.mmap(f.fileno(), 0, prot=1); m[77 * {PAGE}]",
        ]  # fmt: skip
        made["mounts"].append({"destination": "/mnt", "type": "bind", "source": served.path, "options": ["rbind"]})
        made["linux"]["cgroupsPath"] = f"/mapfs-test-{os.getpid()}-{name}/{(name.encode().hex() * 11)[:64]:0<64}"
        (bundle / "config.json").write_text(json.dumps(made))
        state = tmp_path / f"state-{name}"
        identity = f"mapfs-test-{os.getpid()}-{name}"
        command = ["runc", "--root", str(state)]
        try:
            done = subprocess.run(
                [*command, "run", "--bundle", str(bundle), identity],
                capture_output=True, text=True, timeout=WITHIN, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        finally:
            subprocess.run([*command, "delete", "--force", identity], capture_output=True, timeout=WITHIN, check=False)
            for parent in (
                *cgroups.glob(identity),
                *cgroups.glob(f"*/{identity}"),
            ):  # runc leaves the one above its own
                parent.rmdir()
    cold, shared = served.all_events()
    assert (cold["class"], shared["class"], shared["page"]) == ("COLD", "SHARED", 77)
    assert shared["by"]["pid"] == cold["pid"] != shared["pid"]
    assert cold["container"] and shared["container"] and cold["container"] != shared["container"]


def test_the_trace_and_the_mount_say_the_same(mount: Mounter, tmp_path: Path) -> None:
    daemon = mount("a=pages:512p", "-q", "--trace", str(tmp_path / "t.db"), wait=False).wait_mounted()
    with toucher(daemon.file("a")) as (one, _), toucher(daemon.file("a")) as (two, _):
        one.ask("touch 3 200")
        two.ask("touch 3 200 400")
        one.ask("drop 0 512")
        events = daemon.all_events()
    assert daemon.umount() == 0
    connection = open_trace(str(tmp_path / "t.db")).connection
    stored = list(trace_events(connection))
    for event in stored:
        del event["serial"]
    assert stored[: len(events)] == events
    assert connection.execute("SELECT evidence FROM mount").fetchone() == ("kernel",)
