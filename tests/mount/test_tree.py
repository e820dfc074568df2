"""What a mount lists, and how it behaves as a file system."""

import errno
import fcntl
import mmap
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mapfs.sources.pages import page_bytes
from tests.conftest import Mounter
from tests.support import ROOT, WITHIN, Daemon, client, wait_until

FS_IOC_GETVERSION = 0x80087601  # linux/fs.h


def test_the_default_tree_shows_every_kind(mount: Mounter) -> None:
    daemon = mount()
    assert sorted(os.listdir(daemon.path)) == [".mapfs", "README.txt", "dev", "pages", "random", "shm", "zero"]
    assert os.stat(daemon.file("README.txt")).st_size == 5 << 10
    with open(daemon.file("README.txt"), encoding="utf-8") as readme:
        text = readme.read()
    assert text.startswith("This is a mapfs mount.") and text.endswith("\n")
    assert sorted(os.listdir(daemon.file("shm"))) == sorted(os.listdir("/dev/shm"))


def test_names_with_slashes_make_directories(mount: Mounter) -> None:
    daemon = mount("a/b/c=pages:4p", "a/d=zero:3p", "e=text:hello,, world\\n")
    assert sorted(os.listdir(daemon.file("a"))) == ["b", "d"]
    assert stat.S_ISDIR(os.stat(daemon.file("a/b")).st_mode)
    with open(daemon.file("e"), "rb") as file:
        assert file.read() == b"hello, world\n"
    assert os.stat(daemon.file("a/d")).st_size == 3 * mmap.PAGESIZE
    assert os.getxattr(daemon.file("a/b/c"), "user.mapfs.spec") == b"pages:4p"
    assert os.getxattr(daemon.file("e"), "user.mapfs.spec") == b"text:hello,, world\\n"
    assert os.listxattr(daemon.file("e")) == ["user.mapfs.spec"]
    with pytest.raises(OSError) as caught:
        os.getxattr(daemon.file("e"), "user.other")
    assert caught.value.errno == errno.ENODATA
    with pytest.raises(FileNotFoundError):
        os.stat(daemon.file("a/x"))
    totals = os.statvfs(daemon.path)
    assert totals.f_bsize == mmap.PAGESIZE
    assert totals.f_blocks >= 7
    assert totals.f_bavail == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda path: os.open(path + "/pages", os.O_RDWR),
        lambda path: os.open(path + "/pages", os.O_WRONLY | os.O_TRUNC),
        lambda path: os.open(path + "/new", os.O_CREAT | os.O_WRONLY),
        lambda path: os.unlink(path + "/pages"),
        lambda path: os.rename(path + "/pages", path + "/other"),
        lambda path: os.mkdir(path + "/new"),
        lambda path: os.rmdir(path + "/.mapfs"),
        lambda path: os.chmod(path + "/pages", 0o777),
        lambda path: os.truncate(path + "/pages", 1),
        lambda path: os.utime(path + "/pages", (1, 1)),
        lambda path: os.symlink("x", path + "/new"),
        lambda path: os.link(path + "/pages", path + "/new"),
        lambda path: os.mkfifo(path + "/new"),
        lambda path: os.setxattr(path + "/pages", "user.x", b"x"),
    ],
)
def test_everything_is_read_only(mount: Mounter, change: object) -> None:
    daemon = mount("pages=pages:4p")
    assert callable(change)
    with pytest.raises(OSError) as caught:
        change(daemon.path)
    assert caught.value.errno == errno.EROFS


def test_the_last_page_ends_in_zeroes_and_beyond_it_is_sigbus(mount: Mounter) -> None:
    daemon = mount("pages=pages:5000")
    code = (
        "import mmap, os, sys, ctypes\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "libc = ctypes.CDLL(None, use_errno=True); libc.mmap.restype = ctypes.c_void_p\n"
        "at = libc.mmap(None, ctypes.c_size_t(12288), 1, int(sys.argv[2]), fd, ctypes.c_long(0))\n"
        "sys.stdout.write(ctypes.string_at(at, 8192).hex()); sys.stdout.flush()\n"
        "ctypes.string_at(at + 8192, 1)\n"
    )
    for flags in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
        done = subprocess.run(
            [sys.executable, "-c", code, daemon.file("pages"), str(flags)],
            capture_output=True, text=True, timeout=WITHIN, check=False,
        )  # fmt: skip
        assert done.returncode == -7  # SIGBUS
        assert bytes.fromhex(done.stdout) == (page_bytes(0) + page_bytes(1))[:5000] + bytes(8192 - 5000)
    assert daemon.demands("pages") == [("COLD", 0), ("COLD", 1)]


def test_a_private_mapping_can_be_written_and_the_file_stays(mount: Mounter) -> None:
    daemon = mount("pages=pages:4p")
    code = (
        "import mmap, os, sys\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "m = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)\n"
        "m[4096:4104] = b'mine now'; assert os.pread(fd, 8, 4096) == (1).to_bytes(8, 'little')\n"
    )
    subprocess.run([sys.executable, "-c", code, daemon.file("pages")], timeout=WITHIN, check=True)
    assert daemon.demands("pages") == [("COLD", 1)]


def test_a_read_past_the_page_cache_is_told_apart(mount: Mounter) -> None:
    daemon = mount("pages=pages:8p")
    code = (
        "import mmap, os, sys\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT); b = mmap.mmap(-1, 4096)\n"
        "assert os.preadv(fd, [b], 8192) == 4096 and b[:8] == (2).to_bytes(8, 'little')\n"
    )
    subprocess.run([sys.executable, "-c", code, daemon.file("pages")], timeout=WITHIN, check=True)
    client("touch", daemon.file("pages"), "2")
    events = [(event["class"], event["direct"], event["page"]) for event in daemon.events()]
    assert events == [(None, True, 2), ("COLD", False, 2)]


def test_a_dropped_page_is_a_refault(mount: Mounter) -> None:
    daemon = mount("pages=pages:8p")
    client("touch", daemon.file("pages"), "2", "3")
    fd = os.open(daemon.file("pages"), os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    client("touch", daemon.file("pages"), "3", "4")
    assert daemon.demands("pages") == [("COLD", 2), ("COLD", 3), ("REFAULT", 3), ("COLD", 4)]


def test_readahead_is_one_request_of_many_pages(mount: Mounter) -> None:
    daemon = mount("pages=pages:256p", "--readahead", "64K")
    client("touch", daemon.file("pages"), "0-255")
    events = daemon.events()
    assert sum(event["pages"] for event in events) == 256
    assert max(event["pages"] for event in events) == 16
    stats = daemon.stats()
    assert (stats["pages"], stats["bytes"], stats["daemon"]["readahead"]) == (256, 256 * 4096, 65536)


def test_readahead_beyond_what_the_kernel_offers_is_set_or_said(mount: Mounter) -> None:
    daemon = mount("pages=pages:4000p", "--readahead", "4M")
    assert 0 < daemon.stats()["daemon"]["readahead"] < 4 << 20
    number = os.stat(daemon.path).st_dev
    setting = Path(f"/sys/class/bdi/{os.major(number)}:{os.minor(number)}/read_ahead_kb")
    if not os.access(setting, os.W_OK):  # a plain user, or a container
        assert "reads ahead at most" in daemon.wait_line("less than --readahead")
        return
    assert setting.read_text() == "4096\n"
    assert not any("reads ahead at most" in line for line in daemon.lines)
    client("touch", daemon.file("pages"), "0-3999")
    assert max(event["pages"] for event in daemon.events() if event["op"] == "read") > 128 * 1024 // 4096


def test_a_flood_of_name_requests_is_answered(mount: Mounter, tmp_path: Path) -> None:
    """More at once than the socket to libfuse takes: none is lost or answered out of turn."""
    root = tmp_path / "many"
    root.mkdir()
    for number in range(3000):
        (root / f"{number:04}").write_text(str(number))
    daemon = mount(f"many=dir:{root}", "-q", wait=False).wait_mounted()
    code = (
        "import os, sys, threading\n"
        "def work(start):\n"
        "    for n in range(start, 3000, 60):\n"
        "        assert open(f'{sys.argv[1]}/{n:04}').read() == str(n)\n"
        "ts = [threading.Thread(target=work, args=(s,)) for s in range(60)]\n"
        "[t.start() for t in ts]; [t.join() for t in ts]\n"
    )
    subprocess.run([sys.executable, "-c", code, daemon.file("many")], timeout=60, check=True)
    drop = "echo 2 > /proc/sys/vm/drop_caches"  # a flood of FORGETs, which nobody answers
    subprocess.run(["sh", "-c", drop], check=False, capture_output=True, timeout=WITHIN)
    assert len(os.listdir(daemon.file("many"))) == 3000
    assert sorted(page for event in daemon.events() for page in range(event["page"], event["page"] + 1)) == [0] * 3000
    assert daemon.umount() == 0


# mirrors


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    root = tmp_path / "backing"
    (root / "sub").mkdir(parents=True)
    (root / "file").write_bytes(b"content\n" * 1000)
    (root / "sub" / "script").write_text("#!/bin/sh\necho ran\n")
    (root / "sub" / "script").chmod(0o751)
    os.utime(root / "file", ns=(1_000_000_000_123_456_789, 1_111_111_111_987_654_321))
    os.link(root / "file", root / "hard")
    (root / "soft").symlink_to("sub/script")
    (root / "out").symlink_to("../secret")
    (tmp_path / "secret").write_text("secret")
    os.mkfifo(root / "fifo")
    (root / os.fsdecode(b"bad\xff\nname")).write_bytes(b"odd")
    return root


def test_a_mirror_shows_names_modes_times_and_links(mount: Mounter, backing: Path) -> None:
    daemon = mount(f"m=dir:{backing}")
    mirror = daemon.file("m")
    assert sorted(os.listdir(mirror)) == sorted(os.listdir(backing))
    for name in ("file", "hard", "soft", "out", "fifo", "sub", "sub/script", os.fsdecode(b"bad\xff\nname")):
        ours, theirs = os.lstat(os.path.join(mirror, name)), os.lstat(os.path.join(backing, name))
        for field in ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_ctime_ns", "st_blocks"):
            if not stat.S_ISDIR(ours.st_mode) or field not in ("st_size", "st_blocks"):
                assert getattr(ours, field) == getattr(theirs, field), (name, field)
    assert os.readlink(os.path.join(mirror, "soft")) == "sub/script"
    assert subprocess.run([mirror + "/soft"], capture_output=True, timeout=WITHIN, check=True).stdout == b"ran\n"
    with open(mirror + "/file", "rb") as file:
        assert file.read() == b"content\n" * 1000
    assert os.getxattr(mirror + "/file", "user.mapfs.spec") == f"dir:{backing}/file".encode()


def test_hard_links_share_the_page_cache(mount: Mounter, backing: Path) -> None:
    daemon = mount(f"m=dir:{backing}")
    assert os.stat(daemon.file("m/file")).st_ino == os.stat(daemon.file("m/hard")).st_ino
    client("read", daemon.file("m/file"), "0", "8")
    client("read", daemon.file("m/hard"), "0", "8")
    assert len(daemon.events()) == 1


def test_no_name_leads_out_of_a_mirror(mount: Mounter, backing: Path) -> None:
    daemon = mount(f"m=dir:{backing}")
    # the link is shown, and followed by the client's kernel: within the mount it leads to a name that is not there
    assert os.readlink(daemon.file("m/out")) == "../secret"
    with pytest.raises(FileNotFoundError):
        os.stat(daemon.file("m/out"))
    assert sorted(os.listdir(daemon.file("m/.."))) == sorted(os.listdir(daemon.path))
    # a directory that becomes a link while the kernel still knows its name
    os.stat(daemon.file("m/sub/script"))
    os.rename(backing / "sub", backing / "was")
    (backing / "sub").symlink_to("..")
    with pytest.raises(OSError):
        os.open(daemon.file("m/sub/secret"), os.O_RDONLY)


def test_names_that_are_not_utf8_or_hold_a_newline_cannot_break_a_line(mount: Mounter, backing: Path) -> None:
    daemon = mount(f"m=dir:{backing}")
    with open(os.path.join(os.fsencode(daemon.file("m")), b"bad\xff\nname"), "rb") as file:
        assert file.read() == b"odd"
    (event,) = daemon.events()
    assert event["file"] == "m/bad\\xff\nname"
    assert daemon.umount() == 0
    assert len(daemon.log) == 1
    assert "m/bad\\xff\\nname" in daemon.log[0]


def test_changes_below_a_mirror_are_seen_within_the_attribute_timeout(mount: Mounter, backing: Path) -> None:
    daemon = mount(f"m=dir:{backing}")
    path = daemon.file("m/file")

    def content() -> bytes:
        with open(path, "rb") as file:
            return file.read()

    assert content()[:8] == b"content\n"
    (backing / "file").write_bytes(b"longer than before\n" * 1000)
    wait_until(lambda: content() == b"longer than before\n" * 1000, "the new content", 5)
    classes = {event["class"] for event in daemon.events()}
    assert classes == {"COLD"}  # a page of another content is no re-fault
    (backing / "new").write_bytes(b"new")
    os.replace(backing / "new", backing / "file")
    wait_until(lambda: content() == b"new", "the file that took its place", 5)
    os.unlink(backing / "file")
    wait_until(lambda: not os.path.exists(path), "the name that is gone", 5)


def test_a_file_is_no_terminal_and_its_closing_asks_nobody(mount: Mounter, backing: Path) -> None:
    daemon = mount(f"m=dir:{backing},rw")
    for name in ("m/made", ".mapfs/stats"):
        fd = os.open(daemon.file(name), os.O_RDWR | os.O_CREAT if name == "m/made" else os.O_RDONLY)
        assert not os.isatty(fd)
        with pytest.raises(OSError, match=re.escape(os.strerror(errno.ENOTTY))):
            fcntl.ioctl(fd, FS_IOC_GETVERSION, bytes(8))
        os.close(fd)
    Path(daemon.file("m/made")).write_bytes(b"stored")
    assert (backing / "made").read_bytes() == b"stored"
    assert daemon.umount() == 0


def test_reopening_keeps_the_pages_of_what_stayed_and_drops_those_of_what_changed(
    mount: Mounter, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"a" * 4096)
    daemon = mount(f"data=file:{data}")
    path = daemon.file("data")
    first = client("read", path, "0", "4")
    assert client("read", path, "0", "4") == first == {"data": b"aaaa".hex()}
    assert len(daemon.events()) == 1
    data.write_bytes(b"b" * 4096)
    assert client("read", path, "0", "4") == {"data": b"bbbb".hex()}
    assert [event["class"] for event in daemon.events()] == ["COLD", "COLD"]


def test_a_mirror_of_a_directory_that_holds_the_mount_hides_it(mount: Mounter, tmp_path: Path) -> None:
    (tmp_path / "beside").write_text("x")
    daemon = mount(f"all=dir:{tmp_path}")
    listing = client_listing(daemon, "all")
    assert "beside" in listing
    with pytest.raises(FileNotFoundError):
        os.stat(daemon.file("all/mnt"))
    assert os.stat(daemon.file("all/beside")).st_size == 1


def test_two_mounts_in_a_directory_that_both_mirror_do_not_wait_for_each_other(mount: Mounter, tmp_path: Path) -> None:
    (tmp_path / "beside").write_text("x")
    first, second = mount(f"all=dir:{tmp_path}", at="a"), mount(f"all=dir:{tmp_path}", at="b")
    for daemon in (first, second):
        done = subprocess.run(
            ["ls", "-lR", daemon.path], capture_output=True, text=True, timeout=WITHIN, check=False, cwd=ROOT
        )
        assert "beside" in done.stdout
        assert not os.path.exists(daemon.file("all/a"))
        assert not os.path.exists(daemon.file("all/b"))
    assert first.umount() == second.umount() == 0


def client_listing(daemon: Daemon, name: str) -> list[str]:
    """`ls -l`, which asks for every attribute, as another process with a bound."""
    done = subprocess.run(
        ["ls", "-l", daemon.file(name)], capture_output=True, text=True, timeout=WITHIN, check=False, cwd=ROOT
    )
    return done.stdout.split()


def test_shared_memory_and_devices_are_live(mount: Mounter, tmp_path: Path) -> None:
    name = f"mapfs-test-{os.getpid()}"
    image = tmp_path / "image"
    image.write_bytes(b"".join(page_bytes(page) for page in range(16)))
    loop = subprocess.run(
        ["losetup", "--find", "--show", str(image)], capture_output=True, text=True, timeout=WITHIN, check=True
    ).stdout.strip()
    try:
        with open(f"/dev/shm/{name}", "wb") as segment:
            segment.write(b"".join(page_bytes(page) for page in range(8)))
        daemon = mount(
            "shm=shm:", "dev=device:", f"one=shm:{name}", f"disk=device:{loop}", "zero=device:/dev/zero,size=3p"
        )
        assert client("touch", daemon.file(f"shm/{name}"), "7")["numbers"] == [7]
        assert client("touch", daemon.file("one"), "6")["numbers"] == [6]
        assert os.stat(daemon.file("disk")).st_size == 16 * 4096
        assert client("touch", daemon.file("disk"), "15", "3")["numbers"] == [15, 3]
        assert client("touch", daemon.file("dev/" + os.path.basename(loop)), "9")["numbers"] == [9]
        assert client("touch", daemon.file("zero"), "2")["numbers"] == [0]
        os.unlink(f"/dev/shm/{name}")
        wait_until(lambda: name not in os.listdir(daemon.file("shm")), "the end of the segment", 5)
        assert client("touch", daemon.file("one"), "5")["numbers"] == [5]  # opened at the mount, and still there
        assert daemon.umount() == 0
    finally:
        subprocess.run(["losetup", "-d", loop], timeout=WITHIN, check=True)
        Path(f"/dev/shm/{name}").unlink(missing_ok=True)


def test_an_inherited_descriptor_is_served(tmp_path: Path) -> None:
    deleted = tmp_path / "deleted"
    deleted.write_bytes(b"".join(page_bytes(page) for page in range(4)))
    fd = os.open(deleted, os.O_RDONLY)
    os.unlink(deleted)
    daemon = Daemon(tmp_path / "mnt", f"data=fd:{fd}", pass_fds=[fd])
    try:
        daemon.wait_ready()
        assert client("touch", daemon.file("data"), "3")["numbers"] == [3]
        assert daemon.umount() == 0
    finally:
        daemon.destroy()
        os.close(fd)
