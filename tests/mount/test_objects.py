"""Objects of this machine in a mount: the memory of a process, and what would make a mount wait for itself."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.contract.places import CONTENT, SIZE, Place
from tests.contract.places_objects import PADDED, Other, memory
from tests.support import WITHIN, client, mapfs

PAGES = 50
DEMANDS = f"""
import json, mmap, os, sys, threading
found, ready = [], threading.Barrier({2 * PAGES})
def demand(path, page):
    fd = os.open(path, os.O_RDONLY)
    ready.wait()
    try:
        found.append(len(os.pread(fd, 1, page * mmap.PAGESIZE)))
    except OSError as error:
        found.append(error.strerror)
threads = [threading.Thread(target=demand, args=(path, page)) for path in sys.argv[1:] for page in range({PAGES})]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(found))
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """As the contract tests have it."""
    with contextlib.ExitStack() as stack:
        (tmp_path / "place").mkdir()
        yield Place(tmp_path / "place", stack)


def test_the_memory_of_a_process_is_mapped(mount: Mounter, place: Place) -> None:
    other, at = memory(place)
    daemon = mount(f"range=process:{other.pid}:{at:x}-{at + SIZE:x}", f"all=process:{other.pid}")
    name = f"{at:012x}-{at + len(PADDED):012x}.rw-p.anon"
    assert name in os.listdir(daemon.file("all"))
    assert Path(daemon.file("range")).read_bytes() == CONTENT
    assert Path(daemon.file("all"), name).read_bytes() == PADDED
    assert os.getxattr(daemon.file(f"all/{name}"), "user.mapfs.spec").decode() == f"process:{other.pid}/{name}"
    other.end()
    with pytest.raises(ProcessLookupError):
        os.listdir(daemon.file("all"))


def test_a_page_that_a_process_maps_out_of_a_mount_is_an_error_and_nothing_waits(mount: Mounter, place: Place) -> None:
    """One thread may wait, and would wait for a demand that has none left: that of a page of `range`, by the kernel."""
    other, at = memory(place)
    daemon = mount(
        f"range=process:{other.pid}:{at:x}-{at + SIZE:x}", f"all=process:{other.pid}",
        f"disk=file:{place.file('disk')}", "--threads", "1",
    )  # fmt: skip
    starts = [other.tell("mapped", daemon.file(name)) for name in ("disk", "range")]
    names = os.listdir(daemon.file("all"))
    shown = [daemon.file(f"all/{name}") for start in starts for name in names if name.startswith(f"{start:012x}-")]
    assert len(shown) == 2
    done = subprocess.run(
        [sys.executable, "-c", DEMANDS, *shown], capture_output=True, text=True, check=True, timeout=WITHIN
    )
    assert json.loads(done.stdout) == ["Input/output error"] * 2 * PAGES
    assert "maps a file of a mapfs mount at" in daemon.wait_line("ERROR")
    assert Path(daemon.file("range")).read_bytes() == CONTENT, "the rest of its memory is served"


def test_a_descriptor_in_a_mount_is_refused(mount: Mounter, place: Place) -> None:
    daemon = mount("pages=pages:4p")
    other = Other(place)
    fd = other.tell("opened", daemon.file("pages"), os.O_RDONLY)
    done = mapfs("mount", str(place.path), f"theirs=fd:{other.pid}:{fd}", check=False)
    assert done.returncode == 1
    assert f"descriptor {fd} of process {other.pid} lies in a mapfs mount" in done.stderr
    assert client("touch", daemon.file("pages"), "3")["numbers"] == [3]
    other.end()


@pytest.mark.parametrize("kind", ["device:{},size=4K", "device:{},size=4K,rw", "file:{}"])
def test_a_terminal_that_is_refused_does_not_take_the_mount_with_it(tmp_path: Path, kind: str) -> None:
    """A daemon leads a session, which gets the first terminal that it opens, and SIGHUP when that ends (tty(4))."""
    path, (ours, theirs) = str(tmp_path / "mnt"), os.openpty()
    mapfs("mount", "--daemon", path, "pages=pages:4p")
    try:
        done = mapfs("add", path, "t=" + kind.format(os.ttyname(theirs)), check=False)
        assert done.returncode == 1 and "mapfs: " in done.stderr
        os.close(ours)
        assert client("touch", os.path.join(path, "pages"), "2")["numbers"] == [2]
    finally:
        os.close(theirs)
        mapfs("umount", path, check=False)
    assert not os.path.exists(path)
