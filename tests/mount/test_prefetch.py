"""`prefetch=`: a file whose demands run forward is pushed ahead; what is served is the same, and nobody else is affected."""

import itertools
import mmap
import os
import time
from pathlib import Path
from typing import Any

import pytest

import mapfs as package
from mapfs.sources.base import Source
from tests.conftest import Mounter
from tests.support import Client, Daemon, client, mapfs, python

PAGE = mmap.PAGESIZE
PAGES = 4000


def counted(events: list[dict[str, Any]], op: str) -> int:
    return sum(event["pages"] for event in events if event["op"] == op)


def times(daemon: Daemon) -> dict[int, int]:
    """How often each page was brought in, by whatever way."""
    found: dict[int, int] = {}
    for event in daemon.events():
        for page in range(event["page"], event["page"] + event["pages"]) if event["op"] in ("read", "push") else ():
            found[page] = found.get(page, 0) + 1
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(b"".join(number.to_bytes(8, "little") * (PAGE // 8) for number in range(PAGES)) + b"tail")
    return path


@pytest.mark.parametrize("kind", ["pages", "file", "shm-like"])
def test_forward_demands_are_pushed_ahead_and_get_the_right_pages(mount: Mounter, data: Path, kind: str) -> None:
    spec = {"pages": f"pages:{PAGES}p", "file": f"file:{data}", "shm-like": f"file:{data},coherency=live"}[kind]
    daemon = mount(f"data={spec},prefetch=auto")
    assert client("touch", daemon.file("data"), f"0-{PAGES - 1}")["numbers"] == list(range(PAGES))
    events = daemon.events()
    reads = counted(events, "read")
    assert reads < 100, "a few demands, until windows are large"
    assert counted(events, "push") >= PAGES - reads
    pushes = [event["pages"] for event in events if event["op"] == "push"]
    assert max(pushes) > 32, "windows grow"
    assert daemon.umount() == 0


@pytest.mark.parametrize("kind", ["pages", "file"])
def test_one_page_is_left_out_between_two_windows_and_none_comes_twice(mount: Mounter, data: Path, kind: str) -> None:
    daemon = mount(f"data={f'file:{data}' if kind == 'file' else f'pages:{PAGES}p'},prefetch=64p")
    client("touch", daemon.file("data"), f"0-{PAGES - 1}")
    assert times(daemon) == dict.fromkeys(range(-(-os.stat(daemon.file("data")).st_size // PAGE)), 1)
    reads = [event["page"] for event in daemon.events() if event["op"] == "read"]
    assert [after - before for before, after in itertools.pairwise(reads)][:7] == [1, 1, 1, 1, 33, 65, 65]
    assert daemon.umount() == 0


@pytest.mark.parametrize("readahead", ["16K", "128K", "4M"])
def test_the_kernels_read_ahead_and_pushing_go_together(mount: Mounter, data: Path, readahead: str) -> None:
    daemon = mount(f"data=file:{data}", f"pages=pages:{PAGES}p", "--prefetch", "auto", "--readahead", readahead)
    for name in ("data", "pages"):
        assert client("touch", daemon.file(name), f"0-{PAGES - 1}")["numbers"] == list(range(PAGES))
    code = "import sys; print(sum(map(len, iter(lambda f=open(sys.argv[1], 'rb'): f.read(70000), b''))))"
    mapfs("drop", daemon.file("data"))
    assert int(python(code, daemon.file("data")).stdout) == PAGES * PAGE + 4
    assert daemon.umount() == 0


def test_the_end_of_a_file_that_ends_within_a_page(mount: Mounter, data: Path) -> None:
    daemon = mount(f"data=file:{data},prefetch=auto")
    code = "import sys; print(open(sys.argv[1], 'rb', buffering=4096).read() == open(sys.argv[2], 'rb').read())"
    assert python(code, daemon.file("data"), data).stdout == "True\n"
    client("touch", daemon.file("data"), f"0-{PAGES}")
    assert os.stat(daemon.file("data")).st_size == PAGES * PAGE + 4, "a push does not make it longer"


def test_without_it_and_with_off_each_page_is_a_request(mount: Mounter) -> None:
    daemon = mount("data=pages:200p", "off=pages:200p,prefetch=off", "on=pages:200p", "--prefetch", "auto")
    exact = mount("data=pages:200p", at="exact")
    client("touch", exact.file("data"), "0-199")
    client("touch", daemon.file("off"), "0-199")
    assert [event["pages"] for event in exact.events() if event["op"] == "read"] == [1] * 200
    assert {event["op"] for event in daemon.events()} == {"read"}
    client("touch", daemon.file("on"), "0-199")
    assert "push" in {event["op"] for event in daemon.events()}, "the mount's own"
    assert daemon.umount() == exact.umount() == 0


def test_a_window_has_a_size(mount: Mounter) -> None:
    daemon = mount(f"data=pages:{PAGES}p,prefetch=16p")
    client("touch", daemon.file("data"), "0-999")
    pushes = [event["pages"] for event in daemon.events() if event["op"] == "push"]
    assert pushes and max(pushes) == 16


def test_random_demands_push_nothing(mount: Mounter) -> None:
    daemon = mount("data=pages:1T,prefetch=auto")
    code = """
        import mmap, os, random, sys
        memory = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)
        memory.madvise(mmap.MADV_RANDOM)
        chosen = random.Random(7).sample(range(len(memory) // mmap.PAGESIZE), 1000)
        assert all(int.from_bytes(memory[p * mmap.PAGESIZE : p * mmap.PAGESIZE + 8], "little") == p for p in chosen)
    """
    python(code, daemon.file("data"))
    assert {event["op"] for event in daemon.events()} == {"read"}


def test_each_thread_is_followed_by_itself(mount: Mounter) -> None:
    daemon = mount("data=pages:16000p,prefetch=auto")
    code = """
        import mmap, os, sys, threading
        memory = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)
        wrong, start = [], threading.Barrier(4)
        def run(first):
            start.wait(30)
            for page in range(first, first + 4000):
                if int.from_bytes(memory[page * mmap.PAGESIZE : page * mmap.PAGESIZE + 8], "little") != page:
                    wrong.append(page)
        threads = [threading.Thread(target=run, args=(first,)) for first in range(0, 16000, 4000)]
        for one in threads: one.start()
        for one in threads: one.join()
        assert not wrong, wrong[:9]
    """
    python(code, daemon.file("data"))
    events = daemon.events()
    assert counted(events, "push") > 8000
    assert set(times(daemon)) == set(range(16000))
    assert daemon.umount() == 0


def test_a_file_that_is_open_for_writing_is_not_pushed(mount: Mounter) -> None:
    daemon = mount("data=memfd:400p,prefetch=auto")
    writer = """
        import mmap, os, sys
        memory = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 0)
        memory[300 * mmap.PAGESIZE] = 77
        input(); print("stored", flush=True)
        input(); print(memory[300 * mmap.PAGESIZE], flush=True)
    """
    with Client(writer, daemon.file("data")) as writing:
        writing.ask()
        client("touch", daemon.file("data"), "0-399")
        assert writing.ask() == "77"
        assert writing.end() == 0
    assert "push" not in {event["op"] for event in daemon.events()}
    assert daemon.umount() == 0


def test_a_page_that_fails_is_an_error_of_whoever_demands_it_alone(mount: Mounter) -> None:
    daemon = mount("data=pages:600p,error=EIO@300,prefetch=auto")
    client("touch", daemon.file("data"), "0-299", "301-599")
    assert [event["error"] for event in daemon.events() if event["error"]] == []
    assert client("read", daemon.file("data"), str(300 * PAGE), "10") == {"errno": 5}
    assert daemon.umount() == 0


def test_what_is_slow_on_purpose_is_seen_waiting_page_by_page(mount: Mounter) -> None:
    daemon = mount("data=pages:60p,delay=1ms,prefetch=auto")
    client("touch", daemon.file("data"), "0-59")
    assert counted(daemon.events(), "read") == 60


class Far(Source):
    """One that takes 2 ms, as a server does."""

    size = PAGES * PAGE

    def read(self, offset: int, size: int) -> bytes:
        time.sleep(0.002)
        return b"".join((offset // PAGE + n).to_bytes(8, "little").ljust(PAGE, b"x") for n in range(size // PAGE))


def test_windows_of_a_source_that_waits_are_read_at_once() -> None:
    with package.mounted({"data": Far()}, prefetch="auto") as mounted:
        assert client("touch", str(mounted / "data"), f"0-{PAGES - 1}")["numbers"] == list(range(PAGES))
        events = mounted.events()
        assert max(event["pages"] for event in events if event["op"] == "push") > 32
        assert counted(events, "read") < PAGES / 2


def test_a_mount_ends_while_it_is_pushed(mount: Mounter) -> None:
    daemon = mount("data=pages:1T,prefetch=64M")
    code = """
        import mmap, os, sys
        memory = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)
        print("go", flush=True)
        for page in range(1 << 20): memory[page * mmap.PAGESIZE]
    """
    with Client(code, daemon.file("data")) as reading:
        reading.ask()
        daemon.process.terminate()
        assert daemon.wait_end() == 0


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["a=pages:4p,prefetch=1"], 2, "prefetch=1 is no window; write auto, off, or a size from"),
        (["a=pages:4p,prefetch=2G"], 2, "is no window"),
        (["a=pages:4p", "--prefetch", "often"], 2, "'often' is not a size"),
        (["a=pages:4p", "--prefetch", "auto", "--link", "plain"], 2, "--prefetch needs the own link"),
        (["a=concat:pages:1p,,prefetch=auto"], 2, "prefetch= goes behind the whole"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, words: list[str], code: int, sentence: str) -> None:
    done = mapfs("mount", str(tmp_path / "m"), *words, check=False)
    assert (done.returncode, sentence in done.stderr) == (code, True), done.stderr
