"""`mapfs bench`: every number is there and fits the others, pages are counted exactly, and nothing is left behind."""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mapfs.fuse.device import mount_points
from mapfs.measuring.plan import CASES, COMPARISONS, Case, Order, Target, Way
from mapfs.measuring.worker import Worker
from mapfs.mounting import mounted
from mapfs.units import PAGE_SIZE
from tests.support import ROOT, WITHIN, mapfs, pages_of, wait_until

_PAGES = 1024
_WRITING = (Way.STORE, Way.WRITE)
_READING = [case for case in CASES if not case.writes]  # all that may be done to a file of the user's
#: asked for by a read(2) of 128 KiB, or by posix_fadvise(2), a request may be for more than a page
_MANY_AT_ONCE = ((Way.READ, Order.SEQUENTIAL), (Way.READAHEAD, Order.RANDOM))
_QUICK = ("--duration", "1s")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where it makes its files and mounts; empty when it is over."""
    where = tmp_path / "tmp"
    where.mkdir()
    monkeypatch.setenv("TMPDIR", str(where))
    monkeypatch.setattr(tempfile, "tempdir", str(where))
    yield where
    assert list(where.iterdir()) == []
    assert [mount.path for mount in mount_points() if mount.path.startswith(str(where))] == []
    assert [line for line in _command_lines() if str(where) in line] == []


def _command_lines() -> Iterator[str]:
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            yield Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a name that a spec has to quote, whose last page is not full."""
    path = tmp_path / "a,b"
    path.write_bytes(os.urandom(_PAGES * PAGE_SIZE + 100))
    return path


def _told(*args: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(mapfs("bench", "--json", *_QUICK, *args).stdout)
    return said


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return row["target"], row["way"], row["order"], row["state"]


def test_every_number_is_there_and_fits_the_others(file: Path) -> None:
    before = file.read_bytes(), file.stat()
    said = _told(str(file))
    assert (file.read_bytes(), file.stat().st_mtime_ns) == (before[0], before[1].st_mtime_ns)

    assert (said["file"], said["size"], said["pages"]) == (str(file), _PAGES * PAGE_SIZE + 100, _PAGES)
    runs = {_key(row): row for row in said["runs"]}
    assert set(runs) == {(case.target, case.way, case.order, state) for case in _READING for state in case.states}
    for row in said["runs"]:
        if row["page_ns"] is None:
            assert (row["target"], row["state"], said["cold"]) == ("direct", "cold", False)
            assert row["why"]
            continue
        assert len(row["rounds"]) == said["rounds"]
        each = [one["ns"] / one["pages"] for one in row["rounds"]]
        assert row["page_ns"] == pytest.approx(statistics.median(each))
        assert 0 < row["lowest_ns"] == min(each) <= max(each) == row["highest_ns"]
        assert all(0 < one["pages"] <= _PAGES for one in row["rounds"])
    assert {(one["way"], one["order"]) for one in said["floor"]} == {
        (way, order) for way in ("mmap", "read") for order in ("random", "sequential")
    }
    assert all(one["page_ns"] > 0 for one in said["floor"])


def test_a_ratio_is_that_of_the_times_of_its_rounds(file: Path) -> None:
    said = _told(str(file))
    runs = {_key(row): row for row in said["runs"]}
    assert len(said["ratios"]) == len([one for one in COMPARISONS if one.of[1] not in _WRITING])
    for ratio in said["ratios"]:
        above, below = (
            [one["ns"] / one["pages"] for one in rounds]
            for side in ("of", "to")
            for rounds in [runs[_key({**ratio, **ratio[side]})]["rounds"]]
        )
        if ratio["ratio"] is None:
            assert not said["cold"]
            assert "?" in ratio["says"]
            continue
        each = [one / other for one, other in zip(above, below, strict=True)]
        assert ratio["ratio"] == pytest.approx(statistics.median(each))
        assert (ratio["lowest"], ratio["highest"]) == pytest.approx((min(each), max(each)))
        if ratio["ratio"] >= 1.1 and ratio["state"] == "cold":
            assert f"takes {ratio['ratio']:.1f} times the time of" in ratio["says"] or ratio["ratio"] >= 9.95


def test_a_cold_page_through_mapfs_is_one_request(file: Path) -> None:
    said = _told(str(file))
    checked = 0
    for row in said["runs"]:
        for one in row["rounds"]:
            if (row["target"], row["state"]) != ("mapfs", "cold"):
                assert one["requests"] is None
            elif row["way"] == "mmap" or (row["way"], row["order"]) == ("read", "random"):
                assert one["requests"] == one["pages"]
                checked += 1
            else:
                assert 0 < one["requests"] <= one["pages"]
    assert checked == 3 * said["rounds"]


@pytest.mark.parametrize("pages", [256, 1000, 5000])
@pytest.mark.parametrize(
    "case", [case for case in _READING if case.target is Target.MAPFS], ids=lambda case: f"{case.way}-{case.order}"
)
def test_the_client_asks_for_each_page_once(case: Case, pages: int) -> None:
    with mounted({"file": f"pages:{pages}p"}) as mount, Worker() as worker:
        told = worker.cold(str(mount / "file"), case, pages, WITHIN, 3)
        seen = mount.events()
        evicted = set(pages_of([event for event in seen if event["op"] == "evict"], "file"))  # by the machine, if any
        events = [event for event in seen if event["op"] == "read"]
        events = [event for event in events if event["class"] != "REFAULT" or event["page"] not in evicted]
        assert told.pages == pages
        assert sorted(pages_of(events, "file")) == list(range(pages))
        if (case.way, case.order) not in _MANY_AT_ONCE:
            assert all(event["pages"] == 1 for event in events)
        order = [event["page"] for event in events]
        if case.order is Order.SEQUENTIAL:
            assert order == sorted(order)
        elif case.way is not Way.READAHEAD:
            assert order != sorted(order)
        assert worker.resident(WITHIN).pages == pages
        worker.close()


@pytest.mark.parametrize("way", _WRITING)
@pytest.mark.parametrize("order", Order)
def test_the_client_writes_each_page_once(tmp_path: Path, way: Way, order: Order) -> None:
    """A store changes one byte of a page, a write all of it."""
    path, pages = tmp_path / "file", 1024
    before = os.urandom(pages * PAGE_SIZE)
    path.write_bytes(before)
    with mounted({"file": f"file:{path},rw"}) as mount, Worker() as worker:
        told = worker.cold(str(mount / "file"), Case(Target.MAPFS, way, order), pages, WITHIN, 3)
        after = path.read_bytes()  # it is where the file lies, although nothing was closed
        written = [event for event in mount.events() if event["op"] == "write"]
        worker.close()
    assert told.pages == pages
    assert sorted(pages_of(written, "file")) == list(range(pages))
    changed = [
        sum(one != other for one, other in zip(before[at : at + PAGE_SIZE], after[at : at + PAGE_SIZE], strict=True))
        for at in range(0, len(before), PAGE_SIZE)
    ]
    if way is Way.STORE:
        assert all(count <= 1 for count in changed)
        assert sum(changed) > pages / 2  # a byte may have been the same before
    else:
        assert after == bytes(len(before))


def test_a_temporary_file_is_written_and_a_file_of_the_users_is_not(file: Path) -> None:
    ways = {row["way"] for row in _told("--size", "1M")["runs"]}
    assert ways == {*Way}
    file.chmod(0o444)
    assert {row["way"] for row in _told(str(file))["runs"]} == {*Way} - {*_WRITING}


def test_a_ratio_is_told_as_what_it_is(file: Path) -> None:
    """`takes as long as` is said of a ratio near 1, and of two that are as quick as the client is without a file."""
    said = _told(str(file))
    floor = {(one["way"], one["order"]): one["page_ns"] for one in said["floor"]}
    runs = {_key(row): row for row in said["runs"]}
    for ratio in said["ratios"]:
        sides = [runs[_key({**ratio, **ratio[side]})] for side in ("of", "to")]
        if ratio["ratio"] is None or 1 / 1.1 < ratio["ratio"] < 1.1:
            continue
        at_floor = ratio["of"]["way"] == ratio["to"]["way"] and all(
            side["state"] == "resident" and side["page_ns"] < 2 * floor[side["way"], side["order"]] for side in sides
        )
        assert ("takes as long as" in ratio["says"]) == at_floor, ratio
        assert (" times as fast as" in ratio["says"]) == (ratio["ratio"] < 1 and not at_floor), ratio


def test_random_order_is_another_with_another_seed_and_has_no_neighbours() -> None:
    orders = []
    for seed in (1, 1, 2):
        with mounted({"file": "pages:3000p"}) as mount, Worker() as worker:
            worker.cold(str(mount / "file"), Case(Target.MAPFS, Way.MMAP, Order.RANDOM), 3000, WITHIN, seed)
            orders.append([event["page"] for event in mount.events() if event["op"] == "read"])
            worker.close()
    assert orders[0] == orders[1] != orders[2]
    steps = [after - before for before, after in zip(orders[0], orders[0][1:], strict=False)]
    assert sum(step == 1 for step in steps) < len(steps) / 10


def test_what_is_drawn_fits_and_is_coloured_only_where_it_may_be(place: Path) -> None:
    out = mapfs("bench", *_QUICK, "--size", "2M").stdout
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in out
    assert lines[0].startswith(f"a temporary file: 2.0 MiB, {(2 << 20) // PAGE_SIZE:,} pages;")
    bars = [line.split()[:2] for line in lines if "MiB/s" in line or line.rstrip().endswith("page cache")]
    assert sorted(map(tuple, bars)) == sorted((case.target, case.way) for case in CASES for _ in case.states)
    assert lines[-1] == "next: mapfs mount /tmp/x"
    coloured = mapfs("bench", *_QUICK, "--size", "2M", env={**os.environ, "FORCE_COLOR": "1"})
    assert "\x1b[36m" in coloured.stdout
    assert coloured.stderr == "", "progress is for a terminal"
    both = {**os.environ, "FORCE_COLOR": "1", "NO_COLOR": "1"}
    assert "\x1b" not in mapfs("bench", *_QUICK, "--size", "2M", env=both).stdout


def test_a_file_in_memory_cannot_be_cold() -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.write(os.urandom(_PAGES * PAGE_SIZE))
        file.flush()
        said = _told(file.name)
    assert said["cold"] is False
    for row in said["runs"]:
        if (row["target"], row["state"]) == ("direct", "cold"):
            assert (row["page_ns"], row["rounds"]) == (None, [])
        else:
            assert row["page_ns"] > 0
    against = [ratio for ratio in said["ratios"] if ratio["ratio"] is None]
    assert against
    assert all(ratio["state"] == "cold" and "?" in ratio["says"] for ratio in against)


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["missing"], 1, "cannot read missing: No such file or directory"),
        (["/"], 2, "/ is no regular file; give one, or none at all for a temporary one"),
        (["/dev/null"], 2, "/dev/null is no regular file"),
        ([sys.executable, "--size", "4K"], 2, "4096 bytes are too few to measure; it takes 1.0 MiB at least"),
        (["--size", "12x"], 2, "'12x' is not a size"),
        (["--size", "12"], 2, "--size 12 is less than a page"),
        (["--duration", "soon"], 2, "'soon' is not a time"),
        (["--duration", "10ms"], 2, "--duration is 0.5 s to 600 s, not 10ms"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_sentence(args: list[str], code: int, sentence: str) -> None:
    done = mapfs("bench", *args, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"mapfs: {sentence}")
    assert done.stderr.count("\n") == 1


def _start(place: Path, *args: str) -> "subprocess.Popen[str]":
    """One that would go on for long, and has mounted."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mapfs", "bench", "--duration", "5m", *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    wait_until(lambda: len([1 for mount in mount_points() if mount.path.startswith(str(place))]) == 2, "two mounts")
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_nothing(place: Path, number: signal.Signals, code: int) -> None:
    with _start(place) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=WITHIN)
    assert (process.returncode, out, err.strip()) == (code, "", "")  # click ends the line of a Ctrl-C


def test_a_file_that_becomes_shorter_ends_it(place: Path, file: Path) -> None:
    with _start(place, str(file)) as process:
        os.truncate(file, PAGE_SIZE)
        out, err = process.communicate(timeout=WITHIN)
    assert (process.returncode, out) == (1, "")
    assert err.startswith("mapfs: the file cannot be measured: ")
    assert err.count("\n") == 1
