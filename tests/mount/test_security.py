"""What docs/SECURITY.md promises of a mount, held on one."""

import os
import subprocess
from pathlib import Path

import pytest

from mapfs.client import ask
from mapfs.errors import MapfsError
from tests.conftest import Mounter
from tests.mount.test_places import needs_root
from tests.support import WITHIN


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
