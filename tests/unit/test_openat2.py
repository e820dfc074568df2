"""Nothing leads out of a directory: neither by openat2(2) nor by the walk that replaces it."""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapfs.sources import openat2
from mapfs.sources.openat2 import filesystem_of_mount, mount_id, open_beneath

PARTS = [b"..", b".", b"", b"sub", b"inside", b"up", b"etc", b"deep", b"file", b"out", b"missing"]


@pytest.fixture(params=[True, False], ids=["openat2", "walk"], autouse=True)
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openat2, "_supported", request.param)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with links that lead out, and something to find out there."""
    home = tmp_path / "home"
    (home / "sub" / "deep").mkdir(parents=True)
    (home / "inside").write_text("inside")
    (home / "sub" / "file").write_text("file")
    (tmp_path / "out").write_text("out")
    (home / "up").symlink_to("..")
    (home / "etc").symlink_to("/etc")
    (home / "out").symlink_to(tmp_path / "out")
    (home / "sub" / "in").symlink_to("file")
    return home


@pytest.fixture
def root(home: Path) -> Iterator[int]:
    fd = os.open(home, os.O_PATH | os.O_DIRECTORY)
    before = len(os.listdir("/proc/self/fd"))
    yield fd
    assert len(os.listdir("/proc/self/fd")) == before, "a descriptor is left open"
    os.close(fd)


def content(root: int, path: bytes) -> bytes:
    fd = open_beneath(root, path, os.O_RDONLY)
    try:
        assert not os.get_inheritable(fd)
        return os.read(fd, 100)
    finally:
        os.close(fd)


def test_what_is_below_can_be_opened(root: int, home: Path) -> None:
    assert content(root, b"inside") == b"inside"
    assert content(root, b"sub/file") == b"file"
    fd = open_beneath(root, b"", os.O_RDONLY | os.O_DIRECTORY)
    assert sorted(os.listdir(fd)) == sorted(os.listdir(home))
    os.close(fd)


@pytest.mark.parametrize(
    "path",
    [b"..", b"../out", b"sub/../../out", b"up", b"up/out", b"etc/passwd", b"out", b"/etc/passwd", b"/", b"sub/in"],
)
def test_no_way_leads_out(root: int, path: bytes) -> None:
    with pytest.raises(OSError) as caught:
        content(root, path)
    assert caught.value.errno in (errno.EXDEV, errno.ELOOP, errno.ENOTDIR)


def test_not_even_its_own_absolute_path(root: int, home: Path) -> None:
    with pytest.raises(OSError) as caught:
        content(root, os.fsencode(home / "inside"))
    assert caught.value.errno == errno.EXDEV


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.sampled_from(PARTS), max_size=6), absolute=st.booleans())
def test_no_path_at_all_leads_out(root: int, home: Path, parts: list[bytes], absolute: bool) -> None:
    path = b"/".join(parts)
    try:
        fd = open_beneath(root, b"/" * absolute + path, os.O_PATH)
    except OSError:
        return
    try:
        found = Path(os.readlink(f"/proc/self/fd/{fd}"))
    finally:
        os.close(fd)
    assert found == home or home in found.parents


@pytest.mark.parametrize("path", [b"cwd/x", b"root/etc", b"fd/0/x", b"exe"])
def test_magic_links_are_not_followed(path: bytes) -> None:
    root = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError) as caught:
            content(root, path)
        assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR)
    finally:
        os.close(root)


def test_a_link_itself_can_be_looked_at(root: int) -> None:
    fd = open_beneath(root, b"out", os.O_PATH)
    assert stat.S_ISLNK(os.fstat(fd).st_mode)
    os.close(fd)


@pytest.mark.parametrize(("path", "number"), [(b"missing", errno.ENOENT), (b"inside/x", errno.ENOTDIR)])
def test_other_errors_are_those_of_open(root: int, path: bytes, number: int) -> None:
    with pytest.raises(OSError) as caught:
        content(root, path)
    assert caught.value.errno == number


def test_other_mounts_are_entered_only_where_they_may_be() -> None:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError) as caught:
            open_beneath(root, b"proc/self/status", os.O_RDONLY, cross_mounts=False)
        assert caught.value.errno == errno.EXDEV
        fd = open_beneath(root, b"proc/version", os.O_PATH)
        assert mount_id(fd) != mount_id(root)
        assert filesystem_of_mount(mount_id(fd)) == (os.stat("/proc/version").st_dev, "proc")
        os.close(fd)
    finally:
        os.close(root)
    assert filesystem_of_mount(1 << 30) == (-1, "")


def failing(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> list[int]:
    """openat2(2) fails with `numbers`, then works; the list says what is left of them."""
    left, real = list(numbers), openat2._syscall

    def syscall(*args: object) -> int:
        if not left:
            return int(real(*args))
        ctypes.set_errno(left.pop(0))
        return -1

    monkeypatch.setattr(openat2, "_supported", True)
    monkeypatch.setattr(openat2, "_syscall", syscall)
    return left


@pytest.mark.parametrize("numbers", [(errno.ENOSYS,), (errno.EPERM, errno.EPERM)], ids=["kernel", "container"])
def test_where_the_call_is_missing_or_forbidden_it_walks(
    root: int, monkeypatch: pytest.MonkeyPatch, numbers: tuple[int, ...]
) -> None:
    left = failing(monkeypatch, *numbers)
    assert content(root, b"sub/file") == b"file"
    assert not left
    assert not openat2._supported
    with pytest.raises(OSError):
        content(root, b"up/out")


def test_a_race_with_a_rename_is_tried_again(root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left = failing(monkeypatch, errno.EAGAIN, errno.EINTR)
    assert content(root, b"inside") == b"inside"
    assert not left


def test_permission_that_the_file_denies_is_an_error(root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not openat2._works(root):
        pytest.skip("this kernel or container has no openat2(2)")
    failing(monkeypatch, errno.EPERM)
    with pytest.raises(PermissionError):
        content(root, b"inside")
    assert openat2._supported
