"""Warming: what a recorded run needed is in the page cache before it is demanded, and a plan for something else is not."""

import json
import mmap
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import mapfs as package
from mapfs.client import ask
from mapfs.sources.base import Source
from tests.conftest import Mounter
from tests.support import WITHIN, Client, Daemon, client, mapfs, wait_until

PAGE = mmap.PAGESIZE
PAGES = ["9", "3", "4", "200", "100-140", "7"]
COUNT = 46


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(b"".join(number.to_bytes(8, "little") * (PAGE // 8) for number in range(256)) + b"tail")
    return path


def recorded(mount: Mounter, tmp_path: Path, *specs: str, pages: list[str] = PAGES, name: str = "cold") -> str:
    trace = tmp_path / f"{name}.db"
    daemon = mount(*specs, "--trace", str(trace), at=name)
    client("touch", daemon.file("data"), *pages)
    assert daemon.umount() == 0
    return str(trace)


def of(daemon: Daemon, op: str, file: str = "data") -> list[int]:
    """The pages of the events `op` of a file, in order, without demands of pages that the machine reclaimed."""
    events = [event for event in daemon.events() if event["op"] == op and event["file"] == file]
    events = [event for event in events if event["class"] != "REFAULT"]
    return [page for event in events for page in range(event["page"], event["page"] + event["pages"])]


WANTED = [9, 3, 4, 200, *range(100, 141), 7]


def test_what_a_run_needed_is_pushed_and_then_not_demanded(mount: Mounter, tmp_path: Path, data: Path) -> None:
    trace = recorded(mount, tmp_path, f"data=file:{data}")
    daemon = mount(f"data=file:{data}")
    done = mapfs("warm", daemon.path, trace)
    assert f"{COUNT} of {COUNT} pages pushed" in done.stdout and "mapfs warm --score" in done.stdout
    assert sorted(of(daemon, "push")) == sorted(WANTED)
    assert client("touch", daemon.file("data"), *PAGES)["numbers"] == WANTED, "they are the right pages"
    assert set(of(daemon, "read")) == set(), "nobody had to ask"
    client("touch", daemon.file("data"), "50")
    assert of(daemon, "read") == [50]
    score = json.loads(mapfs("warm", "--score", "--json", daemon.path, trace).stdout)
    assert (score["pushed"], score["missed"]) == (COUNT, 1)
    assert daemon.umount() == 0


def test_neighbours_are_pushed_together_in_the_order_of_need(mount: Mounter, tmp_path: Path, data: Path) -> None:
    trace = recorded(mount, tmp_path, f"data=file:{data}")
    daemon = mount(f"data=file:{data}", "--evidence", "requests")
    told = json.loads(mapfs("warm", "--json", daemon.path, trace).stdout)
    pushes = [(event["page"], event["pages"]) for event in daemon.events() if event["op"] == "push"]
    assert pushes == [(9, 1), (3, 2), (200, 1), (100, 41), (7, 1)]
    assert (told["planned"], told["pushed"], told["reads"]) == (COUNT, COUNT, 5)
    assert told["files"] == [{"file": "data", "planned": COUNT, "pushed": COUNT, "refused": None, "failed": None}]
    score = mapfs("warm", "--score", daemon.path, trace).stdout
    assert "?" in score and "seen were the requests alone" in score


@pytest.mark.parametrize("how", ["option", "spec", "toml", "python"])
def test_a_mount_is_warm_from_the_beginning(mount: Mounter, tmp_path: Path, data: Path, how: str) -> None:
    trace = recorded(mount, tmp_path, f"data=file:{data}")
    if how == "python":
        with package.mounted({"data": f"file:{data}"}, warm=[trace], evidence="requests") as mounted:
            assert client("touch", str(mounted / "data"), *PAGES)["numbers"] == WANTED
            assert [event["op"] for event in mounted.events() if event["class"] == "COLD"] == []
        return
    if how == "toml":
        (tmp_path / "x.toml").write_text(f'warm = "{trace}"\n[files]\ndata = "file:{data}"\n')
    words = {
        "option": [f"data=file:{data}", "--warm", trace],
        "spec": [f"data=file:{data},warm={trace}"],
        "toml": ["-c", str(tmp_path / "x.toml")],
    }[how]
    daemon = mount(*words)
    wait_until(lambda: daemon.stats()["daemon"]["warm_pushed"] == COUNT, "the end of warming")
    client("touch", daemon.file("data"), *PAGES)
    assert of(daemon, "read") == []
    assert daemon.umount() == 0


def test_files_of_a_mirrored_directory_are_warmed(mount: Mounter, tmp_path: Path, data: Path) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    data.rename(tmp_path / "tree" / "sub" / "data")
    spec = f"tree=dir:{tmp_path}/tree"
    trace = tmp_path / "cold.db"
    daemon = mount(spec, "--trace", str(trace), at="cold")
    client("touch", daemon.file("tree/sub/data"), *PAGES)
    assert daemon.umount() == 0
    for words in ([], ["--warm", str(trace)]):
        daemon = mount(spec, *words, at=f"warm{len(words)}")
        if not words:
            mapfs("warm", daemon.path, str(trace))
        wait_until(lambda: sorted(of(daemon, "push", "tree/sub/data")) == sorted(WANTED), "the pushes")  # noqa: B023
        client("touch", daemon.file("tree/sub/data"), *PAGES)
        assert of(daemon, "read", "tree/sub/data") == []
        assert daemon.umount() == 0


def test_a_trace_of_another_version_is_refused(mount: Mounter, tmp_path: Path, data: Path) -> None:
    trace = recorded(mount, tmp_path, f"data=file:{data}")
    os.utime(data, ns=(0, 0))
    daemon = mount(f"data=file:{data}")
    done = mapfs("warm", daemon.path, trace, check=False)
    assert done.returncode == 1
    assert "data is refused: its content is another version than the one that was recorded" in done.stderr
    with data.open("ab") as file:
        file.write(b"more")
    later = mount(f"data=file:{data}", "--warm", trace, at="later")
    later.wait_line("data is not warmed: it has 1,048,584 bytes and had 1,048,580 when the trace was recorded")
    assert of(daemon, "push") == of(later, "push") == []
    assert later.umount() == daemon.umount() == 0


def test_a_file_that_is_open_for_writing_is_left_alone(mount: Mounter, tmp_path: Path) -> None:
    trace = recorded(mount, tmp_path, "data=pages:256p")
    daemon = mount("data=memfd:256p")
    writer = """
        import mmap, os, sys
        fd = os.open(sys.argv[1], os.O_RDWR)
        memory = mmap.mmap(fd, 0)
        memory[9 * mmap.PAGESIZE : 9 * mmap.PAGESIZE + 4] = b"mine"
        input(); print("stored", flush=True)
        input(); print(memory[9 * mmap.PAGESIZE : 9 * mmap.PAGESIZE + 4].decode(), flush=True)
    """
    with Client(writer, daemon.file("data")) as writing:
        writing.ask()
        done = mapfs("warm", daemon.path, trace)
        assert "0 of 46 pages pushed" in done.stdout
        assert "data is not all pushed: somebody has it open for writing" in done.stderr
        assert writing.ask() == "mine"
        assert writing.end() == 0
    assert of(daemon, "push") == []
    assert daemon.umount() == 0


def test_a_source_that_fails_leaves_out_its_pages_alone(mount: Mounter, tmp_path: Path, data: Path) -> None:
    trace = recorded(mount, tmp_path, f"data=file:{data}")
    daemon = mount(f"data=file:{data},error=EIO@200")
    done = mapfs("warm", daemon.path, trace)
    assert f"{COUNT - 1} of {COUNT} pages pushed" in done.stdout
    assert "data is not all pushed: error=EIO was asked for on page 200" in done.stderr
    assert sorted(of(daemon, "push")) == sorted(set(WANTED) - {200})


def test_a_delay_that_was_asked_for_holds(mount: Mounter, tmp_path: Path) -> None:
    trace = recorded(mount, tmp_path, "data=pages:512p", pages=[str(page) for page in range(0, 64, 2)])
    daemon = mount("data=pages:512p,delay=50ms")
    told = json.loads(mapfs("warm", "--json", daemon.path, trace).stdout)
    assert told["pushed"] == told["reads"] == 32
    assert told["seconds"] >= 0.05 * 32 / 8
    assert daemon.umount() == 0


class Together(Source):
    """Answers when eight ask at once, or never."""

    size = 512 * PAGE

    def __init__(self) -> None:
        self._barrier = threading.Barrier(8)

    def read(self, offset: int, size: int) -> bytes:
        self._barrier.wait(WITHIN)
        return bytes(size)


def test_slow_reads_go_on_at_once(mount: Mounter, tmp_path: Path) -> None:
    trace = recorded(mount, tmp_path, "data=pages:512p", pages=[str(page) for page in range(0, 64, 2)])
    with package.mounted({"data": Together()}, warm=[trace]) as mounted:
        assert sum(event["pages"] for event in mounted.events() if event["op"] == "push") == 32


def test_a_mount_that_ends_does_not_wait_for_what_is_pushed(mount: Mounter, tmp_path: Path) -> None:
    trace = recorded(mount, tmp_path, "data=pages:256p")
    daemon = mount("data=pages:256p,delay=1h", "--warm", trace)
    wait_until(lambda: daemon.stats()["daemon"]["warm_planned"] == COUNT, "the plan")
    assert daemon.umount() == 0


def test_ctl_takes_what_a_program_wants_pushed(mount: Mounter) -> None:
    daemon = mount("data=pages:16p", "other=pages:4p")
    client("touch", daemon.file("data"), "0")
    wanted = [
        {"file": "data", "runs": [[14, 9], [2, 2], [2, 1], [90, 1], [-4, 2], [5, 0]]},
        {"file": "data", "runs": [[1, 1]], "size": 1},
        {"file": "nothing", "runs": [[0, 1]]},
        {"file": "other", "runs": [[0, 1]]},
    ]
    first, resized, missing, unknown = ask(daemon.path, "warm", files=wanted)["files"]
    assert first == {"pushed": 4, "reads": 2, "refused": None, "failed": None}
    assert "had 1 when" in resized["refused"] and "there is no file 'nothing'" in missing["refused"]
    assert unknown["failed"] == "the kernel does not have it in memory any more", "nobody has looked it up"
    assert of(daemon, "push") == [14, 15, 2, 3]


def test_what_cannot_be_warmed(mount: Mounter, tmp_path: Path, data: Path) -> None:
    trace = recorded(mount, tmp_path, f"data=file:{data}")
    other = mount("else=pages:4p", "--warm", trace)
    other.wait_line("data is in the plan, but not in the mount")
    done = mapfs("warm", other.path, trace, check=False)
    assert done.returncode == 1 and "data is refused: it cannot be opened: No such file or directory" in done.stderr
    passed = mount(f"data=file:{data},coherency=passthrough", at="passed")
    done = mapfs("warm", passed.path, trace, check=False)
    assert done.returncode == 1 and "with coherency=passthrough its pages are those of its backing" in done.stderr
    assert mapfs("warm", other.path, check=False).stderr.startswith("mapfs: name the trace of a run")
    plain = mapfs("mount", str(tmp_path / "p"), "--link", "plain", "--warm", trace, check=False)
    assert plain.returncode == 2 and "--warm needs the own link" in plain.stderr
    added = mapfs("add", other.path, f"more=file:{data},warm={trace}", check=False)
    assert added.returncode == 2 and "push into a running one with mapfs warm" in added.stderr
    empty = mapfs("mount", str(tmp_path / "e"), f"data=file:{data},warm", check=False)
    assert empty.returncode == 2 and "warm= names no trace" in empty.stderr


def test_a_bar_shows_on_a_terminal_alone(mount: Mounter, tmp_path: Path, data: Path) -> None:
    trace = recorded(mount, tmp_path, f"data=file:{data}")
    daemon = mount(f"data=file:{data}")
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-m", "mapfs", "warm", daemon.path, trace],
            stderr=theirs, stdout=subprocess.DEVNULL, check=True, timeout=30, env={**os.environ, "TERM": "xterm"},
        )  # fmt: skip
        shown = os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "warming" in shown and f"{COUNT} pages" in shown
    assert mapfs("warm", daemon.path, trace).stderr == ""


def test_a_program_starts_warm(tmp_path: Path) -> None:
    trace, second = str(tmp_path / "cold.db"), str(tmp_path / "warm.db")
    words = ["run", "--json", "--evidence", "requests", "--file", "/bin/ls", "--tree", "/etc/alternatives"]
    cold = mapfs(*words, "-o", trace, "--", "/bin/ls", "/")
    warm = mapfs(*words, "-o", second, "--warm", trace, "--", "/bin/ls", "/")
    assert warm.stdout == cold.stdout
    demanded, left = (json.loads(done.stderr.splitlines()[-1])["summary"]["total"]["pages"] for done in (cold, warm))
    assert demanded > 0 and left == 0, "it demands nothing any more"
