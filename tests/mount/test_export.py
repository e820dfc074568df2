"""`mapfs export`: each format holds the same events, in the form that its readers expect."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mapfs.trace.events import as_json
from mapfs.trace.reader import open_trace, trace_events
from tests.conftest import Mounter
from tests.support import client, mapfs
from tests.unit.test_docs import event

PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def trace(mount: Mounter, tmp_path: Path) -> Path:
    """Of two clients: pages in order, one again after it was dropped, one that failed, and a write."""
    daemon = mount(
        "--evidence",
        "requests",
        "p=pages:64p",
        "d/odd name=memfd:8K",
        "bad=pages:4p,error=EIO@1",
        "--trace",
        str(tmp_path / "t.db"),
    )
    client("touch", daemon.file("p"), "3-6", "20")
    client("touch", daemon.file("p"), "5-8")
    mapfs("drop", daemon.file("p"), "4")
    client("touch", daemon.file("p"), "4", "21")
    client("read", daemon.file("bad"), str(PAGE), "1")
    with open(daemon.file("d/odd name"), "r+b") as file:
        file.write(b"x")
    assert daemon.umount() == 0
    return tmp_path / "t.db"


def recorded(trace: Path) -> list[dict[str, Any]]:
    connection = open_trace(str(trace)).connection
    events = list(trace_events(connection))
    connection.close()
    return events


def test_ndjson_is_what_log_prints(trace: Path) -> None:
    assert mapfs("export", str(trace), "--to", "ndjson").stdout == mapfs("log", str(trace), "--json").stdout


def test_csv_has_every_event_and_key(trace: Path) -> None:
    rows = list(csv.DictReader(mapfs("export", str(trace), "--to", "csv").stdout.splitlines()))
    events = recorded(trace)
    assert len(rows) == len(events)
    for row, told in zip(rows, events, strict=True):
        assert None not in row and None not in row.values()
        by = told["by"] or {"tid": None, "pid": None, "command": None}
        told.update({f"by_{key}": value for key, value in by.items()}, lost=None)
        assert row == {key: "" if told[key] is None else str(told[key]) for key in row}
    assert set(rows[0]) - {"lost", "by_tid", "by_pid", "by_command"} == set(as_json(event(1, 0), 0)) - {"by"}


def test_perfetto_has_tracks_slices_and_a_counter(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.json"
    assert (
        "is written; next: open it at ui.perfetto.dev"
        in mapfs("export", str(trace), "--to", "perfetto", "-o", str(out)).stdout
    )
    told = json.loads(out.read_text())["traceEvents"]
    for one in told:  # the trace-event format: what each phase has to have
        assert {"ph", "pid", "tid", "name"} <= set(one)
        assert isinstance(one["pid"], int) and isinstance(one["tid"], int)
        assert one["ph"] == "M" or one["ts"] > 0
        assert one["ph"] != "X" or one["dur"] >= 0
    events = recorded(trace)
    slices = [one for one in told if one["ph"] == "X"]
    assert [(one["pid"], one["tid"], one["dur"]) for one in slices] == [
        (e["pid"] or 0, e["tid"] or 0, e["wait_ns"] / 1000) for e in events
    ]
    named = {(one["pid"], one["tid"]) for one in told if one["name"] == "thread_name"}
    assert named == {(one["pid"], one["tid"]) for one in slices}
    counts = [one["args"]["pages"] for one in told if one["ph"] == "C" and "of p asked" in one["name"]]
    assert counts == [1, 2, 3, 4, 5, 6, 7, 7, 8]  # the page that was demanded again is no new one


def test_parquet_is_the_same_table(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    mapfs("export", str(trace), "--to", "parquet", "-o", str(out))
    with duckdb.connect() as db:
        rows = db.read_parquet(str(out)).project("page, class").fetchall()
    assert rows == [(one["page"], one["class"]) for one in recorded(trace)]


def test_prefetch_is_each_page_once_in_the_order_of_need(trace: Path) -> None:
    lines = mapfs("export", str(trace), "--to", "prefetch").stdout.splitlines()
    assert (
        lines
        == [
            "# offset\tlength\tfile",
            f"{3 * PAGE}\t{4 * PAGE}\tp",
            f"{20 * PAGE}\t{PAGE}\tp",
            f"{7 * PAGE}\t{2 * PAGE}\tp",
            f"{21 * PAGE}\t{PAGE}\tp",
            f"0\t{PAGE}\td/odd name",
        ][: len(lines)]
    )
    assert len(lines) >= 5


def test_a_file_that_exists_is_replaced_only_by_force_and_a_failure_leaves_none(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    done = mapfs("export", str(trace), "--to", "csv", "-o", str(out), check=False)
    assert (done.returncode, out.read_text()) == (1, "mine")
    assert "exists; choose another name, or replace it with --force" in done.stderr
    assert mapfs("export", str(trace), "--to", "csv", "-o", str(out), "-f").returncode == 0
    assert out.read_text().startswith("time_ns,")
    for arguments, code, sentence in (
        (["--to", "csv", "-o", "/nowhere/out"], 1, "cannot write /nowhere/out: No such file or directory"),
        (["--to", "pdf"], 2, "'pdf' is not one of"),
        (["--to", "parquet"], 2, "parquet is not text; say with -o FILE where to write it"),
        ([], 2, "Missing option '--to'"),
        (["--to", "csv", "-f", "-o", "/dev/full"], 1, "cannot write /dev/full: No space left on device"),
    ):
        done = mapfs("export", str(trace), *arguments, check=False)
        assert (done.returncode, sentence in done.stderr) == (code, True), done.stderr
    assert os.path.exists("/dev/full")
    assert mapfs("export", str(tmp_path / "nought"), "--to", "csv", check=False).returncode == 1
