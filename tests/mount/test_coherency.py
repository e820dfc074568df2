"""How files keep up with what they are made of: the four ways of `coherency=`."""

import mmap
import os
import subprocess
import threading
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from mapfs.sources.pages import page_bytes
from tests.conftest import Mounter
from tests.support import Client, Daemon, client, mapfs, python, wait_until

PAGE = mmap.PAGESIZE
READER = """
    import mmap, os, sys
    fd = os.open(sys.argv[1], os.O_RDONLY)
    m = mmap.mmap(fd, int(sys.argv[2]), prot=mmap.PROT_READ)
    P = mmap.PAGESIZE
    for line in sys.stdin:
        what, *rest = line.split()
        if what == "touch": print(sum(m[int(page) * P] for page in rest))
        elif what == "all": print(sum(m[page * P] for page in range(int(rest[0]), int(rest[1]), int(rest[2]))))
        elif what == "byte": print(m[int(rest[0])])
        elif what == "size": print(os.fstat(fd).st_size)
        elif what == "read": print(os.pread(fd, 1, int(rest[0])).hex() or "end")
"""


@pytest.fixture
def segment() -> Iterator[Path]:
    path = Path("/dev/shm") / f"mapfs-test-{uuid.uuid4().hex}"
    path.touch()
    yield path
    path.unlink(missing_ok=True)


def store(path: Path, offset: int, data: bytes) -> None:
    """A store through a mapping, of another process, of which nobody is told."""
    python(
        "import mmap, os, sys\n"
        "m = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 0)\n"
        "at = int(sys.argv[2]); data = bytes.fromhex(sys.argv[3]); m[at:at + len(data)] = data\n",
        path, offset, data.hex(),
    )  # fmt: skip


def ops(daemon: Daemon, file: str) -> list[tuple[str, int, int]]:
    return [(e["op"], e["page"], e["pages"]) for e in daemon.events() if e.get("file") == file]


# live


def test_three_pages_of_a_gibibyte_change_and_no_other_is_asked_for_again(mount: Mounter, segment: Path) -> None:
    os.truncate(segment, 1 << 30)
    daemon = mount(f"s=shm:{segment.name},interval=200ms", "-q", wait=False).wait_mounted()
    touched = range(0, 1 << 18, 64)
    with Client(READER, daemon.file("s"), 1 << 30) as reader:
        assert reader.ask(f"all 0 {1 << 18} 64") == "0"
        for number, page in enumerate((64, 640, 200_000 // 64 * 64), 1):
            store(segment, page * PAGE, bytes([number]))
        wait_until(lambda: reader.ask("touch 64 640 " + str(200_000 // 64 * 64)) == "6", "the new bytes", 10)
        assert reader.ask(f"all 0 {1 << 18} 64") == "6"
        assert reader.end() == 0
    events = ops(daemon, "s")
    assert [(op, page) for op, page, _ in events if op == "read"] == [("read", page) for page in touched]
    assert sorted((op, page, count) for op, page, count in events if op != "read") == [
        ("push", 64, 1), ("push", 640, 1), ("push", 200_000 // 64 * 64, 1),
    ]  # fmt: skip


def test_what_a_writer_of_the_mount_has_open_is_dropped_and_not_pushed(mount: Mounter, segment: Path) -> None:
    segment.write_bytes(b"." * (16 * PAGE))
    daemon = mount(f"s=shm:{segment.name},rw,interval=50ms")
    code = """
        import mmap, os, sys
        m = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 0)
        for line in sys.stdin:
            what, at, *rest = line.split()
            if what == "store": m[int(at)] = int(rest[0])
            print(m[int(at)])
    """
    with Client(code, daemon.file("s")) as writer:
        assert writer.ask(f"load {3 * PAGE}") == str(ord("."))
        assert writer.ask(f"store {5 * PAGE} 7") == "7"
        store(segment, 3 * PAGE, b"\x09")
        wait_until(lambda: writer.ask(f"load {3 * PAGE}") == "9", "the new byte", 5)
        assert writer.ask(f"load {5 * PAGE}") == "7"  # what was stored is not overwritten
        assert writer.end() == 0
    assert segment.read_bytes()[5 * PAGE] == 7
    assert [(op, page) for op, page, _ in ops(daemon, "s") if op in ("push", "drop")] == [("drop", 3)]


def test_sizes_of_live_files_are_followed(mount: Mounter, segment: Path) -> None:
    segment.write_bytes(page_bytes(0) + page_bytes(1)[:100])
    daemon = mount(f"s=shm:{segment.name},interval=50ms")
    with Client(READER, daemon.file("s"), PAGE) as reader:
        assert reader.ask("byte 0") == "0"
        assert reader.ask(f"read {PAGE + 99}") == f"{page_bytes(1)[99]:02x}"
        assert reader.ask(f"read {PAGE + 200}") == "end"
        segment.write_bytes(page_bytes(0) + page_bytes(1) + page_bytes(2))
        wait_until(lambda: reader.ask("size") == str(3 * PAGE), "the new size", 5)
        wait_until(lambda: reader.ask(f"read {PAGE + 200}") == f"{page_bytes(1)[200]:02x}", "the longer page", 5)
        assert reader.ask(f"read {2 * PAGE}") == "02"
        os.truncate(segment, PAGE)
        wait_until(lambda: reader.ask("size") == str(PAGE), "the smaller size", 5)
        assert reader.ask(f"read {PAGE}") == "end"
        assert reader.ask("byte 0") == "0"


def says(reader: Client, wanted: str) -> bool:
    return reader.ask("touch 0 1 2 3 4 5 6 7") == wanted


def test_a_write_is_seen_by_inotify_long_before_the_interval(mount: Mounter, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"a" * 8 * PAGE)
    daemon = mount(f"d=file:{data},coherency=live,interval=1h", f"m=dir:{tmp_path},coherency=live,interval=1h")
    for name in ("d", "m/data"):
        with Client(READER, daemon.file(name), 8 * PAGE) as reader:
            before = reader.ask("touch 0 1 2 3 4 5 6 7")
            with data.open("r+b") as file:
                file.seek(5 * PAGE)
                file.write(b"b")
            wait_until(partial(says, reader, str(int(before) + 1)), "the byte", 10)
            with data.open("r+b") as file:
                file.seek(5 * PAGE)
                file.write(b"a")
            wait_until(partial(says, reader, before), "the byte before", 10)
        assert sorted(ops(daemon, name)) == sorted(
            [("read", page, 1) for page in range(8)] + [("push", 5, 1), ("push", 5, 1)]
        )


def test_a_live_file_that_nobody_had_open_is_compared_when_it_is_opened(mount: Mounter, segment: Path) -> None:
    segment.write_bytes(b"".join(page_bytes(page) for page in range(8)))
    daemon = mount(f"s=shm:{segment.name},interval=1h", f"all=shm:{''},interval=1h")
    for name in ("s", f"all/{segment.name}"):
        assert client("touch", daemon.file(name), "0-7")["numbers"] == list(range(8))
        store(segment, 3 * PAGE, (99).to_bytes(8, "little"))
        assert client("touch", daemon.file(name), "0-7")["numbers"] == [0, 1, 2, 99, 4, 5, 6, 7]
        store(segment, 3 * PAGE, (3).to_bytes(8, "little"))
        assert [op for op in ops(daemon, name) if op[0] == "read"] == [("read", page, 1) for page in range(8)]
        assert [op for op in ops(daemon, name) if op[0] != "read"] == [("push", 3, 1)]


def test_many_writers_and_many_readers_of_a_live_segment_agree_in_the_end(mount: Mounter, segment: Path) -> None:
    segment.write_bytes(bytes(64 * PAGE))
    daemon = mount(f"s=shm:{segment.name},rw,interval=20ms", "-q", wait=False).wait_mounted()
    code = """
        import mmap, os, random, sys
        m = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 0)
        own, dice = int(sys.argv[2]), random.Random(sys.argv[2])
        for turn in range(3000):
            page = dice.randrange(8) * 8 + own  # pages of its own: a page that both sides store to has one winner
            m[page * 4096 + dice.randrange(4096)] = dice.randrange(256)
        m.flush()
    """
    threads = [
        threading.Thread(target=python, args=(code, path, own))
        for own, path in enumerate([daemon.file("s")] * 4 + [segment] * 4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same = lambda: Path(daemon.file("s")).read_bytes() == segment.read_bytes()  # noqa: E731 -- looked at twice
    wait_until(same, "the same bytes on both sides", 10)
    assert daemon.umount() == 0


# fixed and open


def test_fixed_never_looks_again(mount: Mounter, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"a" * 2 * PAGE)
    daemon = mount(f"d=file:{data},coherency=fixed")
    assert client("read", daemon.file("d"), "0", "2")["data"] == b"aa".hex()
    data.write_bytes(b"b" * 3 * PAGE)
    assert client("read", daemon.file("d"), "0", "2")["data"] == b"aa".hex()  # the page in the cache
    assert os.stat(daemon.file("d")).st_size == 2 * PAGE
    assert client("read", daemon.file("d"), str(PAGE), "2")["data"] == b"bb".hex()  # one that was not
    assert ops(daemon, "d") == [("read", 0, 1), ("read", 1, 1)]


def test_open_looks_at_each_opening_and_drops_what_is_another_content(mount: Mounter, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"a" * 2 * PAGE)
    daemon = mount(f"d=file:{data},coherency=open")
    assert client("read", daemon.file("d"), "0", "2")["data"] == b"aa".hex()
    assert client("read", daemon.file("d"), "0", "2")["data"] == b"aa".hex()
    data.write_bytes(b"b" * 3 * PAGE)
    assert client("read", daemon.file("d"), "0", "2")["data"] == b"bb".hex()
    assert [op for op in ops(daemon, "d") if op[0] == "read"] == [("read", 0, 1), ("read", 0, 1)]


# passthrough


def test_passthrough_maps_the_backings_own_pages(mount: Mounter, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("passthrough takes root")
    data = tmp_path / "data"
    data.write_bytes(b"".join(page_bytes(page) for page in range(16)))
    daemon = mount(f"d=file:{data},rw,coherency=passthrough", f"m=dir:{tmp_path},rw,coherency=passthrough")
    with Client(READER, daemon.file("d"), 16 * PAGE) as reader:
        assert reader.ask(f"byte {5 * PAGE}") == "5"
        if daemon.events():
            pytest.skip("this kernel, or this disk, has no passthrough")
        store(data, 5 * PAGE, b"\x63")
        assert reader.ask(f"byte {5 * PAGE}") == "99"  # at once: it is the same page
        store(Path(daemon.file("d")), 6 * PAGE, b"\x62")
        assert data.read_bytes()[6 * PAGE] == 98
        refused = mapfs("inject", daemon.file("d"), "error=EIO", check=False)
        assert (refused.returncode, "is passed through while it is open" in refused.stderr) == (2, True)
    assert client("touch", daemon.file("m/data"), "0-3")["numbers"] == [0, 1, 2, 3]
    with open(daemon.file("m/made"), "wb") as file:
        file.write(b"made")
    assert (tmp_path / "made").read_bytes() == b"made"
    assert daemon.events() == []  # nobody asked mapfs for a page
    assert daemon.umount() == 0


def test_where_passthrough_cannot_be_had_the_file_is_served_and_a_sentence_says_why(mount: Mounter) -> None:
    daemon = mount("d=pages:8p,coherency=passthrough")
    assert client("touch", daemon.file("d"), "3")["numbers"] == [3]
    assert "d is served by mapfs, not passed through: what it is made of is no file" in daemon.wait_line("not passed")
    assert ops(daemon, "d") == [("read", 3, 1)]


def test_a_backing_on_a_stacked_filesystem_cannot_be_passed_through(mount: Mounter, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("an overlay takes root")
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower" / "data").write_bytes(b"".join(page_bytes(page) for page in range(4)))
    options = ",".join(f"{name}dir={tmp_path}/{name}" for name in ("lower", "upper", "work"))
    merged = tmp_path / "merged"
    made = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(merged)], check=False)
    if made.returncode:
        pytest.skip("no overlay can be mounted here")
    try:
        daemon = mount(f"d=file:{merged}/data,coherency=passthrough")
        assert client("touch", daemon.file("d"), "2")["numbers"] == [2]
        line = daemon.wait_line("not passed through")
        if "this kernel has no FUSE passthrough" not in line:
            assert "the backing lies on a stacked filesystem (overlayfs)" in line
        assert ops(daemon, "d") == [("read", 2, 1)]
        assert daemon.umount() == 0
    finally:
        subprocess.run(["umount", str(merged)], check=True)


# process memory


def test_the_memory_of_a_process_is_live(mount: Mounter) -> None:
    code = """
        import ctypes, mmap, sys
        memory = mmap.mmap(-1, 16384)
        memory[:] = b"." * 16384
        print(hex(ctypes.addressof(ctypes.c_char.from_buffer(memory))), flush=True)
        for line in sys.stdin:
            memory[int(line)] = ord("x"); print("ok", flush=True)
    """
    child = subprocess.Popen(
        ["python3", "-c", "\n".join(line[8:] for line in code.splitlines())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdin and child.stdout
        start = int(child.stdout.readline(), 16)
        daemon = mount(f"p=process:{child.pid}:{start:x}-{start + 16384:x},interval=50ms")
        with Client(READER, daemon.file("p"), 16384) as reader:
            assert reader.ask("byte 5000") == str(ord("."))
            child.stdin.write("5000\n")
            child.stdin.flush()
            assert child.stdout.readline() == "ok\n"
            wait_until(lambda: reader.ask("byte 5000") == str(ord("x")), "the byte in the other process", 5)
            child.kill()
            child.wait()
            assert f"process {child.pid} has ended" in daemon.wait_line("p cannot be compared")
            assert reader.ask("byte 5000") == str(ord("x")), "what is resident stays"
            assert reader.end() == 0
        assert daemon.umount() == 0
        assert sum("cannot be compared" in line for line in daemon.lines) == 1, "told once, at however many looks"
    finally:
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream:
                stream.close()
