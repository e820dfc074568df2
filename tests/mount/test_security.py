"""What docs/SECURITY.md promises of a mount, held on one."""

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mapfs.client import ask
from mapfs.errors import MapfsError
from tests.conftest import Mounter
from tests.mount.test_places import needs_root
from tests.support import WITHIN, Client


def _options(path: str) -> set[str]:
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        for line in table:
            fields = line.split()
            if fields[4] == path:
                return {*fields[5].split(","), *fields[-1].split(",")}
    raise AssertionError(f"{path} is not mounted")


@pytest.mark.parametrize("link", ["own", "plain"])
@pytest.mark.parametrize("others", [False, True])
def test_nosuid_and_nodev_always_and_others_only_with_their_permissions(
    mount: Mounter, link: str, others: bool
) -> None:
    daemon = mount("p=pages:4p", f"--link={link}", *(["--allow-other"] if others else []))
    options = _options(daemon.path)
    assert {"nosuid", "nodev"} <= options
    assert ("allow_other" in options, "default_permissions" in options) == (others, others)


@pytest.mark.parametrize(
    "spec", ["python:os:getcwd", "concat:text:a|python:os:getcwd", "sparse:1M|4K=python:os:getcwd", "fd:0"]
)
def test_no_code_and_no_inherited_descriptor_comes_through_ctl(mount: Mounter, spec: str) -> None:
    daemon = mount("p=pages:4p", "-q", wait=False).wait_mounted()
    with pytest.raises(MapfsError, match="only when the mount is made"):
        ask(daemon.path, "add", name="x", spec=spec)
    assert [row["name"] for row in ask(daemon.path, "files")["files"]] == ["p"]


def test_a_descriptor_of_ctl_serves_only_its_opener(mount: Mounter) -> None:
    """Another user who gets hold of the path cannot open it, by /proc/PID/fd neither."""
    if os.geteuid():
        pytest.skip("becomes another user, which only root can")
    daemon = mount("p=pages:4p", "--allow-other", "-q", wait=False).wait_mounted()
    fd = os.open(daemon.file(".mapfs/ctl"), os.O_RDWR)
    try:
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c",
             'exec 3<> "/proc/self/fd/$0"', str(fd)],
            pass_fds=[fd], capture_output=True, text=True, timeout=WITHIN, check=False,
        )  # fmt: skip
    finally:
        os.close(fd)
    assert done.returncode != 0 and "Permission denied" in done.stderr


def test_a_link_in_a_mirror_leads_where_the_client_may_go_and_never_the_daemon(mount: Mounter, tmp_path: Path) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside"
    home.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (home / "up").symlink_to("../outside/secret")
    (home / "away").symlink_to(outside)
    daemon = mount(f"m=dir:{home}", "-q", wait=False).wait_mounted()
    assert os.readlink(daemon.file("m/up")) == "../outside/secret"
    with pytest.raises(FileNotFoundError):  # resolved in the mount, where there is no such path
        os.stat(daemon.file("m/up"))
    assert daemon.events() == []


SWAPPER = """
    import os, sys
    home, outside = sys.argv[1:]
    os.symlink(outside, home + "/link")
    os.rename(home + "/dir", home + "/kept")
    libc = __import__("ctypes").CDLL(None)
    print("swapping", flush=True)
    while os.path.exists(home + "/go"):  # `dir` is a directory and a link out of the tree, in turn; at any moment one of both
        os.rename(home + "/kept", home + "/dir")
        assert libc.renameat2(-100, os.fsencode(home + "/dir"), -100, os.fsencode(home + "/link"), 2) == 0
        assert libc.renameat2(-100, os.fsencode(home + "/dir"), -100, os.fsencode(home + "/link"), 2) == 0
        os.rename(home + "/dir", home + "/kept")
        os.symlink(outside + "/data", home + "/file.new")  # and so is a file
        os.rename(home + "/file.new", home + "/file")
        with open(outside + "/plain.new", "w") as file:  # whole before it is seen
            file.write("inside" * 1000)
        os.rename(outside + "/plain.new", home + "/file")
"""
# what the mount itself serves; where it shows a link, that is the client's to follow, and is not followed here
RACER = """
    import mmap, os, sys, time
    mount, seconds = sys.argv[1], float(sys.argv[2])
    counts = {"inside": 0, "refused": 0, "wrong": 0}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name in ("dir/data", "file"):
            try:
                above = os.open(mount, os.O_PATH)
                for part in name.split("/")[:-1]:
                    below = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=above)
                    os.close(above)
                    above = below
                fd = os.open(name.split("/")[-1], os.O_RDONLY | os.O_NOFOLLOW, dir_fd=above)
                os.fstat(fd), os.listdir(mount)
                content = os.read(fd, 6) + mmap.mmap(fd, 0, prot=mmap.PROT_READ)[-6:]
                counts["inside" if content == b"insideinside" else "wrong"] += 1
                os.close(fd)
            except (OSError, ValueError):
                counts["refused"] += 1
            finally:
                os.close(above)
    print(*counts.values())
"""


@pytest.mark.parametrize("writable", ["", ",rw"])
def test_no_race_with_a_link_leads_out_of_a_mirror(mount: Mounter, tmp_path: Path, writable: str) -> None:
    """A directory and a file are replaced by links that lead out, and back, all the time that clients open them."""
    home, outside = tmp_path / "home", tmp_path / "outside"
    for place, content in ((home / "dir", "inside"), (outside, "secret")):
        place.mkdir(parents=True)
        (place / "data").write_text(content * 1000)
    (home / "file").write_text("inside" * 1000)
    (home / "go").touch()
    daemon = mount(f"m=dir:{home}{writable}", "-q", wait=False).wait_mounted()
    with Client(SWAPPER, home, outside) as swapper:
        assert swapper.process.stdout and swapper.process.stdout.readline() == "swapping\n"
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(RACER), daemon.file("m"), "3"], stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        said = [racer.communicate(timeout=WITHIN)[0] for racer in racers]
        assert [racer.returncode for racer in racers] == [0, 0]
        assert swapper.process.poll() is None
        (home / "go").unlink()
        assert swapper.process.wait(WITHIN) == 0
    counts = [list(map(int, line.split())) for line in said]
    inside, refused, wrong = map(sum, zip(*counts, strict=True))
    assert wrong == 0
    assert inside > 0 and refused > 0, "both were met"
    assert daemon.umount() == 0


def test_a_hard_link_is_content_of_the_tree_that_it_lies_in(mount: Mounter, tmp_path: Path) -> None:
    """As docs/SECURITY.md says: who may make a link in the tree puts the file there, and a write goes to both names."""
    home, outside = tmp_path / "home", tmp_path / "outside"
    home.mkdir()
    outside.mkdir()
    (outside / "other").write_bytes(b"o" * 5000)
    os.link(outside / "other", home / "linked")
    daemon = mount(f"m=dir:{home},rw")
    assert Path(daemon.file("m/linked")).read_bytes() == b"o" * 5000
    assert os.stat(daemon.file("m/linked")).st_nlink == 2
    # but none can be made through the mount to what lies outside of it, by whatever way it is named
    fd = os.open(outside / "other", os.O_RDONLY)
    try:
        for source in (outside / "other", f"/proc/self/fd/{fd}"):
            with pytest.raises(OSError) as caught:
                os.link(source, daemon.file("m/new"), follow_symlinks=True)
            assert caught.value.errno == errno.EXDEV
    finally:
        os.close(fd)
    with pytest.raises(OSError) as caught:  # nor out of it
        os.link(daemon.file("m/linked"), outside / "new")
    assert caught.value.errno == errno.EXDEV
    with open(daemon.file("m/linked"), "r+b") as file:
        file.write(b"changed")
    assert (outside / "other").read_bytes() == b"changed" + b"o" * 4993
    os.unlink(daemon.file("m/linked"))
    assert (outside / "other").exists()
    assert daemon.umount() == 0


@needs_root
@pytest.mark.parametrize(
    "less",
    [
        ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-all", "--"],
        ["unshare", "--user", "--map-root-user", "--"],
    ],
    ids=["fewer-capabilities", "user-namespace"],
)
def test_a_root_with_less_than_all_rights_may_not_command(mount: Mounter, less: list[str]) -> None:
    daemon = mount("a=pages:4p")
    ask = ["sh", "-c", 'exec 3<>"$1" && cat "$2" > /dev/null', "sh", daemon.file(".mapfs/ctl"), daemon.file("a")]
    assert subprocess.run(ask, capture_output=True, timeout=WITHIN, check=False).returncode == 0
    refused = subprocess.run([*less, *ask], capture_output=True, text=True, timeout=WITHIN, check=False)
    assert refused.returncode != 0 and "Permission denied" in refused.stderr
    assert daemon.umount() == 0
