"""`mapfs report`: of real runs, opened in a real browser."""

import json
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mapfs.trace.store import Store
from tests.browser import Opened, opened
from tests.conftest import Mounter
from tests.support import Daemon, mapfs, python
from tests.unit.test_report import fill, hostile_report, some_events

PAGE = os.sysconf("SC_PAGE_SIZE")
TOUCH = f"""
    import mmap, sys
    with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as m:
        for page in map(int, sys.argv[2:]):
            m[page * {PAGE}]
"""


def unmounted(daemon: Daemon) -> None:
    mapfs("umount", daemon.path)
    assert daemon.wait_end() == 0


@pytest.fixture
def trace(mount: Mounter, tmp_path: Path) -> Path:
    """Of two processes and two files: 12 pages of a, one of them dropped and demanded again; 3 of b, one failing."""
    path = tmp_path / "t.db"
    daemon = mount("a=pages:64p", "b=pages:8p,error=EIO@5", "--trace", str(path))
    python(TOUCH, daemon.file("a"), *range(0, 24, 2))
    mapfs("drop", daemon.file("a"), "4")
    python(TOUCH, daemon.file("a"), 2, 4)
    python(TOUCH, daemon.file("b"), 0, 1, 2)
    failed = python(TOUCH, daemon.file("b"), 5, check=False)
    assert failed.returncode < 0, "SIGBUS"
    unmounted(daemon)
    return path


def report(trace: Path, *args: str) -> Path:
    page = trace.with_suffix(".html")
    mapfs("report", str(trace), "-o", str(page), *args)
    return page


def quiet(one: Opened, page: Path) -> None:
    """Nothing was logged, and nothing but the page itself asked for."""
    assert one.said == []
    assert [url for url in one.asked if not url.startswith("data:")] == [page.as_uri()]


def test_the_page_tells_of_a_run(trace: Path) -> None:
    page = report(trace)
    with opened(page) as one:
        lead = one.text("#lead")
        assert "16 demands for 15 pages" in lead and "1 re-fault " in lead
        files = one.page.locator("#files tbody tr").all_inner_texts()
        assert [line.split("\t")[0] for line in files] == ["a", "b"]
        cells = files[0].split("\t")
        assert cells[2:6] == ["64", "13", "12", "1"], "of pages, demands, pages, re-faults"
        assert one.page.locator("#kinds button").all_inner_texts()[:2] == ["COLD", "REFAULT"]
        assert {"ERROR", "DROP"} <= set(one.page.locator("#kinds button").all_inner_texts())
        assert "error=EIO" in one.text("#longest")
        quiet(one, page)


@pytest.mark.parametrize("dark", [False, True])
def test_the_chart_is_drawn_by_day_and_by_night(trace: Path, dark: bool) -> None:
    page = report(trace)
    with opened(page, dark=dark) as one:
        back = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert back == ("rgb(18, 22, 28)" if dark else "rgb(255, 255, 255)")
        assert one.colours() > 20
        before = one.page.evaluate("document.getElementById('chart').toDataURL()")
        one.page.click("#theme")
        assert one.page.evaluate("getComputedStyle(document.body).backgroundColor") != back
        assert one.page.evaluate("document.getElementById('chart').toDataURL()") != before
        quiet(one, page)


def test_a_mark_tells_what_it_is(trace: Path) -> None:
    page = report(trace)
    with opened(page) as one:
        one.page.focus("#chart")
        told = []
        for _ in range(40):
            one.page.keyboard.press("ArrowRight")
            told.append(one.text("#tip"))
        (again,) = {text for text in told if "REFAULT" in text}
        assert "a, page 4" in again and "waited" in again and "python" in again
        assert any("error=EIO" in text and "b, page 5" in text for text in told)
        one.page.keyboard.press("Escape")
        assert one.page.locator("#tip").is_hidden()
        quiet(one, page)


def test_the_mouse_finds_marks_and_leaves_them(trace: Path) -> None:
    page = report(trace)
    with opened(page) as one:
        one.page.focus("#chart")
        one.page.keyboard.press("ArrowRight")
        text = one.text("#tip")
        box = one.page.evaluate("(([, x, y, w, h]) => [x + w / 2, y + h / 2])(boxes[chosen])")
        chart = one.page.locator("#chart").bounding_box()
        assert chart is not None
        one.page.mouse.move(chart["x"] + chart["width"] - 40, chart["y"] + chart["height"] - 60)
        assert one.page.locator("#tip").is_hidden()
        one.page.mouse.move(chart["x"] + box[0], chart["y"] + box[1])
        assert one.text("#tip").splitlines()[0] == text.splitlines()[0]


def test_a_brush_shows_a_part_of_the_time(trace: Path) -> None:
    page = report(trace)
    with opened(page) as one:
        assert one.text("#selection") == "" and one.page.locator("#reset").is_disabled()
        whole = one.page.evaluate("document.getElementById('chart').toDataURL()")
        chart = one.page.locator("#chart").bounding_box()
        assert chart is not None
        one.page.mouse.move(chart["x"] + 200, chart["y"] + 48)
        one.page.mouse.down()
        one.page.mouse.move(chart["x"] + 300, chart["y"] + 90, steps=3)
        one.page.mouse.up()
        said = re.search(r"in these lanes: (\d+) COLD", one.text("#selection"))
        assert said and 1 <= int(said[1]) <= 15
        assert one.page.evaluate("document.getElementById('chart').toDataURL()") != whole
        one.page.click("#reset")
        assert one.text("#selection") == ""
        assert one.page.evaluate("document.getElementById('chart').toDataURL()") == whole
        quiet(one, page)


def test_lanes_classes_and_processes_can_be_hidden(trace: Path) -> None:
    with opened(report(trace)) as one:
        marks = "boxes.length"
        all_of_them = one.page.evaluate(marks)
        one.page.locator("#kinds button", has_text="COLD").click()
        assert one.page.evaluate(marks) == all_of_them - 15
        one.page.locator("#kinds button", has_text="COLD").click()
        one.page.locator("#lanes button", has_text="b").click()
        assert one.page.evaluate("lanes.length") == 1
        one.page.locator("#processes button").first.click()
        assert one.page.evaluate(marks) < all_of_them - 3
        one.page.locator("#by button", has_text="class").click()
        assert one.page.locator("#by button[aria-pressed=true]").inner_text() == "by class"
        assert one.said == []


def test_a_long_trace_is_drawn_in_cells(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "t.db"))
    fill(store, some_events(60_000, 2))
    store.close(1_000_000_000)
    page = report(tmp_path / "t.db", "--no-labels")
    assert page.stat().st_size < 10_000_000
    with opened(page) as one:
        assert "Each mark: " in one.text("#scale") and "12 busiest of 17 files" in one.text("#scale")
        assert one.colours() > 50
        chart = one.page.locator("#chart").bounding_box()
        assert chart is not None
        one.page.mouse.move(chart["x"] + 150, chart["y"] + 200)
        assert "from " in one.text("#tip") and " to " in one.text("#tip")
        quiet(one, page)


def test_hostile_names_are_text(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "t.db"))
    hostile_report(store)
    store.close(1_000_000_000)
    page = report(tmp_path / "t.db")
    with opened(page) as one:
        dialogs: list[str] = []
        one.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        one.page.focus("#chart")
        for _ in range(7):
            one.page.keyboard.press("ArrowRight")
        assert "</script><script>alert(1)</script>" in one.text("#title")
        assert "<img src=x onerror=alert(1)>" in one.text("#files")
        assert one.page.locator("img").count() == 0 and dialogs == []
        quiet(one, page)


def test_a_page_of_nothing_says_so(mount: Mounter, tmp_path: Path) -> None:
    daemon = mount("a=pages:4p", "--trace", str(tmp_path / "t.db"))
    unmounted(daemon)
    page = report(tmp_path / "t.db")
    with opened(page) as one:
        assert "0 demands for 0 pages" in one.text("#lead")
        quiet(one, page)


def test_a_running_mount_can_be_reported_too(mount: Mounter, tmp_path: Path) -> None:
    daemon = mount("a=pages:64p")
    python(TOUCH, daemon.file("a"), 3, 5)
    told = json.loads(mapfs("report", daemon.path, "--json").stdout)
    assert told["total"]["pages"] == 2 and told["exact"]["page"] == [3, 5]
    assert any("had not ended" in sentence for sentence in told["unknown"])


def test_the_json_has_the_labels_of_what_was_demanded(mount: Mounter, tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "data.db")
    db.execute("CREATE TABLE rows (text)")
    db.execute("INSERT INTO rows VALUES (zeroblob(9000))")
    db.commit()
    db.close()
    daemon = mount(f"data.db=file:{tmp_path}/data.db", "--trace", str(tmp_path / "t.db"))
    python(TOUCH, daemon.file("data.db"), 0, 1)
    unmounted(daemon)
    told = json.loads(mapfs("report", str(tmp_path / "t.db"), "--json").stdout)
    assert told["exact"]["label"] == ["sqlite_schema", "rows"]
    told = json.loads(mapfs("report", str(tmp_path / "t.db"), "--json", "--no-labels").stdout)
    assert told["exact"]["label"] == [None, None]


def test_the_numbers_are_those_of_queries_on_the_trace(trace: Path) -> None:
    told = json.loads(mapfs("report", str(trace), "--json").stdout)
    summary = json.loads(mapfs("summary", str(trace), "--json").stdout)
    with closing(sqlite3.connect(trace)) as db:
        read = "SELECT count(*), sum(wait_ns), sum(size) / ? FROM requests WHERE op = 1 AND errno = 0"
        demands, wait_ns, pages = db.execute(read, (PAGE,)).fetchone()
        assert (told["total"]["demands"], told["total"]["wait_ns"]) == (demands, wait_ns)
        assert told["total"]["pages"] + told["total"]["refaults"] == pages == 16
        assert told["total"]["refaults"] == db.execute("SELECT sum(refaults) FROM requests WHERE op = 1").fetchone()[0]
        for row in told["files"]:
            own = "SELECT count(*) FROM requests WHERE op = 1 AND errno = 0 AND file IN (SELECT id FROM files WHERE path = ?)"
            assert row["demand"]["demands"] == db.execute(own, (row["file"],)).fetchone()[0]
        longest = db.execute(
            "SELECT wait_ns FROM requests WHERE op = 1 ORDER BY wait_ns DESC, serial LIMIT 25"
        ).fetchall()
        assert [one["wait_ns"] for one in told["longest"] if told["kinds"][one["kind"]]["name"] != "JOINED"] == [
            wait for (wait,) in longest
        ]
    assert told["timeline"]["asked"][-1] == told["total"]["pages"] == summary["total"]["pages"]
    assert told["evicted"] == summary["evicted"] and told["total"]["refaults"] == summary["total"]["refaults"]
    waits = [one["wait_ns"] for one in summary["longest"]]
    assert [one["wait_ns"] for one in told["longest"][: len(waits)]] == waits


def test_it_is_the_same_page_without_numpy(trace: Path) -> None:
    """Then the trace is read through SQLite."""
    without = """
        import sys
        sys.modules["numpy"] = None
        from mapfs.commands import main
        main()
    """
    assert python(without, "report", str(trace), "-o", "-").stdout == mapfs("report", str(trace), "-o", "-").stdout


def test_a_page_is_replaced_only_on_demand(trace: Path) -> None:
    page = report(trace)
    before = page.read_bytes()
    refused = mapfs("report", str(trace), "-o", str(page), check=False)
    assert refused.returncode == 1 and "exists; choose another name, or replace it with --force" in refused.stderr
    assert page.read_bytes() == before
    report(trace, "--force")
    assert mapfs("report", str(trace), "-o", "-").stdout == page.read_text()


def test_without_a_place_to_write_to_it_is_a_usage_error(trace: Path) -> None:
    refused = mapfs("report", str(trace), check=False)
    assert refused.returncode == 2 and "-o FILE.html" in refused.stderr
    refused = mapfs("report", str(trace), "-o", "/nonexistent/x.html", check=False)
    assert refused.returncode == 1 and "cannot write /nonexistent/x.html" in refused.stderr
