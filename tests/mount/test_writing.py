"""What is written through a mount: by write(2), by stores into shared mappings, by truncation, by growth."""

import errno
import mmap
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.support import WITHIN, Client, client, mapfs, python, wait_until

MAPPER = """
    import mmap, os, sys
    fd = os.open(sys.argv[1], os.O_RDWR)
    m = mmap.mmap(fd, 0, mmap.MAP_SHARED)
    for line in sys.stdin:
        what, *rest = line.split()
        if what == "store": m[int(rest[0]):int(rest[0]) + len(rest[1])] = rest[1].encode(); print("ok")
        elif what == "load": print(m[int(rest[0]):int(rest[0]) + int(rest[1])].decode("latin-1"))
        elif what == "msync":
            try: m.flush(); print("ok")
            except OSError as e: print(e.errno)
        elif what == "fsync":
            try: os.fsync(fd); print("ok")
            except OSError as e: print(e.errno)
"""


@pytest.fixture
def segment() -> Iterator[Path]:
    path = Path("/dev/shm") / f"mapfs-test-{uuid.uuid4().hex}"
    path.write_bytes(b"." * (64 * mmap.PAGESIZE))
    yield path
    path.unlink(missing_ok=True)


def test_two_processes_and_one_outside_see_each_others_stores(mount: Mounter, segment: Path) -> None:
    daemon = mount(f"s=shm:{segment.name},rw,interval=50ms")
    with (
        Client(MAPPER, daemon.file("s")) as one,
        Client(MAPPER, daemon.file("s")) as two,
        Client(MAPPER, segment) as out,
    ):
        assert one.ask("store 5000 hello") == "ok"
        assert two.ask("load 5000 5") == "hello"  # at once: it is the same page of the page cache
        assert two.ask("store 5005 ,too") == "ok"
        assert one.ask("load 5000 9") == "hello,too"
        assert out.ask("load 5000 9") == "." * 9  # not written back yet
        assert one.ask("msync") == "ok"
        assert out.ask("load 5000 9") == "hello,too"
        assert two.ask("load 9000 7") == "......."
        assert out.ask("store 9000 outside") == "ok"
        wait_until(lambda: two.ask("load 9000 7") == "outside", "what was stored outside", 5)
        for process in (one, two, out):
            assert process.end() == 0
    assert daemon.umount() == 0
    assert segment.read_bytes()[5000:5009] == b"hello,too"


def test_stores_are_in_the_source_after_close_without_msync(mount: Mounter, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"." * 20_000)
    daemon = mount(f"d=file:{data},rw")
    with Client(MAPPER, daemon.file("d")) as one:
        assert one.ask("store 19998 ab") == "ok"
        assert one.end() == 0
    assert data.read_bytes() == b"." * 19_998 + b"ab"
    written = [event for event in daemon.events() if event["op"] == "write"]
    assert [(event["class"], event["page"], event["tid"]) for event in written] == [("WRITE", 4, None)]
    assert os.stat(daemon.file("d")).st_size == 20_000


def test_a_program_that_writes_and_reads_back_makes_no_page_another_content(mount: Mounter, tmp_path: Path) -> None:
    """What is written through the mount changes the mtime; the pages in the cache stay."""
    data = tmp_path / "data"
    data.write_bytes(b"." * 40_960)
    daemon = mount(f"m=dir:{tmp_path},rw")
    path = daemon.file("m/data")
    code = """
        import os, sys
        fd = os.open(sys.argv[1], os.O_RDWR)
        for page in range(10):
            os.pread(fd, 4096, page * 4096)
        for turn in range(5):
            os.pwrite(fd, b"x%d" % turn, turn * 8192)
            assert os.stat(sys.argv[1]).st_size == 40960
            assert os.pread(fd, 2, turn * 8192) == b"x%d" % turn
        os.close(fd)
        assert open(sys.argv[1], "rb").read().count(b"x") == 5
    """
    python(code, path)
    python("import sys; assert open(sys.argv[1], 'rb').read(2) == b'x0'", path)
    events = daemon.events()
    assert [(event["op"], event["class"], event["page"]) for event in events] == [
        *(("read", "COLD", page) for page in range(10)),
        *(("write", "WRITE", 2 * turn) for turn in range(5)),
    ]
    pids = {event["pid"] for event in events}
    assert len(pids) == 1 and None not in pids  # a write(2) names its thread


def test_growth_truncation_and_holes(mount: Mounter, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"abc")
    daemon = mount(f"d=file:{data},rw")
    path = daemon.file("d")
    with open(path, "r+b") as file:
        file.seek(10_000)
        file.write(b"end")
    assert data.read_bytes() == b"abc" + bytes(9997) + b"end"
    assert os.stat(path).st_size == 10_003
    os.truncate(path, 5)
    assert data.read_bytes() == b"abc\0\0"
    os.truncate(path, 9000)
    assert client("read", path, "0", "9000")["data"] == (b"abc" + bytes(8997)).hex()
    with open(path, "wb") as file:
        assert data.read_bytes() == b""
        file.write(b"new")
    assert data.read_bytes() == b"new"
    with open(path, "ab") as file:
        file.write(b"er")
    assert data.read_bytes() == b"newer"
    subprocess.run(["fallocate", "-l", "100000", path], check=True, timeout=WITHIN)
    assert data.stat().st_size == 100_000
    subprocess.run(["fallocate", "--punch-hole", "-o", "0", "-l", "4096", path], check=True, timeout=WITHIN)
    assert client("read", path, "0", "5")["data"] == bytes(5).hex()
    with open(path, "rb") as file:
        assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == 0


def test_what_is_stored_and_not_written_back_is_no_hole(mount: Mounter, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.touch()
    os.truncate(data, 1 << 20)
    daemon = mount(f"d=file:{data},rw")
    code = """
        import mmap, os, sys
        fd = os.open(sys.argv[1], os.O_RDWR)
        assert os.lseek(os.open(sys.argv[1], os.O_RDONLY), 0, os.SEEK_HOLE) == 1 << 20
        m = mmap.mmap(fd, 0)
        m[500_000] = 7
        assert os.lseek(fd, 0, os.SEEK_DATA) <= 500_000
    """
    python(code, daemon.file("d"))
    with open(daemon.file("d"), "rb") as file:
        assert os.lseek(file.fileno(), 0, os.SEEK_DATA) == 500_000 // 4096 * 4096
        assert os.lseek(file.fileno(), 600_000, os.SEEK_HOLE) == 600_000


@pytest.mark.parametrize("fault", ["ENOSPC", "EIO"])
def test_an_error_of_the_daemon_comes_back_from_msync_and_is_logged(mount: Mounter, tmp_path: Path, fault: str) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"." * 20_000)
    daemon = mount(f"d=file:{data},rw,write-error={fault}@2")
    with Client(MAPPER, daemon.file("d")) as one:
        assert one.ask("store 100 fine") == "ok"
        assert one.ask("msync") == "ok"
        assert one.ask("store 8200 lost") == "ok"
        assert one.ask("msync") == str(getattr(errno, fault))
        assert one.ask("fsync") in ("ok", str(getattr(errno, fault)))  # it is told once
        one.end()
    assert data.read_bytes()[100:104] == b"fine"
    assert data.read_bytes()[8200:8204] == b"...."
    errors = [event for event in daemon.events() if event["error"]]
    assert errors
    assert {(event["op"], event["class"], event["page"], event["error"]) for event in errors} == {
        ("write", "ERROR", 2, fault)
    }
    assert f"write-error={fault} was asked for on page 2" in daemon.wait_line("ERROR")


def test_an_error_of_fsync_itself_comes_back(mount: Mounter, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"." * 4096)
    daemon = mount(f"d=file:{data},rw,write-error=EDQUOT:1.0")
    code = """
        import os, sys
        fd = os.open(sys.argv[1], os.O_RDWR)
        try: os.fsync(fd)
        except OSError as e: print(e.errno)
    """
    assert python(code, daemon.file("d")).stdout.strip() == str(errno.EDQUOT)
    assert "EDQUOT" in daemon.wait_line("ERROR")


def test_an_opening_that_cannot_cut_the_file_off_leaves_nothing_open(mount: Mounter) -> None:
    daemon = mount("d=device:/dev/zero,size=64K,rw")
    for _ in range(3):
        with pytest.raises(OSError) as caught:
            os.open(daemon.file("d"), os.O_WRONLY | os.O_TRUNC)
        assert caught.value.errno == errno.EINVAL
    assert daemon.stats()["daemon"]["open_handles"] == 0
    assert mapfs("drop", daemon.file("d")).returncode == 0
    fd = os.open(daemon.file("d"), os.O_WRONLY)
    assert os.pwrite(fd, b"x", 100) == 1
    os.close(fd)


def test_a_mount_with_ro_refuses_whatever_the_sources_allow(mount: Mounter, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"x")
    daemon = mount(f"d=file:{tmp_path}/data,rw", f"m=dir:{tmp_path},rw", "--ro")
    for change in (
        lambda: os.open(daemon.file("d"), os.O_RDWR),
        lambda: os.open(daemon.file("m/new"), os.O_CREAT | os.O_WRONLY),
        lambda: os.truncate(daemon.file("m/data"), 0),
        lambda: os.unlink(daemon.file("m/data")),
        lambda: os.mkdir(daemon.file("m/sub")),
    ):
        with pytest.raises(OSError) as caught:
            change()
        assert caught.value.errno == errno.EROFS
    assert (tmp_path / "data").read_bytes() == b"x"


def test_what_is_stored_and_mapped_when_ctrl_c_comes_is_written_back(mount: Mounter, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"." * 20_000)
    daemon = mount(f"d=file:{data},rw")
    with Client(MAPPER, daemon.file("d")) as one:
        assert one.ask("store 5000 stored") == "ok"
        daemon.process.terminate()
        assert daemon.wait_end() == 0
        assert data.read_bytes()[5000:5006] == b"stored"


def test_a_cow_file_keeps_its_source_until_commit(mount: Mounter, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"." * 20_000)
    daemon = mount(f"private=file:{data},cow", f"shared=file:{data},rw,cow")
    with Client(MAPPER, daemon.file("private")) as one:
        assert one.ask("store 5000 mine") == "ok"
        assert one.ask("msync") == "ok"
        assert data.read_bytes() == b"." * 20_000
        assert client("read", daemon.file("private"), "5000", "4")["data"] == b"mine".hex()
        refused = mapfs("commit", daemon.file("private"), check=False)
        assert (refused.returncode, "read-only" in refused.stderr or "rw" in refused.stderr) == (1, True)
        assert "4.0 KiB of changes" in mapfs("discard", daemon.file("private")).stdout
        assert one.ask("load 5000 4") == "...."
    with Client(MAPPER, daemon.file("shared")) as one:
        assert one.ask("store 8000 both") == "ok"  # not even written back yet
        assert "were written" in mapfs("commit", daemon.file("shared")).stdout
        assert data.read_bytes()[8000:8004] == b"both"
        assert one.ask("load 8000 4") == "both"


def test_the_plain_link_writes_too(mount: Mounter, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"." * 20_000)
    daemon = mount(f"d=file:{data},rw", f"m=dir:{tmp_path},rw", "--link=plain")
    with Client(MAPPER, daemon.file("d")) as one:
        assert one.ask("store 5000 plain") == "ok"
        assert one.ask("msync") == "ok"
        assert one.end() == 0
    assert data.read_bytes()[5000:5005] == b"plain"
    with open(daemon.file("m/new"), "wb") as file:
        file.write(b"x" * 300_000)
    assert (tmp_path / "new").read_bytes() == b"x" * 300_000
    assert {event["op"] for event in daemon.events()} == {"read", "write"}
    assert daemon.umount() == 0
