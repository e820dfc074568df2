"""The benchmark runs, and leaves nothing behind. What it measures is no pass mark."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bench.plan import PAIRS, TARGETS
from tests.support import ROOT, WITHIN

_TINY = ("--rounds", "1", "--pages", "50", "--sequential", "512K", "--requests", "3000")


def _start(scratch: Path, *args: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench", *_TINY, *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "TMPDIR": str(scratch)},
    )  # fmt: skip


def test_a_tiny_run_has_every_number(tmp_path: Path) -> None:
    scratch, said = tmp_path / "scratch", tmp_path / "bench.json"
    scratch.mkdir()
    with _start(scratch, "--json", str(said)) as bench:
        out, err = bench.communicate(timeout=WITHIN * 3)
    assert bench.returncode == 0, err
    assert "## The promises" in out
    assert list(scratch.iterdir()) == []

    results = json.loads(said.read_text())
    placements = {run["placement"] for run in results["runs"]}
    assert "one CPU" in placements
    assert len(results["runs"]) == len(placements) * sum(len(target.measures) for target in TARGETS)
    assert len(results["ratios"]) == len(placements) * len(PAIRS)
    for run in results["runs"]:
        assert _not_positive(run["median"]) <= {"major_faults"}, run  # of a file in memory there are none
    for row in [*results["ratios"], results["ready_ms"]]:
        assert _not_positive(row) <= {"promise", "met"}, row
    assert [(row["view"].split()[1], row["requests"]) for row in results["views"]] == [
        ("summary", 3000), *((name, 300) for name in ("summary", "log", "diff", *["export"] * 4)),
    ]  # fmt: skip
    for row in results["views"]:
        assert _not_positive(row) == set(), row
    assert "## Views of long traces" in out
    for processes in results["memory_kib"].values():
        assert all(process["rss"] > 0 for process in processes.values())
    assert str(ROOT) not in said.read_text() + out


def _not_positive(row: dict[str, Any]) -> set[str]:
    """The keys of what is no text, and no number above 0."""
    return {key for key, value in row.items() if isinstance(value, float | int | None) and not (value or 0) > 0}


def test_interrupted_it_leaves_no_mount(tmp_path: Path) -> None:
    with _start(tmp_path, "--rounds", "1000") as bench:
        assert bench.stderr
        assert bench.stderr.readline()  # mounted, and about to measure
        bench.send_signal(signal.SIGINT)
        bench.communicate(timeout=WITHIN * 3)
    assert bench.returncode == 1
    assert list(tmp_path.iterdir()) == []
