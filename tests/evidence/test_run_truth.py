"""What `mapfs run` tells of two starts, page for page, against an independent reader of the kernel's tracepoints."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.evidence.test_truth import check_demands, check_hits, explain, recorded
from tests.evidence.tracefs import Seen, watching
from tests.support import ROOT, WITHIN

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the kernel's tracepoints are for root")


def with_libraries(program: str, into: Path) -> list[str]:
    """Copies a program, its libraries and its loader; the words that execute the copy."""
    into.mkdir()
    done = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=WITHIN, check=True)
    libraries = [word for word in done.stdout.split() if word.startswith("/")]
    for path in (*libraries, program):
        shutil.copy(path, into)
    (loader,) = [path for path in libraries if "ld-linux" in path]
    return [str(into / Path(loader).name), "--library-path", str(into), str(into / Path(program).name)]


def test_the_pages_of_two_starts_are_those_of_the_kernel(tmp_path: Path) -> None:
    """The program waits before it executes what is watched, so that the kernel can be asked about its mount, and the
    mount is held until the kernel's answer is read.
    """
    git = shutil.which("git")
    assert git
    tree, trace, once = tmp_path / "tree", tmp_path / "t.db", tmp_path / "once"
    words = with_libraries(git, tree)
    gate = f'if [ ! -e {once} ]; then echo $$; read go; touch {once}; fi; exec "$@"'
    with subprocess.Popen(
        [
            sys.executable, "-m", "mapfs", "run", "--repeat", "2", "--json", "-o", str(trace), "--tree", str(tree), "--",
            "sh", "-c", gate, "sh", *words, "--version",
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    ) as process:  # fmt: skip
        assert process.stdin and process.stdout and process.stderr
        where = f"/proc/{int(process.stdout.readline())}/root{tree}"
        held = os.open(where, os.O_PATH)  # as long as it is, the device number is no other mount's
        try:
            with watching(where) as instance:
                process.stdin.write("go\n")
                process.stdin.flush()
                assert "its mount is still in use" in process.stderr.readline()
                seen = instance.read()
        finally:
            os.close(held)
        out, err = process.communicate(timeout=WITHIN)
    assert (process.returncode, out.count("git version")) == (0, 2), err
    said, found = json.loads(err), recorded(trace)
    assert said["evidence"] == "kernel"
    explain(seen, found)
    assert check_demands(seen, found) > 0
    check_hits(seen, found)

    paths = inodes(trace)
    first, second = said["starts"]
    boundary = second_began(trace, seen)
    added = pages_of(seen, {"add_to_page_cache"}, paths)
    assert {row["file"]: row["needed"] for row in said["binaries"]} == {
        path: len(pages) for path, pages in added.items()
    }, "of each executable and library, the pages that entered the page cache"
    assert len(added) == len(list(tree.iterdir()))
    assert first["pages"] == sum(map(len, added.values())) and first["shared"] == 0
    later = [one for one in seen if one.time >= boundary]
    given = pages_of(later, {"fault", "map_pages", "get_pages"}, paths)
    again = pages_of(later, {"add_to_page_cache"}, paths)  # what the machine took away meanwhile
    assert second["pages"] == second["refaults"] == sum(map(len, again.values()))
    assert second["unused"] == 0
    expected = sum(len((pages & added[path]) - again.get(path, set())) for path, pages in given.items())
    assert second["shared"] == expected > 0


def inodes(trace: Path) -> dict[int, str]:
    """The path of each inode of the mount."""
    connection = sqlite3.connect(trace)
    try:
        return dict(connection.execute("SELECT inodes.inode, path FROM inodes JOIN files ON files.id = file"))
    finally:
        connection.close()


def second_began(trace: Path, seen: list[Seen]) -> int:
    """When, in us, the kernel first gave pages to another process than that of the first start."""
    connection = sqlite3.connect(trace)
    try:
        (first_tid,) = connection.execute("SELECT tid FROM requests ORDER BY serial LIMIT 1").fetchone()
    finally:
        connection.close()
    return min(
        one.time
        for one in seen
        if one.tid != first_tid and one.point != "delete_from_page_cache"
    )  # fmt: skip


def pages_of(seen: list[Seen], points: set[str], paths: dict[int, str]) -> dict[str, set[int]]:
    """The pages of each file at these points."""
    found: dict[str, set[int]] = defaultdict(set)
    for one in seen:
        if one.point in points:
            found[paths[one.inode]].update(range(one.first, one.last + 1))
    return dict(found)
