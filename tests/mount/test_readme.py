"""The examples of README.md run as they stand there, and leave nothing mounted."""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapfs.fuse.device import TYPE, MountPoint, mount_points, unmount
from tests.support import ROOT, wait_until

_EXAMPLE = re.compile(r"^##+ (?P<title>[^\n]*)$|^<!-- run -->\n```sh\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_WITHIN = 60.0
#: What an example prints, by the number that it has: the promise of the text around it.
PRINTS = {
    "1": r"^some text\nsome text$",
    "2": r"tree/sub/hay:needle",
    "3": r" 65536 .* x/zero",
    "4": r"labels demanded\n(.*\n)*program +\.text ",
    "5": r"COLD +head/\d+ +pages +page 1 ",
    "6": r"is busy: used by .*\n(.*\n)*busy: exit code 1",
    "7": r" pages 0-\d+ ",
    "8": r"^hello$",
    "9": r"error=EIO@200\ndelay=20ms@3\+5-9:0\.25\n(.*\n)*page 200 fails(.*\n)*.*injected: error=EIO@200:1x",
    "10": r"^original\n(.*\n)*changed\n(.*\n)*changed\n",
    "11": r"^here$",
    "14": r"one touch is one request",
    "15": r"^page 0 at 0x0\none, two$",
    "17": r"SHARED +second/\d+ .* by first/\d+\n(.*\n)*yes  requests by the second, for the same pages: 0\n",
    "18": r"^start 2: .*exit code 0; \d+ pages demanded, .*\n(.*\n)*usr/.*/libc\.so\.6 .* \.text \d",
    "19": r"^users\.db +pages +10 +10 +kept",
    "20": r"^What it means$",
    "21": r"^50 of 50 pages pushed",
}


def examples(path: Path = ROOT / "README.md") -> Iterator[tuple[str, str]]:
    """Each example of a document that is marked to be run, with the heading that it stands under."""
    title = ""
    for match in _EXAMPLE.finditer(path.read_text("utf-8")):
        if match["title"]:
            title = match["title"]
        else:
            yield title, match["text"]


def mounts_below(place: Path) -> list[MountPoint]:
    """The mapfs mounts below `place`."""
    return [mount for mount in mount_points() if mount.type == TYPE and mount.path.startswith(f"{place}/")]


def run(text: str, place: Path) -> "subprocess.CompletedProcess[str]":
    """Runs `text` in bash, in `place`, with this checkout's mapfs on PATH."""
    programs = place / "bin"
    programs.mkdir()
    for name, function in (("mapfs", "main"), ("mount.fuse.mapfs", "mount_helper")):
        wrapper = programs / name
        code = f"from mapfs.commands import {function}; {function}()"
        wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$@"\n')
        wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    work = place / "work"
    work.mkdir()
    path = f"{programs}:{os.environ['PATH']}"
    # what the example prints goes to a file: a daemon that is left behind must not hold a pipe open
    with open(place / "output", "w+", encoding="utf-8") as output:
        try:
            done = subprocess.run(
                ["bash", "-ec", text], cwd=work, env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=_WITHIN, check=False,
            )  # fmt: skip
        finally:
            left = mounts_below(place)
            for mount in left:
                unmount(mount.path, lazy=True)
        output.seek(0)
        said = output.read()
    assert left == [], said
    return subprocess.CompletedProcess(done.args, done.returncode, said)


@pytest.mark.parametrize(("title", "text"), [*examples()], ids=[title for title, _ in examples()])
def test_an_example_runs(tmp_path: Path, title: str, text: str) -> None:
    done = run(text, tmp_path)
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout
    assert re.search(PRINTS[title.partition(".")[0]], done.stdout, re.MULTILINE), done.stdout
    point = tmp_path / "work" / "x"  # a detached mount ends after its last user, not with the command
    wait_until(lambda: not point.exists(), "the removal of the mount point")


_DOCUMENTED = [(path.name, title, text) for path in (ROOT / "docs").glob("*.md") for title, text in examples(path)]


@pytest.mark.parametrize(("document", "title", "text"), _DOCUMENTED, ids=[f"{one[0]}-{one[1]}" for one in _DOCUMENTED])
def test_an_example_of_a_document_runs(tmp_path: Path, document: str, title: str, text: str) -> None:
    """Its own commands say what is to hold: one that fails ends it."""
    done = run(text, tmp_path)
    assert done.returncode == 0, f"{document}, {title}: {done.stdout}"
    assert "Traceback" not in done.stdout


def test_the_example_in_python_runs(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(text.strip().splitlines()) <= 15
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=_WITHIN, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, comment = done.stdout.splitlines(), re.search(r"# (b'.*')$", text, re.MULTILINE)
    assert comment and said[0] == comment[1]
    assert said[1] == "1 1"


def test_every_example_is_found() -> None:
    numbers = [title.partition(".")[0] for title, _ in examples()]
    assert numbers == [*PRINTS]
    assert (ROOT / "README.md").read_text("utf-8").count("<!-- run -->") == len(numbers)
