"""Pushing ahead is held back by what the kernel's own account says of pages that were pushed: not by a guess."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import mapfs as package
from mapfs.sources.base import Source
from tests.conftest import Mounter
from tests.support import Client, Daemon, client, mapfs, pages_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the kernel's tracepoints are for root")
PAGE = os.sysconf("SC_PAGE_SIZE")
PAGES = 8000
WINDOW = 63  # pages: what is left out between two windows is one page of each 64
BEGIN = [0, 1, 2, 3, 4, 37]  # until the first two windows, of 32 and 63 pages, are passed by
SKIPS = range(37 + 64, PAGES, 64)
SOON = 4  # of SKIPS: as a rule enough to see that what lies between is not wanted

# touches the pages of each line, by a mapping or by read(2)
TOUCH = f"""
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
memory = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
for line in sys.stdin:
    for page in map(int, line.split()):
        at = page * {PAGE}
        found = memory[at : at + 8] if sys.argv[2] == "map" else os.pread(fd, {PAGE}, at)[:8]
        assert int.from_bytes(found, "little") == page
    print("done")
"""


def ask(reader: Client, pages: Sequence[int]) -> None:
    assert reader.ask(" ".join(map(str, pages))) == "done"


def brought(daemon: Daemon) -> list[dict[str, Any]]:
    """What brought pages in for the first time: the machine may take a page back before it is touched."""
    events = daemon.events()
    assert not [event for event in events if event["op"] == "lost"]
    return [event for event in events if event["op"] == "push" or event["class"] == "COLD"]


def counts(daemon: Daemon) -> tuple[list[int], list[int]]:
    """The pages that were demanded, and those that were pushed, each sorted."""
    demanded, pushed = ([one for one in brought(daemon) if one["op"] == op] for op in ("read", "push"))
    return sorted(pages_of(demanded, "data")), sorted(pages_of(pushed, "data"))


def skip_until_held(daemon: Daemon, reader: Client) -> int:
    """Has a program touch one page of each 64, until pushing is held back; how many of SKIPS that took. It may take some
    more where the kernel had no room for a sample.
    """
    ask(reader, [*BEGIN, *SKIPS[:SOON]])
    some = SOON
    while not daemon.stats()["held_back"]:
        assert some < len(SKIPS) / 3, "by then it should have been seen"
        ask(reader, SKIPS[some : some + 1])
        some += 1
    return some


def skip_through(mount: Mounter, how: str, evidence: str, trace: Path) -> tuple[Daemon, int]:
    """Has a program touch one page of each 64, and no other, all that is pushed being between them. The mount, and how
    many of SKIPS it touched before pushing was held back.
    """
    some = len(SKIPS)
    daemon = mount(
        f"data=pages:{PAGES}p,prefetch={WINDOW}p", "-q", "--evidence", evidence, "--trace", str(trace),
        at=evidence, wait=False,
    ).wait_mounted()  # fmt: skip
    with Client(TOUCH, daemon.file("data"), how) as reader:
        if evidence == "kernel":
            some = skip_until_held(daemon, reader)
            ask(reader, SKIPS[some:])
        else:
            ask(reader, [*BEGIN, *SKIPS])
        assert reader.end() == 0
    return daemon, some


@pytest.mark.parametrize("how", ["read", "map"])
def test_a_program_that_skips_what_is_pushed_is_pushed_no_more(mount: Mounter, tmp_path: Path, how: str) -> None:
    touched = [*BEGIN, *SKIPS]
    for evidence in ("requests", "faults"):  # neither can tell
        blind, _ = skip_through(mount, how, evidence, tmp_path / f"{evidence}.db")
        demanded, pushed = counts(blind)
        assert demanded == touched
        assert pushed == sorted(set(range(5, PAGES)) - set(touched)), "all that was not wanted"
        assert blind.stats()["held_back"] == []
        assert blind.umount() == 0
    seeing, some = skip_through(mount, how, "kernel", tmp_path / "kernel.db")
    demanded, pushed = counts(seeing)
    assert demanded == touched
    most = 32 + (some + 2) * WINDOW  # what it had passed by until then, and the window behind
    assert 32 + 2 * WINDOW <= len(pushed) <= most < len(SKIPS) * WINDOW / 2
    (held,) = seeing.stats()["held_back"]
    assert (held["file"], held["times"]) == ("data", 1)
    assert held["pushed"] / 2 < held["untouched"] <= held["pushed"] <= len(pushed)
    if how == "read":  # a mapping has the neighbours of a touched page, too
        assert held["untouched"] == held["pushed"]
    words = f"prefetch held back: 1 time, after {held['untouched']} of {held['pushed']} pages pushed were passed by"
    assert words in mapfs("summary", seeing.path).stdout
    assert seeing.umount() == 0
    assert words in mapfs("summary", str(tmp_path / "kernel.db")).stdout
    assert "prefetch held back" not in mapfs("summary", str(tmp_path / "requests.db")).stdout
    summary = json.loads(mapfs("summary", "--json", str(tmp_path / "kernel.db")).stdout)
    assert summary["held_back"] == {"times": 1, "pushed": held["pushed"], "untouched": held["untouched"]}
    assert summary["pushes"]["brought"] == len(pushed)
    if how == "read":
        assert summary["pushes"]["wasted"] == len(pushed)
    assert json.loads(mapfs("summary", "--json", str(tmp_path / "faults.db")).stdout)["held_back"] is None


def test_who_reads_on_after_skipping_is_pushed_again(mount: Mounter) -> None:
    daemon = mount(f"data=pages:{PAGES}p,prefetch={WINDOW}p", "-q", "--evidence", "kernel", wait=False).wait_mounted()
    with Client(TOUCH, daemon.file("data"), "map") as reader:
        skip_until_held(daemon, reader)
        held = daemon.stats()["held_back"]
        ask(reader, range(4000, PAGES))
    demanded, pushed = counts(daemon)
    behind = range(4009 + 32, PAGES, 64)  # the first window is of 32 pages
    assert [page for page in demanded if page >= 4000] == [*range(4000, 4009), *behind]
    assert [page for page in pushed if page >= 4000] == [page for page in range(4009, PAGES) if page not in behind]
    assert daemon.stats()["held_back"] == held, "what is read on is not held back again"
    assert daemon.umount() == 0


@pytest.mark.parametrize("how", ["map", "read"])
def test_who_reads_on_is_pushed_the_same_whatever_the_evidence(mount: Mounter, how: str) -> None:
    seen = {}
    for evidence in ("requests", "faults", "kernel"):
        daemon = mount("data=pages:30000p,prefetch=auto", "-q", "--evidence", evidence, at=evidence, wait=False)
        daemon.wait_mounted()
        with Client(TOUCH, daemon.file("data"), how) as reader:
            for first in range(0, 30000, 3000):
                ask(reader, range(first, first + 3000))
        seen[evidence] = sorted((event["op"], event["page"], event["pages"]) for event in brought(daemon))
        stats = daemon.stats()
        assert (stats["held_back"], stats["lost"]) == ([], 0)
        assert daemon.umount() == 0
    assert seen["requests"] == seen["faults"] == seen["kernel"]
    assert sum(pages for op, _, pages in seen["kernel"] if op == "read") < 60


def test_threads_that_share_the_work_are_not_held_back(mount: Mounter) -> None:
    daemon = mount("data=pages:30000p,prefetch=auto", "-q", "--evidence", "kernel", wait=False).wait_mounted()
    code = """
        import mmap, os, sys, threading
        memory = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)
        parts, lock = iter(range(0, 30000, 16)), threading.Lock()
        def work():
            while True:
                with lock: first = next(parts, None)
                if first is None: return
                for page in range(first, first + 16): memory[page * mmap.PAGESIZE]
        threads = [threading.Thread(target=work) for _ in range(4)]
        for one in threads: one.start()
        for one in threads: one.join()
        input(); print("done")
    """
    with Client(code, daemon.file("data")) as reader:
        assert reader.ask() == "done"
        assert daemon.stats()["held_back"] == []
    assert daemon.umount() == 0


class Far(Source):
    """One that takes a millisecond, as a server does, and knows what it was asked for."""

    size = PAGES * PAGE

    def read(self, offset: int, size: int) -> bytes:
        time.sleep(0.001)
        return b"".join((offset // PAGE + n).to_bytes(8, "little").ljust(PAGE, b"x") for n in range(size // PAGE))


def test_a_server_is_not_asked_for_what_a_program_skips() -> None:
    """Without a gap that is too long for it, each demand behind a window looks as if the program went on reading."""
    with package.mounted({"data": Far()}, prefetch="64p", evidence="kernel") as mounted:

        def held() -> Any:
            return mounted.stats()["held_back"]

        skips = range(0, PAGES, 32)
        with Client(TOUCH, str(mounted / "data"), "read") as reader:
            some = 0
            while not held():
                assert some < len(skips) / 2, "by then it should have been seen"
                ask(reader, skips[some : some + 10])
                some += 10
            pushed = sum(event["pages"] for event in mounted.events() if event["op"] == "push")
            ask(reader, skips[some:])
            assert reader.end() == 0
        events = mounted.events()
        assert sum(event["pages"] for event in events if event["op"] == "push") <= pushed + 64  # one was being read
        reads = [event["page"] for event in events if event["op"] == "read"]
        assert reads[-len(skips[some + 4 :]) :] == list(skips[some + 4 :]), "each page is demanded, and no other"


def test_a_skipping_program_wastes_nothing_of_who_reads_on_beside_it(mount: Mounter) -> None:
    daemon = mount(
        f"data=pages:{PAGES}p,prefetch={WINDOW}p", f"other=pages:{PAGES}p,prefetch={WINDOW}p", "-q",
        "--evidence", "kernel", wait=False,
    ).wait_mounted()  # fmt: skip
    with Client(TOUCH, daemon.file("data"), "read") as reader:
        skip_until_held(daemon, reader)
        assert client("touch", daemon.file("other"), f"0-{PAGES - 1}")["numbers"] == list(range(PAGES))
        assert [one["file"] for one in daemon.stats()["held_back"]] == ["data"]
    pushed = set(pages_of([event for event in daemon.events() if event["op"] == "push"], "other"))
    assert pushed == set(range(5, PAGES)) - set(range(37, PAGES, 64))
    assert daemon.umount() == 0
