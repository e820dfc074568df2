"""What a file is made of vanishes while it is mapped: removed, replaced, ended, or on a disk that fails for good."""

import errno
import fcntl
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.mount.test_disk_full import ext4
from tests.mount.test_faults import touching
from tests.mount.test_places import needs_root
from tests.mount.test_writing import MAPPER
from tests.support import WITHIN, Client, client, wait_until

_EXT4_SHUTDOWN = 0x8004587D  # _IOR('X', 125, uint32_t): fs/ext4/ext4.h, EXT4_IOC_SHUTDOWN
PAGES = 16


def _write(path: Path, letter: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(letter.encode() * (PAGES * mmap.PAGESIZE))


def test_what_is_removed_below_is_served_to_who_has_it_open_and_to_nobody_else(mount: Mounter, tmp_path: Path) -> None:
    home = tmp_path / "home"
    _write(home / "sub" / "data", "a")
    daemon = mount(f"m=dir:{home}", f"f=file:{home}/sub/data")
    path = daemon.file("m/sub/data")
    with Client(MAPPER_RO, path) as one:
        assert one.ask("0") == "a"
        shutil.rmtree(home / "sub")
        assert one.ask("5") == "a"  # a page that was not demanded before
        wait_until(lambda: not os.path.exists(path), "the kernel to ask for the name again, after a second", 5)
        assert os.listdir(daemon.file("m")) == []
        _write(home / "sub" / "data", "b")
        assert client("read", path, "0", "1")["data"] == b"b".hex()  # another file of that name
        assert one.ask("9") == "a"
    assert client("read", daemon.file("f"), str(12 * mmap.PAGESIZE), "1")["data"] == b"a".hex()  # opened once, and kept
    assert daemon.umount() == 0


MAPPER_RO = """
    import mmap, os, sys
    m = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)
    for line in sys.stdin:
        print(chr(m[int(line) * mmap.PAGESIZE]))
"""


def test_the_memory_of_a_process_that_has_ended_cannot_be_opened_and_the_log_says_why(mount: Mounter) -> None:
    code = "import mmap, sys; m = mmap.mmap(-1, 1 << 20); m[:] = b'x' * (1 << 20); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as victim:
        assert victim.stdout and victim.stdout.readline() == b"\n"
        maps = Path(f"/proc/{victim.pid}/maps").read_text().splitlines()
        span = next(line.split()[0] for line in maps if _size(line) >= 1 << 20 and line.split()[1] == "rw-s")
        start, end = (int(one, 16) for one in span.split("-"))
        daemon = mount(f"p=process:{victim.pid}:{start:#x}-{end:#x}", "good=pages:4p")
        assert touching(daemon, "p", "0").wait(WITHIN) == 0
        victim.communicate(timeout=WITHIN)
    with pytest.raises(OSError) as caught:
        os.open(daemon.file("p"), os.O_RDONLY)
    assert caught.value.errno == errno.EIO
    assert f"process {victim.pid}" in daemon.wait_line(" failed: ")
    assert client("touch", daemon.file("good"), "1")["numbers"] == [1]
    assert daemon.umount() == 0


def _size(line: str) -> int:
    start, end = (int(one, 16) for one in line.split()[0].split("-"))
    return end - start


@needs_root
def test_a_disk_that_fails_for_good_is_told_to_who_reads_and_writes_and_to_nobody_else(
    mount: Mounter, tmp_path: Path
) -> None:
    """ext4 on a loop device, shut down as where its device went away: each call to it is EIO from then on."""
    with ext4(tmp_path / "disk") as disk:
        _write(disk / "data", "a")
        daemon = mount(f"m=dir:{disk},rw", f"f=file:{disk}/data", "good=pages:64p")
        with Client(MAPPER_RO, daemon.file("f")) as one, Client(MAPPER, daemon.file("m/data")) as two:
            assert one.ask("0") == "a"
            assert two.ask("store 0 stored") == "ok"
            assert two.ask("msync") == "ok"
            assert two.ask("store 8192 lost") == "ok"
            fd = os.open(disk, os.O_RDONLY)
            fcntl.ioctl(fd, _EXT4_SHUTDOWN, struct.pack("I", 2))  # EXT4_GOING_FLAGS_NOLOGFLUSH
            os.close(fd)
            assert two.ask("msync") == str(errno.EIO)
            assert "EIO" in daemon.wait_line("  ERROR  ")
            assert one.ask("0") == "a", "what is in the page cache stays"
            assert touching(daemon, "f", "7").wait(WITHIN) == -signal.SIGBUS
            assert client("touch", daemon.file("good"), "0-63")["numbers"] == list(range(64))
            failed = {
                (event["op"], event["file"], event["page"], event["error"])
                for event in daemon.events()
                if event["error"]
            }
            assert failed == {("write", "m/data", 2, "EIO"), ("read", "f", 7, "EIO")}
            assert daemon.stats()["daemon"]["waiting_demands"] == 0
            with pytest.raises(OSError) as caught:
                os.mkdir(daemon.file("m/new"))
            assert caught.value.errno == errno.EIO
            assert daemon.wait_line("mapfs: mkdir failed: ") == "mapfs: mkdir failed: Input/output error"
        assert daemon.umount() == 0
