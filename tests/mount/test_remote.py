"""Remote objects in a mount: a page is right or an error, and what a server does never stops the mount."""

import copy
import errno
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mapfs.sources.pages import page_bytes
from tests.conftest import Mounter
from tests.support import Daemon, client, mapfs, wait_until
from tests.web import Manners, Server, serving

CONTENT = b"".join(page_bytes(page) for page in range(64))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving({"/file": CONTENT, "/dir/one": CONTENT, "/dir/two": CONTENT[:5000]}) as server:
        server.pages = {"/dir/": '<a href="one">one</a> <a href="two">two</a>'}
        yield server


def descriptors(daemon: Daemon) -> int:
    home = f"/proc/{daemon.stats()['daemon']['pid']}/fd/"
    return sum(
        not os.readlink(home + name).endswith("/comm") for name in os.listdir(home) if os.path.lexists(home + name)
    )


def test_each_page_is_one_ranged_request(mount: Mounter, server: Server) -> None:
    daemon = mount(f"f={server.url()}", "-q", wait=False).wait_mounted()
    server.forget()
    assert client("touch", daemon.file("f"), "3", "60")["numbers"] == [3, 60]
    assert client("touch", daemon.file("f"), "3", "60")["numbers"] == [3, 60]
    assert [asked.range for asked in server.asked if asked.range] == ["bytes=12288-16383", "bytes=245760-249855"]
    assert daemon.demands("f") == [("COLD", 3), ("COLD", 60)]


def test_an_object_that_changed_is_an_error_until_it_is_opened_anew(mount: Mounter, server: Server) -> None:
    daemon = mount(f"f={server.url()},retries=0", "-q", wait=False).wait_mounted()
    fd = os.open(daemon.file("f"), os.O_RDONLY)
    try:
        assert os.pread(fd, 8, 0) == (0).to_bytes(8, "little")
        server.files["/file"] = CONTENT[::-1]
        with pytest.raises(OSError) as caught:
            os.pread(fd, 8, 4096 * 5)
        assert caught.value.errno == errno.ESTALE
        assert "changed" in next(event["reason"] for event in daemon.events() if event["error"])
    finally:
        os.close(fd)
    assert client("read", daemon.file("f"), "20480", "8")["data"] == CONTENT[::-1][20480:20488].hex()
    assert client("read", daemon.file("f"), "0", "8")["data"] == CONTENT[::-1][:8].hex()  # the old page is gone


MISBEHAVIOUR: dict[str, dict[str, Any]] = {
    "a body that breaks off": {"cuts": [100] * 9},
    "the whole file where a range was asked for": {"ranges": False},
    "another range": {"shift": 1},
    "another size": {"total": "7"},
    "an error": {"failures": [(500, {})] * 9},
}


@pytest.mark.parametrize("what", MISBEHAVIOUR)
def test_a_server_that_lies_is_an_error_of_that_page_alone(mount: Mounter, server: Server, what: str) -> None:
    daemon = mount(f"f={server.url()},retries=0,timeout=2s", "n=pages:64p", "-q", wait=False).wait_mounted()
    before = descriptors(daemon)
    server.manners = Manners(**copy.deepcopy(MISBEHAVIOUR[what]))
    assert "errno" in client("read", daemon.file("f"), "4096", "8")
    assert client("touch", daemon.file("n"), "0-63")["numbers"] == list(range(64))
    server.manners = Manners()
    wait_until(lambda: "data" in client("read", daemon.file("f"), "4096", "8"), "a server that is well again")
    assert client("touch", daemon.file("f"), "1", "2")["numbers"] == [1, 2]
    wait_until(lambda: descriptors(daemon) <= before + 2, "the connections that broke")
    assert daemon.umount() == 0


def test_a_server_that_stalls_holds_up_nobody_else_and_ends_in_time(mount: Mounter, server: Server) -> None:
    daemon = mount(f"f={server.url()},timeout=1s", "n=pages:64p", "-q", wait=False).wait_mounted()
    server.manners = Manners(stalls=100)
    began = time.monotonic()
    assert client("touch", daemon.file("n"), "0-63")["numbers"] == list(range(64))
    assert client("read", daemon.file("f"), "0", "8")["errno"] == errno.ETIMEDOUT
    assert time.monotonic() - began < 20
    assert daemon.umount() == 0


def test_a_listing_is_a_directory_and_what_is_added_can_be_removed(mount: Mounter, server: Server) -> None:
    daemon = mount("n=pages:4p", "-q", wait=False).wait_mounted()
    before = descriptors(daemon)
    mapfs("add", daemon.path, f"d={server.url('/dir/')}")
    assert sorted(os.listdir(daemon.file("d"))) == ["one", "two"]
    assert os.stat(daemon.file("d/two")).st_size == 5000
    assert client("touch", daemon.file("d/one"), "5", "63")["numbers"] == [5, 63]
    mapfs("remove", daemon.path, "d")
    wait_until(lambda: descriptors(daemon) == before, "the connections of what was removed")
    assert daemon.umount() == 0


def test_no_secret_of_a_url_is_shown(mount: Mounter, server: Server) -> None:
    url = server.url(user="me:hush@")
    daemon = mount(f"f={url},token=hush", "-q", wait=False).wait_mounted()
    assert b"hush" not in os.getxattr(daemon.file("f"), "user.mapfs.spec")
    assert "hush" not in mapfs("files", daemon.path, "--json").stdout
