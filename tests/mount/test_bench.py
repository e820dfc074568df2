"""The benchmark runs, and leaves nothing behind. What it measures is no pass mark."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench import document
from tests.bench.plan import PAIRS, PEERS, TARGETS
from tests.bench.report import VIEWS
from tests.bench.served import missing
from tests.support import ROOT, WITHIN

_TINY = ("--rounds", "1", "--pages", "50", "--sequential", "512K", "--requests", "3000")
_TINY_GROWTH = ("--only", "growth", "--events", "1000", "--files", "100")


def _start(scratch: Path, *args: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench", *_TINY, *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "TMPDIR": str(scratch)},
    )  # fmt: skip


def test_a_tiny_run_has_every_number(tmp_path: Path) -> None:
    scratch, said = tmp_path / "scratch", tmp_path / "bench.json"
    scratch.mkdir()
    with _start(scratch, "--only", "targets", "--only", "views", "--json", str(said)) as bench:
        out, err = bench.communicate(timeout=WITHIN * 3)
    assert bench.returncode == 0, err
    assert "## The promises" in out
    assert list(scratch.iterdir()) == []

    results = json.loads(said.read_text())
    placements = {run["placement"] for run in results["runs"]}
    assert "one CPU" in placements
    out_of_reach = set(results["left_out"])
    assert out_of_reach <= {*PEERS, "passthrough"}
    wanted = [target for target in TARGETS if target.name not in out_of_reach]
    assert len(results["runs"]) == len(placements) * sum(len(target.measures) for target in wanted)
    pairs = [pair for pair in PAIRS if not {pair.of, pair.to} & out_of_reach]
    assert len(results["ratios"]) == len(placements) * len(pairs)
    for name, why in results["left_out"].items():
        assert f": {why}" in out, name
    for run in results["runs"]:
        none = {"major_faults", "requests"} if run["target"] == "passthrough" else {"major_faults"}
        assert _not_positive(run["median"]) <= none, run  # of a file in memory there are no major faults
    for row in [*results["ratios"], *results["alone"], results["ready_ms"]]:
        assert _not_positive(row) <= {"promise", "limit", "met"}, row
    assert [row["measure"] for row in results["alone"]] == ["beside"] * len(placements) + ["idle"]
    assert [(row["view"].split()[1], row["requests"]) for row in results["views"]] == [
        ("summary", 3000), ("report", 3000), *((name, 300) for name in ("summary", "report", "log", "diff", *["export"] * 4)),
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


def test_one_target_alone_is_measured_and_not_written(tmp_path: Path) -> None:
    said = tmp_path / "bench.json"
    with _start(tmp_path, "--target", "tmpfs", "--target", "c-libfuse", "--json", str(said)) as bench:
        _, err = bench.communicate(timeout=WITHIN * 3)
    assert bench.returncode == 0, err
    results = json.loads(said.read_text())
    assert {run["target"] for run in results["runs"]} == {"tmpfs", "c-libfuse"} - set(results["left_out"])
    with _start(tmp_path, "--target", "tmpfs", "--write") as bench:
        _, err = bench.communicate(timeout=WITHIN)
    assert bench.returncode == 2
    assert "--target is for a look at some numbers" in err


def test_what_costs_as_work_grows_is_measured(tmp_path: Path) -> None:
    scratch, said = tmp_path / "scratch", tmp_path / "bench.json"
    scratch.mkdir()
    with _start(scratch, *_TINY_GROWTH, "--json", str(said)) as bench:
        out, err = bench.communicate(timeout=WITHIN * 3)
    assert bench.returncode == 0, err
    assert list(scratch.iterdir()) == []
    rows = json.loads(said.read_text())["growth"]
    told = [(row["what"], row["how_much"], row["requests"] + row["lost"]) for row in rows]
    assert told[:4] == [("file", size, min(2000, count)) for size, count in _sizes()]
    assert told[4:6] == [("files", "1", 0), ("files", "100", 0)]
    assert told[6:10] == [("clients", f"{count}", count * 2000) for count in (1, 4, 16, 64)]
    assert told[10:] == [("events", "1", 1), ("events", "1,000", 1000)]
    for row in rows:
        assert _not_positive(row) <= {"requests", "lost"}, row
        for process in row["memory"].values():
            assert process["rss"] > 0
            assert process["descriptors"] > 0
    assert out.count("Flat: ") == 4


def test_what_a_plan_is_worth_is_measured(tmp_path: Path) -> None:
    scratch, said = tmp_path / "scratch", tmp_path / "bench.json"
    scratch.mkdir()
    with _start(scratch, "--only", "warming", "--json", str(said)) as bench:
        out, err = bench.communicate(timeout=WITHIN * 6)
    assert bench.returncode == 0, err
    assert list(scratch.iterdir()) == []
    rows = json.loads(said.read_text())["warming"]
    assert [row["what"].split()[0] for row in rows] == ["25", "SQLite,", "`python3", "`python3"][: len(rows)]
    for row in rows:
        assert _not_positive(row) <= {"limit", "promise", "met"}, row
    assert rows[0]["without_ns"] > 25 * 5e6, "each of the pages took its 5 ms"
    assert out.startswith("## Warming")


def _sizes() -> list[tuple[str, int]]:
    page = os.sysconf("SC_PAGE_SIZE")
    return [("1.0 MiB", (1 << 20) // page), *((size, 2000) for size in ("1.0 GiB", "32.0 GiB", "1.0 TiB"))]


def test_a_peer_that_is_not_here_is_left_out_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "llfuse.py").write_text("raise ImportError('libfuse.so.2 is not there')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert missing("llfuse", tmp_path) == "not installed: ImportError: libfuse.so.2 is not there"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert missing("nbd", tmp_path) == "not installed: nbdfuse, nbdkit"
    why = missing("c-libfuse", tmp_path)
    assert why is not None and why.startswith("cannot be compiled: ")


def test_a_part_that_is_measured_anew_leaves_the_others_as_they_are() -> None:
    before = document.PATH.read_text()
    view = {"view": "mapfs summary TRACE", "requests": 10, "trace_bytes": 1 << 20, "seconds": 1.5, "lowest_seconds": 1.0,
        "cpu_seconds": 1.2, "peak_kib": 2048}  # fmt: skip
    after = document.document({"views": [view]}, before, "a minute")
    assert after.partition(VIEWS)[0] == before.partition(VIEWS)[0]
    assert "| `mapfs summary TRACE` |" in after.partition(VIEWS)[2]
    assert after.partition(VIEWS)[2].count("`mapfs ") == 1
    trust = "## How far to trust this"
    assert after.partition(trust)[2] == before.partition(trust)[2]
    assert document.document({}, after, "") == after
