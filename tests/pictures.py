"""`python -m tests.pictures`: what scripts/pictures runs. One function a picture, all of the same run.

The run: a program walks through a model file, two look rows of a SQLite database up by name, one after the other has
begun, one strides through a slow file; then pages of the model are dropped, and two more programs walk through it.
"""

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from mapfs.views.live.app import LiveApp
from tests.browser import opened
from tests.support import Daemon, mapfs

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
_WITHIN = 60.0  # seconds
_ROWS = 20_000

_WALK = """
    import mmap, sys, time
    path, *numbers = sys.argv[1:]
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
        for page in range(*map(int, numbers)):
            pages[page * mmap.PAGESIZE]
            time.sleep(0.0002)
"""
_LOOK_UP = """
    import random, sqlite3, sys, time
    path, seed = sys.argv[1:]
    db = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    db.execute("PRAGMA mmap_size = 100000000")
    some = random.Random(int(seed))
    print("begun", flush=True)
    for _ in range(80):
        db.execute("SELECT body FROM rows WHERE name = ?", (f"name{some.randrange(20_000)}",)).fetchone()
        time.sleep(0.004)
"""


def _started(name: str, code: str, *args: object) -> "subprocess.Popen[str]":
    """A program that is called `name` wherever processes are listed."""
    named = f"open('/proc/self/comm', 'w').write({name!r})\n{textwrap.dedent(code)}"
    return subprocess.Popen(
        [sys.executable, "-c", named, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )


def _ended(*processes: "subprocess.Popen[str]") -> None:
    for process in processes:
        process.communicate(timeout=_WITHIN)
        assert process.returncode == 0, process.args


def _run(scratch: Path) -> Path:
    """The run, and its trace."""
    with sqlite3.connect(scratch / "users.db") as db:
        db.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, name TEXT, body TEXT)")
        rows = [(f"name{number * 7919 % _ROWS}", "." * 90) for number in range(_ROWS)]
        db.executemany("INSERT INTO rows (name, body) VALUES (?, ?)", rows)
        db.execute("CREATE INDEX by_name ON rows (name)")
    db.close()
    (scratch / "model.bin").write_bytes(os.urandom(1 << 23))
    trace = scratch / "run.db"
    files = [
        f"users.db=file:{scratch}/users.db",
        f"model.bin=file:{scratch}/model.bin,error=EIO@1500",
        "slow=pages:2M,delay=2ms@0-63",
    ]
    daemon = Daemon(scratch / "x", *files, "-q", "--trace", str(trace)).wait_mounted()
    try:
        loader = _started("loader", _WALK, daemon.file("model.bin"), 0, 1400, 2)
        first = _started("query", _LOOK_UP, daemon.file("users.db"), 1)
        assert first.stdout and first.stdout.readline()
        slow = _started("stride", _WALK, daemon.file("slow"), 0, 512, 5)
        _ended(slow)
        second = _started("query", _LOOK_UP, daemon.file("users.db"), 2)
        _ended(loader, first, second)
        subprocess.run(
            ["dd", f"if={daemon.file('model.bin')}", f"bs={os.sysconf('SC_PAGE_SIZE')}", "skip=1500", "count=1"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=_WITHIN, check=False,
        )  # fmt: skip
        mapfs("drop", daemon.file("model.bin"), "600-800")
        walkers = [_started(f"worker{n}", _WALK, daemon.file("model.bin"), *at) for n, at in enumerate(_WORK, 1)]
        _ended(*walkers)
        mapfs("umount", daemon.path)
        daemon.wait_end()
    finally:
        daemon.destroy()
    return trace


_WORK = ((200, 1100, 3), (500, 1499, 4))


def _report(trace: Path) -> None:
    """mapfs report, by day: the head and the picture."""
    page = trace.with_name("report.html")
    mapfs("report", str(trace), "-o", str(page))
    with opened(page, width=1180, height=880) as one:
        one.page.screenshot(path=PICTURES / "report.png", clip={"x": 0, "y": 0, "width": 1180, "height": 880})


def _live(trace: Path) -> None:
    """mapfs live, played to the end of the run: the map of the database, by process."""
    drawing = trace.with_name("live.svg")
    asyncio.run(_drawn(trace, drawing))
    page = trace.with_name("live.html")
    page.write_text(f"<body style='margin:0'>{drawing.read_text('utf-8')}", "utf-8")
    with opened(page, width=1180, height=800) as one:
        one.page.locator("svg").first.screenshot(path=PICTURES / "live.png")


async def _drawn(trace: Path, drawing: Path) -> None:
    app = LiveApp(str(trace), speed=1000)
    async with app.run_test(size=(120, 36)) as pilot:
        until = time.monotonic() + _WITHIN
        while not app.player.over:
            assert time.monotonic() < until, "the trace does not come to its end"
            await pilot.pause(0.05)
        await pilot.pause(3.0)  # until nothing is marked as happening now
        app.save_screenshot(str(drawing))


#: Each picture, made of the trace of the run.
_MAKERS: tuple[Callable[[Path], None], ...] = (_report, _live)


def main() -> None:
    """Makes all of them."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mapfs-pictures-") as scratch:
        trace = _run(Path(scratch))
        for make in _MAKERS:
            make(trace)


if __name__ == "__main__":
    main()
