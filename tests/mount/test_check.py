"""`mapfs check`: a run of a real program held against a budget, by its exit code, its table and its JSON."""

import json
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.support import client, mapfs


@pytest.fixture
def trace(mount: Mounter, tmp_path: Path) -> Path:
    """Pages 1, 2 and 9 of a.db, of which 2 twice, and page 0 of b.db."""
    path = tmp_path / "t.db"
    daemon = mount("a.db=pages:16p", "b.db=pages:16p", "-q", "--trace", str(path), wait=False).wait_mounted()
    client("touch", daemon.file("a.db"), "1", "2", "9")
    mapfs("drop", daemon.file("a.db"), "2")
    client("touch", daemon.file("a.db"), "2")
    client("touch", daemon.file("b.db"), "0")
    assert daemon.umount() == 0
    return path


def test_a_budget_that_is_kept_and_one_that_is_exceeded(trace: Path, tmp_path: Path) -> None:
    budget = tmp_path / "budget.toml"
    budget.write_text('[total]\npages = 4\n[[file]]\nmatch = "a*"\nrefaults = 1\n')
    done = mapfs("check", str(trace), "--budget", str(budget))
    lines = done.stdout.splitlines()
    assert [line.split()[:5] for line in lines[1:3]] == [
        ["total", "pages", "4", "4", "kept"],
        ["a*", "refaults", "1", "1", "kept"],
    ]
    assert lines[3] == f"next: mapfs log {trace}"

    budget.write_text('[total]\nrefaults = 1\n[[file]]\nmatch = "*.db"\npages = 3\n')
    done = mapfs("check", str(trace), "--budget", str(budget), check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[1].split() == ["*.db", "pages", "3", "4", "exceeded", "a.db", "3,", "b.db", "1"]

    done = mapfs("check", str(trace), "--budget", str(budget), "--json", check=False)
    said = json.loads(done.stdout)
    assert (done.returncode, said["ok"], said["lost"]) == (1, False, 0)
    assert said["rows"][1] == {
        "match": "*.db", "what": "pages", "limit": 3, "found": 4, "ok": False, "by": {"a.db": 3, "b.db": 1},
    }  # fmt: skip
    summary = json.loads(mapfs("summary", str(trace), "--json").stdout)
    assert said["rows"][1]["found"] == summary["total"]["pages"]


def test_a_budget_is_written_from_a_run(trace: Path, tmp_path: Path) -> None:
    budget = tmp_path / "budget.toml"
    mapfs("check", str(trace), "--budget", str(budget), "--update")
    assert budget.read_text() == (
        '[total]\npages = 4\nrefaults = 1\n\n[[file]]\nmatch = "a.db"\npages = 3\nrefaults = 1\n\n'
        '[[file]]\nmatch = "b.db"\npages = 1\nrefaults = 0\n'
    )
    mapfs("check", str(trace), "--budget", str(budget))
    budget.write_text("# why\n[total]\npages = 1\n")
    mapfs("check", str(trace), "--budget", str(budget), "--update")
    assert budget.read_text() == "[total]\npages = 4\n"


def test_a_running_mount_is_held_against_a_budget(mount: Mounter, tmp_path: Path) -> None:
    daemon = mount("a=pages:16p")
    budget = tmp_path / "budget.toml"
    budget.write_text("[total]\npages = 1\n")
    client("touch", daemon.file("a"), "1")
    assert mapfs("check", daemon.path, "--budget", str(budget)).returncode == 0
    client("touch", daemon.file("a"), "3")
    assert mapfs("check", daemon.path, "--budget", str(budget), check=False).returncode == 1


def test_what_cannot_be_read_or_written_is_one_sentence(trace: Path, tmp_path: Path) -> None:
    budget = tmp_path / "budget.toml"
    budget.write_text("[total]\npags = 1\n")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff")
    for path, code, sentence, update in (
        (budget, 2, "unknown field `pags`", False),
        (budget, 2, "unknown field `pags`", True),  # never overwritten
        (binary, 2, "is not TOML", False),
        (tmp_path / "none", 2, "--update writes it", False),
        (tmp_path, 2, "cannot read", False),
        (tmp_path / "no" / "budget", 1, "cannot write", True),
    ):
        done = mapfs("check", str(trace), "--budget", str(path), *["--update"] * update, check=False)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert sentence in done.stderr and len(done.stderr.splitlines()) == 1
    assert budget.read_text() == "[total]\npags = 1\n"
