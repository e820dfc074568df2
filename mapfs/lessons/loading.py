"""A program is a mapped file, and most of it is never fetched."""

import os
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

from mapfs.errors import MapfsError
from mapfs.lessons.client import WITHIN
from mapfs.lessons.lesson import Lesson, pages_of, reads
from mapfs.lessons.stage import Scene, Stage
from mapfs.units import page_count

_TEXT = "pear\napple\nfig\n"
_SORTED = "apple\nfig\npear\n"
_CHOICES = ("a quarter or less", "up to a half", "up to three quarters", "nearly all")


def run(stage: Stage) -> None:
    """Runs sort(1) and its libraries from a mount, twice."""
    place = stage.work / "program"
    _collect("sort", place)
    pages = {file.name: page_count(file.stat().st_size) for file in place.iterdir()}
    whole = sum(pages.values())
    stage.say(
        f"""
        Here are copies of sort(1) and of what it is linked with, {len(pages)} files of {whole:,} pages in all. sort is
        run from the mount, with its libraries from there too, to put three words in order; and then once more.
        """
    )
    settle = stage.predict(f"How many of the {whole:,} pages are needed to sort three words?", *_CHOICES)
    with stage.mount({"program": f"dir:{place}"}) as scene:
        outputs = [_sort(scene)]
        first = scene.news()
        outputs.append(_sort(scene))
        requests, again = reads(first), reads(scene.news())
        stage.show(requests, most=8)
    needed = _needed(requests)
    count = sum(needed.values())
    settle(_CHOICES[min(3, (count * 4 - 1) // whole)] if count else None)
    table = "; ".join(f"{name} {needed[name]:,} of {pages[name]:,}" for name in sorted(pages, key=lambda n: -pages[n]))
    stage.say(f"Pages needed: {table}.")
    stage.say(
        """
        Nobody loads a program. execve(2) reads the head of the file, before the process has its new name. Then the
        kernel and ld.so map it all, and run: the first instruction faults its own page in, each call the page of the
        function that it calls. What is never touched is never read. So a large library costs what is used of it; and
        the second start finds all of that in the page cache.
        """
    )
    stage.claim("what it printed, both times", [_SORTED.split()] * 2, [one.split() for one in outputs])
    stage.claim(f"pages needed of {whole:,}, fewer than half", range(1, (whole + 1) // 2), count)
    stage.claim("files that any of it came from", sorted(pages), sorted(needed))
    stage.claim("requests made by running it again", 0, len(again))


def _collect(program: str, place: Path) -> None:
    """Copies a program and its libraries, under the names by which they are loaded. ld.so stays where it is."""
    path, ldd = shutil.which(program), shutil.which("ldd")
    if path is None or ldd is None:
        raise MapfsError(f"this lesson needs {program}(1) and ldd(1); install coreutils and libc-bin")
    told = subprocess.run([ldd, path], capture_output=True, text=True, timeout=WITHIN, check=False).stdout
    place.mkdir()
    shutil.copy(path, place / program)
    for line in told.splitlines():
        name, arrow, rest = line.strip().partition(" => ")
        if arrow and (words := rest.split()) and words[0].startswith("/"):
            shutil.copy(words[0], place / os.path.basename(name))


def _sort(scene: Scene) -> str:
    program = scene.path / "program"
    done = subprocess.run(
        [program / "sort"], input=_TEXT, env={"LD_LIBRARY_PATH": str(program), "LC_ALL": "C"},
        capture_output=True, text=True, timeout=WITHIN, check=False, process_group=0,
    )  # fmt: skip
    if done.returncode:
        raise MapfsError(f"sort cannot be run from the mount: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _needed(requests: list[dict[str, Any]]) -> dict[str, int]:
    """File: how many pages of it were asked for."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for one in requests:
        found[os.path.basename(one["file"])] |= set(pages_of([one]))
    return {name: len(pages) for name, pages in found.items()}


LESSON = Lesson("loading", "a program is mapped, not loaded: what is not touched is not read", run)
