"""A writable mirror: names are made, moved and removed; none leads out; what is made belongs to who made it."""

import ctypes
import errno
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.support import WITHIN, Client, Daemon, client, python

EXCHANGE, NOREPLACE = 2, 1


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    (path / "sub").mkdir(parents=True)
    (path / "file").write_bytes(b"content")
    (tmp_path / "secret").write_bytes(b"secret")
    return path


@pytest.fixture(params=["", ",rate=1G"], ids=["plain", "wrapped"])
def mirror(mount: Mounter, home: Path, request: pytest.FixtureRequest) -> Daemon:
    """As it is, and with a wrapper around each of its files."""
    return mount(f"m=dir:{home},rw{request.param}", "-q", wait=False).wait_mounted()


def same(inside: str, below: Path) -> None:
    """Everything that lstat says of what is in both trees is the same."""
    for folder, folders, files in os.walk(inside):
        for name in (*folders, *files):
            ours = os.lstat(os.path.join(folder, name))
            theirs = os.lstat(below / os.path.relpath(os.path.join(folder, name), inside))
            for field in ("st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_nlink"):
                assert getattr(ours, field) == getattr(theirs, field), (name, field)
            assert stat.S_ISDIR(ours.st_mode) or ours.st_size == theirs.st_size, name
    assert sorted(os.listdir(inside)) == sorted(os.listdir(below))


def test_names_of_every_sort_are_made_and_changed(mirror: Daemon, home: Path) -> None:
    inside = mirror.file("m")
    os.mkdir(inside + "/d", 0o751)
    os.mkfifo(inside + "/d/fifo", 0o640)
    os.symlink("../file", inside + "/d/link")
    os.link(inside + "/file", inside + "/d/hard")
    with open(inside + "/d/new", "xb") as file:
        file.write(b"new")
    with pytest.raises(FileExistsError):
        os.open(inside + "/d/new", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    odd = os.fsencode(inside) + b"/d/bad\xff\nname"
    with open(odd, "wb") as file:
        file.write(b"odd")
    os.chmod(inside + "/d/new", 0o4711)
    os.utime(inside + "/d/new", ns=(1_000_000_000_000_000_007, 1_111_111_111_000_000_009))
    os.utime(inside + "/d/link", ns=(5, 7), follow_symlinks=False)
    os.utime(inside + "/d", ns=(11, 13))
    assert os.readlink(inside + "/d/link") == "../file"
    assert Path(inside + "/d/link").read_bytes() == b"content"
    assert (home / "d/new").stat().st_mode & 0o7777 == 0o4711
    assert os.lstat(home / "d/link").st_mtime_ns == 7
    assert (home / "file").stat().st_nlink == 2
    assert os.listdir(os.fsencode(home / "d")).count(b"bad\xff\nname") == 1
    same(inside, home)
    if not os.geteuid():
        os.chown(inside + "/d/new", 12, 34)
        os.chown(inside + "/d/link", 56, 78, follow_symlinks=False)
        assert (os.stat(home / "d/new").st_uid, os.lstat(home / "d/link").st_gid) == (12, 78)
    subprocess.run(["rm", "-r", inside + "/d"], check=True, timeout=WITHIN)
    assert sorted(os.listdir(home)) == ["file", "sub"]


def test_renames(mirror: Daemon, home: Path) -> None:
    inside = mirror.file("m")
    for name in ("a", "b"):
        os.mkdir(f"{inside}/{name}")
        Path(f"{inside}/{name}/deep").mkdir()
        Path(f"{inside}/{name}/deep/file").write_text(name)
    with open(f"{inside}/a/deep/file", "rb") as kept:
        os.rename(f"{inside}/a/deep", f"{inside}/sub/moved")
        assert kept.read() == b"a"
        assert os.fstat(kept.fileno()).st_size == 1
    assert Path(f"{inside}/sub/moved/file").read_text() == "a"
    assert not os.path.exists(f"{inside}/a/deep")
    libc = ctypes.CDLL(None, use_errno=True)

    def exchange(one: str, other: str, flags: int) -> int:
        done = libc.renameat2(-100, f"{inside}/{one}".encode(), -100, f"{inside}/{other}".encode(), flags)
        return ctypes.get_errno() if done else 0

    assert exchange("sub/moved", "b/deep", EXCHANGE) == 0
    assert Path(f"{inside}/sub/moved/file").read_text() == "b"
    assert Path(f"{inside}/b/deep/file").read_text() == "a"
    assert exchange("file", "b/deep/file", NOREPLACE) == errno.EEXIST
    assert exchange("file", "b/deep/file", EXCHANGE) == 0
    assert Path(f"{inside}/file").read_text() == "a" and Path(f"{inside}/b/deep/file").read_text() == "content"
    os.replace(f"{inside}/file", f"{inside}/sub/moved/file")
    assert Path(f"{inside}/sub/moved/file").read_text() == "a"
    with pytest.raises(OSError) as caught:
        os.rmdir(f"{inside}/b")
    assert caught.value.errno == errno.ENOTEMPTY
    same(inside, home)


def test_what_is_unlinked_goes_on_while_it_is_open(mirror: Daemon, home: Path) -> None:
    code = """
        import mmap, os, sys
        fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(fd, 8192)
        m = mmap.mmap(fd, 0)
        os.unlink(sys.argv[1])
        for line in sys.stdin:
            m[5000] = int(line)
            m.flush()
            assert os.fstat(fd).st_nlink == 0 and os.fstat(fd).st_size == 8192
            os.pwrite(fd, b"x", 6000)
            print(os.pread(fd, 1, 5000)[0], m[6000])
    """
    path = mirror.file("m/gone")
    with Client(code, path) as one:
        assert one.ask("7") == "7 120"
        Path(path).write_bytes(b"another")  # under the same name
        assert one.ask("9") == "9 120"
        assert (home / "gone").read_bytes() == b"another"
        assert one.end() == 0
    assert Path(path).read_bytes() == b"another"


def test_a_link_and_an_unlink_leave_the_other_name(mirror: Daemon, home: Path) -> None:
    """What git does to make an object appear at once."""
    inside = mirror.file("m")
    for number in range(50):
        temporary, final = f"{inside}/tmp{number}", f"{inside}/sub/{number}"
        with open(temporary, "wb") as file:
            file.write(b"%d" % number)
        os.link(temporary, final)
        assert os.stat(final).st_nlink == 2
        os.unlink(temporary)
        assert os.stat(final).st_nlink == 1
        assert Path(final).read_bytes() == b"%d" % number
    assert sorted(os.listdir(home / "sub"), key=int) == [str(number) for number in range(50)]


def test_no_write_leads_out_of_a_mirror(mirror: Daemon, home: Path, tmp_path: Path) -> None:
    inside = mirror.file("m")
    os.symlink("../../secret", inside + "/sub/out")
    for change in (
        lambda: os.open(inside + "/sub/out", os.O_WRONLY | os.O_TRUNC),
        lambda: os.truncate(inside + "/sub/out", 0),
        lambda: os.rename(inside + "/file", inside + "/../m/../../secret"),
    ):
        with pytest.raises(OSError):
            change()
    # a directory that becomes a link behind the mount's back, while the kernel still knows its name
    os.stat(inside + "/sub")
    os.rename(home / "sub", home / "was")
    (home / "sub").symlink_to("..")
    for change in (
        lambda: os.open(inside + "/sub/planted", os.O_CREAT | os.O_WRONLY),
        lambda: os.unlink(inside + "/sub/secret"),
        lambda: os.mkdir(inside + "/sub/planted"),
        lambda: os.rename(inside + "/file", inside + "/sub/secret"),
        lambda: os.chmod(inside + "/sub/secret", 0o777),
    ):
        with pytest.raises(OSError):
            change()
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert sorted(os.listdir(tmp_path)) == ["home", "mnt", "secret"]


def test_a_hard_link_from_another_mirror_is_refused(mount: Mounter, home: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    daemon = mount(f"a=dir:{home},rw", f"b=dir:{tmp_path}/other,rw", "r=zero:4K", f"c=dir:{tmp_path}/other")
    across: list[Callable[[], object]] = [
        lambda: os.link(daemon.file("a/file"), daemon.file("b/file")),
        lambda: os.rename(daemon.file("a/file"), daemon.file("b/file")),
        lambda: os.link(daemon.file("r"), daemon.file("b/r")),
    ]
    for change in across:
        with pytest.raises(OSError) as caught:
            change()
        assert caught.value.errno == errno.EXDEV
    changes: list[Callable[[], object]] = [
        lambda: os.rename(daemon.file("a/file"), daemon.file("file")),
        lambda: os.open(daemon.file("c/new"), os.O_CREAT | os.O_WRONLY),
        lambda: os.unlink(daemon.file("r")),
        lambda: os.mkdir(daemon.file("d")),
        lambda: os.chmod(daemon.file("c"), 0o700),
    ]
    for change in changes:
        with pytest.raises(OSError) as caught:
            change()
        assert caught.value.errno == errno.EROFS


def test_what_another_user_makes_is_the_other_users(mount: Mounter, home: Path) -> None:
    if os.geteuid():
        pytest.skip("takes root, and another user")
    home.chmod(0o777)
    for above in home.parents:
        if above.stat().st_uid == 0 and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o011)
    daemon = mount(f"m=dir:{home},rw", "--allow-other", "-q", wait=False).wait_mounted()
    inside = daemon.file("m")
    script = (
        f"umask 027; cd {inside}; echo x > f; mkdir d; ln -s f l; mkfifo p; echo y >> file; rm -f file; echo z > d/z"
    )
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65533", "--clear-groups", "sh", "-c", script],
        capture_output=True, text=True, timeout=WITHIN, check=False,
    )  # fmt: skip
    assert "file: Permission denied" in done.stderr  # root's own, 0644
    for name in ("f", "d", "l", "p", "d/z"):
        status = os.lstat(home / name)
        assert (status.st_uid, status.st_gid) == (65534, 65533), name
    assert stat.S_IMODE(os.stat(home / "f").st_mode) == 0o640
    assert stat.S_IMODE(os.stat(home / "d").st_mode) == 0o750
    assert not os.path.exists(home / "file")  # the directory is everybody's


def test_a_read_only_file_is_made_written_and_read(mirror: Daemon, home: Path) -> None:
    """As git and tar make files: created for writing with a mode that forbids it."""
    code = """
        import os, sys
        fd = os.open(sys.argv[1], os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o444)
        os.write(fd, b"written")
        os.close(fd)
    """
    python(code, mirror.file("m/ro"))
    assert (home / "ro").read_bytes() == b"written"
    assert stat.S_IMODE((home / "ro").stat().st_mode) == 0o444
    assert client("read", mirror.file("m/ro"), "0", "7")["data"] == b"written".hex()


def test_a_program_that_runs_from_a_writable_mirror_is_not_busy_below(mirror: Daemon, home: Path) -> None:
    subprocess.run(["cp", "/bin/sleep", mirror.file("m/sleep")], check=True, timeout=WITHIN)
    running = subprocess.Popen([mirror.file("m/sleep"), "60"])
    try:
        assert subprocess.run([home / "sleep", "0"], check=False, timeout=WITHIN).returncode == 0
        with pytest.raises(OSError) as caught:
            os.open(mirror.file("m/sleep"), os.O_WRONLY)
        assert caught.value.errno == errno.ETXTBSY
    finally:
        running.kill()
        running.wait()


def test_the_free_space_of_a_writable_mount_is_that_of_its_mirror(mirror: Daemon, home: Path) -> None:
    ours, theirs = os.statvfs(mirror.path), os.statvfs(home)
    assert (ours.f_frsize, ours.f_blocks, ours.f_files) == (theirs.f_frsize, theirs.f_blocks, theirs.f_files)
    assert ours.f_bavail > 0
