"""The verdict on the coverage of the suite."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.covered import Count, counted, verdict
from tests.support import ROOT, WITHIN


def module(lines: tuple[int, int], branches: tuple[int, int]) -> dict[str, Any]:
    """What coverage.py's JSON has of a module, (there, run) of each."""
    return {
        "summary": {
            "num_statements": lines[0], "covered_lines": lines[1],
            "num_branches": branches[0], "covered_branches": branches[1],
        }
    }  # fmt: skip


def judged(tmp_path: Path, files: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """What scripts/coverage runs at its end."""
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"files": files}))
    return subprocess.run(
        [sys.executable, "-m", "tests.covered", report],
        check=False,
        capture_output=True,
        text=True,
        timeout=WITHIN,
        cwd=ROOT,
    )


ENOUGH = {
    "mapfs/units.py": module((10, 9), (10, 0)),
    "mapfs/fuse/wire.py": module((10, 9), (20, 17)),
    "mapfs/sources/http.py": module((10, 9), (20, 17)),
}


def test_what_reaches_the_marks_exactly_passes(tmp_path: Path) -> None:
    done = judged(tmp_path, ENOUGH)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-3:] == [
        "lines of mapfs/: 90.0 %, 27 of 30; reached: 90 %",
        "branches of mapfs/fuse/: 85.0 %, 17 of 20; reached: 85 %",
        "branches of mapfs/sources/: 85.0 %, 17 of 20; reached: 85 %",
    ]
    assert "modules below" not in done.stdout


@pytest.mark.parametrize(
    ("path", "instead", "missed"),
    [
        ("mapfs/units.py", module((10, 8), (10, 10)), "lines of mapfs/: 86.6 %"),
        ("mapfs/fuse/wire.py", module((10, 10), (20, 16)), "branches of mapfs/fuse/: 80.0 %"),
        ("mapfs/sources/http.py", module((10, 10), (20, 16)), "branches of mapfs/sources/: 80.0 %"),
    ],
)
def test_each_mark_that_is_missed_is_named(tmp_path: Path, path: str, instead: dict[str, Any], missed: str) -> None:
    done = judged(tmp_path, {**ENOUGH, path: instead})
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if "MISSED" in line]
    assert line.startswith(missed)
    assert any(line.startswith(path) for line in done.stdout.splitlines())  # among the weak modules


def test_what_was_not_measured_does_not_pass(tmp_path: Path) -> None:
    done = judged(tmp_path, {path: file for path, file in ENOUGH.items() if "fuse" not in path})
    assert done.returncode == 1
    assert "branches of mapfs/fuse/: nothing measured; MISSED: 85 %" in done.stdout


def test_a_package_whose_name_begins_alike_is_not_counted() -> None:
    modules = counted({"files": {**ENOUGH, "mapfs/fuse_other.py": module((10, 10), (1000, 1000))}})
    assert "branches of mapfs/fuse/: 85.0 %, 17 of 20; reached: 85 %" in verdict(modules)[0]


def test_percents_are_cut_and_not_rounded() -> None:
    assert str(Count(10_000, 8_996)) == "89.9 %"
    assert str(Count(0, 0)) == "100.0 %"
