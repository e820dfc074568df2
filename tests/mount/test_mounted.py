"""`mapfs.mounted`: a mount for as long as a block runs, of specs and of source objects."""

import mmap
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from mapfs import DirectorySource, Source, mounted
from mapfs.errors import MapfsError, UsageError
from mapfs.fuse.device import TYPE, mount_points, mounted_at
from mapfs.testing import FakeSource
from mapfs.trace.reader import open_trace, trace_events
from tests.support import ROOT, client, wait_until

PAGE = mmap.PAGESIZE


class Squares(Source):
    """Each page holds the square of its number: the README's own example of a source."""

    size = 1000 * PAGE

    def read(self, offset: int, size: int) -> bytes:
        pages = range(offset // PAGE, -(-(offset + size) // PAGE))
        data = b"".join(f"{page * page}\n".encode().ljust(PAGE, b"\0") for page in pages)
        return data[offset % PAGE :][:size]


def test_source_objects_are_served_by_a_process_of_their_own() -> None:
    fake = FakeSource(b"fake" * 5000)
    with mounted({"squares": Squares(), "deep/fake": fake, "n": "pages:4p"}) as mount:
        assert (mount / "squares").stat().st_size == 1000 * PAGE
        said = client("read", str(mount / "squares"), str(30 * PAGE), "4")
        assert bytes.fromhex(said["data"]) == b"900\n"
        assert client("read", str(mount / "deep/fake"), "8000", "4")["data"] == b"fake".hex()
        assert client("touch", str(mount / "n"), "3")["numbers"] == [3]
        events = [(event["file"], event["page"], event["class"]) for event in mount.events()]
        assert events == [("squares", 30, "COLD"), ("deep/fake", 1, "COLD"), ("n", 3, "COLD")]
        assert mount.stats()["daemon"]["pid"] != os.getpid()
        assert mount.summary().total.pages == 3
        assert mount.inject("squares", "error=EIO@7") == ["error=EIO@7"]
        assert "errno" in client("read", str(mount / "squares"), str(7 * PAGE), "4")
        mount.drop("squares", "30")
        path = mount.path
    assert fake.reads == []  # the daemon has a copy
    assert not path.exists() and mounted_at(str(path)) is None


def test_specs_are_served_by_a_new_interpreter_and_traced(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"x" * 10_000)
    where, trace = tmp_path / "mnt", tmp_path / "t.db"
    with mounted({"d": f"file:{tmp_path}/data,rw", "p": "pages:64p"}, where, trace=trace, readahead="64K") as mount:
        assert mount.path == where
        with open(mount / "d", "r+b") as file:
            file.write(b"written")
        assert mount.ctl("add", name="more", spec="zero:4K")["added"]["size"] == 4096
        with pytest.raises(UsageError, match="the name 'p' is given twice"):
            mount.ctl("add", name="p", spec="zero:4K")
        client("touch", str(mount / "p"), "0-63")
    assert (tmp_path / "data").read_bytes()[:9] == b"writtenxx"
    assert not where.exists()
    connection = open_trace(str(trace)).connection
    events = [event for event in trace_events(connection) if event["op"] != "fault"]
    connection.close()
    assert {event["op"] for event in events} == {"read", "write"}
    assert sum(event["pages"] for event in events if event["file"] == "p") == 64


def test_what_cannot_be_mounted_is_the_sentence_of_the_command(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    refused: list[tuple[dict[str, str | Source | DirectorySource], type[MapfsError], str]] = [
        ({"a": "nought:3"}, UsageError, "there is no source of the kind 'nought'"),
        ({"a": "file:/nowhere"}, MapfsError, "cannot open file '/nowhere'"),
        ({"a": Squares(), "a/b": "zero:4K"}, UsageError, "needs 'a' to be a directory"),
    ]
    for files, error, sentence in refused:
        with pytest.raises(error, match=sentence), mounted(files):
            pass
    with pytest.raises(MapfsError, match="does not exist"), mounted({"a": "zero:1"}, tmp_path / "no" / "where"):
        pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_evidence_can_be_chosen() -> None:
    with mounted({"p": "pages:4p"}, evidence="requests") as mount:
        client("touch", str(mount / "p"), "3")
        assert mount.stats()["evidence"] == "requests"
        assert [(event["page"], event["via"]) for event in mount.events()] == [(3, "?")]
    refused = pytest.raises(UsageError, match="evidence must be auto, requests, faults or kernel")
    with refused, mounted({"p": "pages:4p"}, evidence="all"):
        pass


def test_a_block_that_raises_or_leaves_a_mapping_behind_ends_the_mount() -> None:
    kept: list[mmap.mmap] = []
    paths: list[str] = []

    def fails() -> None:
        with mounted({"p": "pages:16p"}) as mount:
            paths.append(str(mount.path))
            with open(mount / "p", "rb") as file:
                kept.append(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
            client("touch", str(mount / "p"), "0-15")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert kept[0][3 * PAGE] == 3  # resident pages stay
    kept[0].close()
    assert not [one for one in mount_points() if one.type == TYPE and one.path in paths]


async def test_within_trio_specs_are_served_and_objects_refused() -> None:
    with mounted({"p": "pages:16p"}) as mount:
        said = await trio.to_thread.run_sync(lambda: client("touch", str(mount / "p"), "7"))
        assert said["numbers"] == [7]
    with pytest.raises(UsageError, match="cannot be served from within trio.run"), mounted({"s": Squares()}):
        pass


def test_the_daemon_ends_with_the_process_that_made_it(tmp_path: Path) -> None:
    code = (
        "import os, sys, mapfs\n"
        "with mapfs.mounted({'p': 'pages:4p'}, sys.argv[1]) as mount:\n"
        "    print(mount.stats()['daemon']['pid'], flush=True)\n"
        "    sys.stdin.read()\n"
    )
    where = tmp_path / "mnt"
    process = subprocess.Popen(
        [sys.executable, "-c", code, where], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdin and process.stdout
    try:
        daemon = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until(lambda: mounted_at(str(where)) is None and not os.path.exists(f"/proc/{daemon}"), "the end")
    finally:
        process.stdin.close()
        process.stdout.close()
