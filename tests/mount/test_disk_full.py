"""A disk that is full below a mount: who writes is told ENOSPC, what was stored before is whole, nobody waits, and
once there is room again it goes on. On a small filesystem of its own, in memory and on a loop device.
"""

import contextlib
import errno
import mmap
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.mount.test_places import needs_root
from tests.support import WITHIN, Client, Daemon, mapfs, python

pytestmark = needs_root
PAGE = mmap.PAGESIZE
ROOM = 1 << 20  # bytes that are left free for a test, more or less
PAGES = 2 * ROOM // PAGE  # of the file: more than there is room for
# writes page after page, each of its own number, from the one that it is given: where it was refused, and why
WRITE = """
    import mmap, os, sys
    how, path, pages = sys.argv[1], sys.argv[2], int(sys.argv[3])
    fd = os.open(path, os.O_RDWR)
    m = mmap.mmap(fd, 0)
    size = mmap.PAGESIZE
    for line in sys.stdin:
        page, number = int(line), 0
        try:
            while page < pages:
                data = page.to_bytes(8, "little") * (size // 8)
                if how == "write":
                    os.pwrite(fd, data, page * size)
                else:
                    m[page * size : (page + 1) * size] = data
                    m.flush(page * size, size)
                page += 1
        except OSError as error:
            number = error.errno
        print(page, number)
"""


@contextlib.contextmanager
def tmpfs(place: Path) -> Iterator[Path]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "small", str(place)], check=True, timeout=WITHIN)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True, timeout=WITHIN)


@contextlib.contextmanager
def ext4(place: Path) -> Iterator[Path]:
    """A small one on a loop device at `place`, with about `ROOM` bytes left."""
    image = place.with_suffix(".img")
    with open(image, "wb") as file:
        file.truncate(8 << 20)
    subprocess.run(
        ["mkfs.ext4", "-q", "-b", "4096", "-m", "0", "-O", "^has_journal", str(image)], check=True, timeout=WITHIN
    )
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True, timeout=WITHIN)
    try:
        there = os.statvfs(place)
        with open(place / "other", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, there.f_bavail * there.f_bsize - ROOM)
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True, timeout=WITHIN)


@pytest.fixture(params=[tmpfs, ext4], ids=["tmpfs", "ext4"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A filesystem with about `ROOM` bytes left."""
    if request.param is ext4 and not os.path.exists("/dev/loop-control"):
        pytest.skip("needs loop devices")
    with request.param(tmp_path / "small") as place:
        (place / "filling").write_bytes(b"x" * (ROOM // 2))
        yield place


def _page(number: int) -> bytes:
    return number.to_bytes(8, "little") * (PAGE // 8)


def _start(mount: Mounter, small: Path, tmp_path: Path, kind: str) -> tuple[Daemon, str, Path]:
    """A mount with one file of zeroes that takes room on `small` as it is written, its path, and what it is made of."""
    made = small / "data" if kind == "mirror" else tmp_path / "data"
    with open(made, "wb") as file:
        file.truncate(PAGES * PAGE)
    if kind == "mirror":
        daemon = mount(f"m=dir:{small},rw")
        return daemon, daemon.file("m/data"), made
    daemon = mount(f"c=file:{made},rw,cow={small}")
    return daemon, daemon.file("c"), made


@pytest.mark.parametrize("how", ["write", "mmap"])
@pytest.mark.parametrize("kind", ["mirror", "cow"])
def test_a_full_disk_is_told_keeps_what_it_has_and_goes_on_when_there_is_room(
    mount: Mounter, small: Path, tmp_path: Path, kind: str, how: str
) -> None:
    daemon, path, made = _start(mount, small, tmp_path, kind)
    with Client(WRITE, how, path, PAGES) as writer:
        refused, number = map(int, writer.ask("0").split())
        assert number == errno.ENOSPC
        assert 0 < refused < PAGES
        # said where it belongs: in the event, and in the log
        errors = [event for event in daemon.events() if event["error"]]
        assert {(event["op"], event["error"], event["page"]) for event in errors} == {("write", "ENOSPC", refused)}
        line = daemon.wait_line("ENOSPC")
        assert "No space left on device" in line and ("cow=DIR" in line) == (kind == "cow"), line
        # nobody waits, and what was stored is whole: asked for anew, past the page cache
        mapfs("drop", path)
        assert _content(path) == [_page(page) for page in range(refused)] + [bytes(PAGE)] * (PAGES - refused)
        assert daemon.stats()["daemon"]["waiting_demands"] == 0
        # the same client goes on once there is room
        (small / "filling").unlink()
        further, number = map(int, writer.ask(str(refused)).split())
        assert further > refused
        assert number == (errno.ENOSPC if further < PAGES else 0)
        assert writer.end() == 0
    mapfs("drop", path)
    expected = [_page(page) for page in range(further)] + [bytes(PAGE)] * (PAGES - further)
    assert _content(path) == expected
    if kind == "cow":
        assert made.read_bytes() == bytes(PAGES * PAGE)
        mapfs("commit", path)
    assert daemon.umount() == 0
    assert _content(made) == expected


@pytest.mark.parametrize("kind", ["mirror", "cow"])
def test_what_nobody_waits_for_is_told_by_the_log(mount: Mounter, small: Path, tmp_path: Path, kind: str) -> None:
    """A store into a mapping that is written back after its program has gone."""
    daemon, path, made = _start(mount, small, tmp_path, kind)
    _fill(small)
    python(
        """
        import mmap, os, sys
        fd = os.open(sys.argv[1], os.O_RDWR); m = mmap.mmap(fd, 0); os.close(fd)
        m[5 * mmap.PAGESIZE] = 7
        """,
        path,
    )
    assert "No space left on device" in daemon.wait_line("ENOSPC")
    errors = [event for event in daemon.events() if event["error"]]
    assert {(event["op"], event["error"], event["page"]) for event in errors} == {("write", "ENOSPC", 5)}
    assert daemon.umount() == 0
    assert made.read_bytes() == bytes(PAGES * PAGE)


def test_names_on_a_full_disk(mount: Mounter, small: Path) -> None:
    """What is only renamed, read or removed works; what needs room is refused, and leaves nothing behind."""
    (small / "old").write_bytes(b"old" * PAGE)
    daemon = mount(f"m=dir:{small},rw")
    filling = _fill(small)
    done = subprocess.run(["cp", daemon.file("m/old"), daemon.file("m/new")], capture_output=True, text=True,
        timeout=WITHIN, check=False)  # fmt: skip
    assert (done.returncode, "No space left on device" in done.stderr) == (1, True)
    os.rename(daemon.file("m/old"), daemon.file("m/renamed"))
    with open(daemon.file("m/renamed"), "rb") as file:
        assert file.read() == b"old" * PAGE
    os.unlink(daemon.file("m/" + filling.name))  # through the mount itself
    subprocess.run(["cp", daemon.file("m/renamed"), daemon.file("m/new")], check=True, timeout=WITHIN)
    assert daemon.umount() == 0
    assert (small / "new").read_bytes() == (small / "renamed").read_bytes() == b"old" * PAGE


def _content(path: str | Path) -> list[bytes]:
    """A file page by page."""
    data = Path(path).read_bytes()
    return [data[at : at + PAGE] for at in range(0, len(data), PAGE)]


def _fill(place: Path) -> Path:
    """Takes all that is left of `place`; the file that holds it."""
    filling = place / "rest"
    with open(filling, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE))
        except OSError as error:
            assert error.errno == errno.ENOSPC
    return filling
