"""Ground truth: what mapfs recorded, page for page, against an independent reader of the kernel's tracepoints.

Over real programs: every page that entered the page cache of the mount is explained by exactly one event, every page
that an event brought in did enter, and who demanded it by a page fault is the thread that the kernel saw fault.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import lmdb
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pytest

from mapfs.trace.events import OPS
from mapfs.trace.reader import open_trace
from tests.conftest import Mounter
from tests.evidence.tracefs import Instance, Seen, watching
from tests.support import ROOT, WITHIN, Daemon

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the kernel's tracepoints are for root")
PAGE = os.sysconf("SC_PAGE_SIZE")
SLACK = 2  # us: the lines of the kernel are rounded
BETWEEN = 5_000  # us between the sample of perf and the line of the same tracepoint, of a thread that may be preempted


@dataclass
class Brought:
    """A request that may have brought pages in; times in us."""

    op: str
    cls: str | None
    via: str | None
    demanded: int | None
    tid: int
    inodes: frozenset[int]
    first: int
    last: int
    arrived: int
    answered: int
    unused: set[int]


@dataclass
class Trace:
    requests: list[Brought]
    faults: list[tuple[int, str | None, int, frozenset[int], int, int]]  # us, class, tid, inodes, first, last


def recorded(path: Path) -> Trace:
    """A trace, by its tables alone."""
    connection = open_trace(str(path)).connection
    assert connection.execute("SELECT count(*) FROM losses").fetchone() == (0,)
    inodes: dict[int, frozenset[int]] = defaultdict(frozenset)
    for inode, file in connection.execute("SELECT inode, file FROM inodes"):
        inodes[file] |= {inode}
    requests = [
        Brought(
            OPS[op], cls, via, demanded, tid, inodes[file], offset // PAGE, (offset + size - 1) // PAGE,
            time_ns // 1000, (time_ns + wait_ns) // 1000, set(range(offset // PAGE, (offset + size - 1) // PAGE + 1)),
        )
        for op, cls, via, demanded, tid, file, offset, size, time_ns, wait_ns in connection.execute(
            "SELECT op, class, via, demanded, tid, file, offset, size, time_ns, wait_ns "
            "FROM requests WHERE errno = 0 AND size > 0 ORDER BY time_ns"
        )
    ]  # fmt: skip
    faults = [
        (time_ns // 1000, cls, tid, inodes[file], offset // PAGE, (offset + size - 1) // PAGE)
        for time_ns, cls, tid, file, offset, size in connection.execute(
            "SELECT time_ns, class, tid, file, offset, size FROM faults"
        )
    ]
    return Trace(requests, faults)


def explain(seen: list[Seen], trace: Trace) -> None:
    """Asserts that insertions and requests are the same, page for page."""
    by_page: dict[tuple[int, int], list[Brought]] = defaultdict(list)
    for request in trace.requests:
        for inode in request.inodes:
            for page in request.unused:
                by_page[inode, page].append(request)
    there: dict[tuple[int, int], list[tuple[int, str]]] = defaultdict(list)  # since when: why it is there, or not
    for one in seen:
        for page in range(one.first, one.last + 1):
            key = (one.inode, page)
            if one.point == "delete_from_page_cache":
                there[key].append((one.time, ""))
            elif one.point == "add_to_page_cache":
                why = _why(one, page, by_page[key])
                assert why is not None, f"page {page} of inode {one.inode} entered the cache unexplained: {one}"
                why.unused.discard(page)
                there[key].append((one.time, why.op))
    for request in trace.requests:
        if request.op not in ("read", "push"):
            continue
        for page in request.unused:
            before = [
                why
                for inode in request.inodes
                for time, why in there.get((inode, page), ())
                if time <= (request.arrived if request.op == "read" else request.answered) + SLACK
            ]
            # a push may replace what is there; of a page that write(2) put there in part, the kernel reads the rest
            allowed = before and (before[-1] if request.op == "push" else before[-1] == "write")
            assert allowed, f"page {page} of {request} did not enter the cache"


def _why(one: Seen, page: int, requests: list[Brought]) -> Brought | None:
    """The request that explains an insertion: by the same thread, which sends it right after."""
    for request in requests:
        if page not in request.unused:
            continue
        if request.op == "push" and request.arrived - SLACK <= one.time <= request.answered + SLACK:
            return request
        if request.op in ("read", "write") and request.tid == one.tid and request.arrived + SLACK >= one.time:
            return request
    return None


def check_demands(seen: list[Seen], trace: Trace) -> int:
    """Asserts that each demand by a fault has the kernel's fault, and the other way round; how many there are."""
    faults: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    added: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for one in seen:
        if one.point == "fault":
            faults[one.tid, one.inode, one.first].append(one.time)
        elif one.point == "add_to_page_cache":
            added[one.tid, one.inode, one.first].append(one.time)
    demanded: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for request in trace.requests:
        if request.op == "read" and request.via == "fault":
            assert request.demanded is not None
            keys = [(request.tid, inode, request.demanded) for inode in request.inodes]
            for key in keys:
                demanded[key].append(request.arrived)
            # the thread may have asked with madvise(2) right before: then it faults while its request is on the way
            latest = min(request.arrived + BETWEEN, request.answered + SLACK)
            times = [time for key in keys for time in faults.get(key, ())]
            assert min(times, default=1 << 62) <= latest, f"{request} has no fault of the kernel"
    count = 0
    for key, times in faults.items():
        for time in times:
            later = min((one for one in times if one > time), default=1 << 62)
            inserted = [one for one in added[key] if time - SLACK <= one < later]
            if inserted:
                count += 1
                answered = [one for one in demanded[key] if time - SLACK <= one]
                near = [one for one in trace.requests if key[1] in one.inodes and one.first <= key[2] <= one.last]
                assert answered, (
                    f"the kernel saw thread {key[0]} fault on page {key[2]} of inode {key[1]}, mapfs did not at {time}: {near} {[o for o in seen if o.tid == key[0] and abs(o.time - time) < 3000]}"
                )
    return count


def check_hits(seen: list[Seen], trace: Trace) -> None:
    """Asserts of each page that a process got without a request: the kernel gave it then, and it had been inserted."""
    given: dict[int, list[Seen]] = defaultdict(list)
    first_added: dict[tuple[int, int], int] = {}
    for one in seen:
        if one.point in ("fault", "map_pages", "get_pages"):
            given[one.tid].append(one)
        elif one.point == "add_to_page_cache":
            for page in range(one.first, one.last + 1):
                first_added.setdefault((one.inode, page), one.time)
    for time, cls, tid, inodes, first, last in trace.faults:
        fits = [
            one
            for one in given[tid]
            if one.inode in inodes and one.first <= first and last <= one.last and abs(one.time - time) <= BETWEEN
        ]
        near = sorted(given[tid], key=lambda one: abs(one.time - time))[:3]
        assert fits, (
            f"{cls} of pages {first}-{last} of inode {inodes} by {tid}: the kernel gave nothing at {time}, but {near}"
        )
        for page in range(first, last + 1):
            assert min(first_added.get((inode, page), 1 << 62) for inode in inodes) <= time + BETWEEN


def check(instance: Instance, daemon: Daemon, trace: Path) -> Trace:
    """All of it, once the mount has ended."""
    # the names in a directory are in the page cache, too: no pages of a file
    directories = {os.stat(directory).st_ino for directory, _, _ in os.walk(daemon.path)}
    seen = [one for one in instance.read() if one.inode not in directories]
    assert daemon.umount() == 0
    found = recorded(trace)
    explain(seen, found)
    assert check_demands(seen, found) > 0
    check_hits(seen, found)
    return found


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace.db"


def run(*args: str, **environment: str) -> bytes:
    done = subprocess.run(
        args, capture_output=True, timeout=WITHIN, check=False, cwd=ROOT, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize("readahead", ["0", "128K"])
def test_an_import(mount: Mounter, tmp_path: Path, trace: Path, readahead: str) -> None:
    package = os.path.dirname(np.__file__)
    files = [f"numpy=dir:{package}", *([f"numpy.libs=dir:{package}.libs"] if os.path.isdir(f"{package}.libs") else [])]
    daemon = mount(*files, "-q", "--trace", str(trace), "--readahead", readahead, wait=False)
    daemon.wait_mounted()
    with watching(daemon.path) as instance:
        for _ in range(2):
            out = run(sys.executable, "-c", "import numpy; print(numpy.__file__)", PYTHONPATH=daemon.path)
            assert out.decode().startswith(daemon.path)
        found = check(instance, daemon, trace)
    assert any(cls == "SHARED" for _, cls, *_ in found.faults), "the second import shares what the first brought in"


def test_an_executable_with_its_libraries(mount: Mounter, tmp_path: Path, trace: Path) -> None:
    program = shutil.which("git")
    assert program
    libraries = tmp_path / "lib"
    libraries.mkdir()
    loader = ""
    for line in run("ldd", program).decode().splitlines():
        for word in line.split():
            if word.startswith("/"):
                shutil.copy(word, libraries)
                if "ld-linux" in word:
                    loader = os.path.basename(word)
    shutil.copy(program, tmp_path / "lib" / "program")
    daemon = mount(f"lib=dir:{libraries}", "-q", "--trace", str(trace), wait=False).wait_mounted()
    with watching(daemon.path) as instance:
        where = daemon.file("lib")
        for _ in range(2):
            out = run(f"{where}/{loader}", "--library-path", where, f"{where}/program", "--version")
            assert out == run(program, "--version")
        found = check(instance, daemon, trace)
    assert {one.via for one in found.requests} == {"fault", "read"}, [one for one in found.requests if one.via is None]


def test_sqlite(mount: Mounter, tmp_path: Path, trace: Path) -> None:
    (tmp_path / "data").mkdir()
    daemon = mount(f"data=dir:{tmp_path}/data,rw", "-q", "--trace", str(trace), wait=False).wait_mounted()
    code = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("PRAGMA mmap_size = 100000000")
db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)")
for n in range(5):
    with db:
        db.executemany("INSERT INTO t (x) VALUES (?)", ((f"{n} {m} " * 20,) for m in range(500)))
with db:
    db.execute("UPDATE t SET x = 'changed' WHERE id % 7 = 0")
print(db.execute("SELECT count(*), sum(length(x)) FROM t").fetchone())
"""
    with watching(daemon.path) as instance:
        first = run(sys.executable, "-c", code, daemon.file("data/a.db"))
        reader = "import sqlite3,sys; d=sqlite3.connect(sys.argv[1]); d.execute('PRAGMA mmap_size=100000000'); " \
            "print(d.execute('SELECT count(*), sum(length(x)) FROM t').fetchone())"  # fmt: skip
        subprocess.run(["sh", "-c", "echo 3 > /proc/sys/vm/drop_caches"], check=True)
        assert run(sys.executable, "-c", reader, daemon.file("data/a.db")) == first
        check(instance, daemon, trace)
    assert sqlite3.connect(tmp_path / "data" / "a.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_lmdb(mount: Mounter, tmp_path: Path, trace: Path) -> None:
    (tmp_path / "data").mkdir()
    with lmdb.open(str(tmp_path / "data"), map_size=64 << 20) as made, made.begin(write=True) as transaction:
        for number in range(20000):
            transaction.put(f"{number:08}".encode(), b"x" * 100)
    daemon = mount(f"data=dir:{tmp_path}/data,rw", "-q", "--trace", str(trace), wait=False).wait_mounted()
    code = """
import lmdb, sys
with lmdb.open(sys.argv[1], map_size=64 << 20) as db:
    with db.begin() as t:
        print(sum(len(v) for n in range(0, 20000, 50) if (v := t.get(f"{n:08}".encode()))))
    with db.begin(write=True) as t:
        for n in range(0, 20000, 100):
            t.put(f"{n:08}".encode(), b"y" * 200)
    with db.begin() as t:
        print(sum(len(v) for _, v in t.cursor()))
"""
    with watching(daemon.path) as instance:
        assert run(sys.executable, "-c", code, daemon.file("data")).split()[0] == b"40000"
        check(instance, daemon, trace)


def test_arrow(mount: Mounter, tmp_path: Path, trace: Path) -> None:
    table = pa.table({"a": np.arange(300_000), "b": np.random.default_rng(1).random(300_000)})
    (tmp_path / "data").mkdir()
    with pa.OSFile(str(tmp_path / "data" / "t.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=50_000)
    daemon = mount(f"data=dir:{tmp_path}/data", "-q", "--trace", str(trace), wait=False).wait_mounted()
    code = """
import pyarrow as pa, sys
with pa.memory_map(sys.argv[1]) as source:
    table = pa.ipc.open_file(source).read_all()
    print(sum(table["a"].to_pylist()))
"""
    with watching(daemon.path) as instance:
        for _ in range(2):
            assert int(run(sys.executable, "-c", code, daemon.file("data/t.arrow"))) == sum(range(300_000))
        check(instance, daemon, trace)


def test_fio(mount: Mounter, tmp_path: Path, trace: Path) -> None:
    assert shutil.which("fio"), "scripts/test installs fio"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "f").write_bytes(os.urandom(4 << 20))
    daemon = mount(f"data=dir:{tmp_path}/data,rw", "-q", "--trace", str(trace), wait=False).wait_mounted()
    with watching(daemon.path) as instance:
        for engine, kind in (("mmap", "randrw"), ("psync", "randread"), ("mmap", "randread")):
            run(
                "fio", "--name=t", f"--filename={daemon.file('data/f')}", f"--ioengine={engine}", f"--rw={kind}",
                "--bs=4k", "--size=4m", "--numjobs=3", "--thread", "--group_reporting", "--io_size=2m",
                "--invalidate=0", "--fallocate=none", "--randrepeat=1",
            )  # fmt: skip
        check(instance, daemon, trace)


def test_pages_that_mapfs_pushes(mount: Mounter, tmp_path: Path, trace: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"a" * PAGE * 20)
    daemon = mount(f"f=file:{path},coherency=live", "-q", "--trace", str(trace), wait=False).wait_mounted()
    with watching(daemon.path) as instance:
        code = f"""
import mmap, os, sys, time
fd = os.open(sys.argv[1], os.O_RDONLY)
m = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
assert m[0] == m[5 * {PAGE}] == ord("a")
with open(sys.argv[2], "r+b") as f:
    f.seek(5 * {PAGE}); f.write(b"b" * 2 * {PAGE})
end = time.monotonic() + {WITHIN}
while m[5 * {PAGE}] != ord("b"):
    assert time.monotonic() < end
assert m[6 * {PAGE}] == ord("b")
"""
        run(sys.executable, "-c", code, daemon.file("f"), str(path))
        check(instance, daemon, trace)
