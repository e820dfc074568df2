"""Unchanged programs on a mount: the output is that of a plain disk, and the trace names their pages."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapfs.trace.reader import open_trace, trace_events
from mapfs.units import page_count
from tests.conftest import Mounter
from tests.support import BEYOND, WITHIN, pages_of


def run(*args: str, **options: Any) -> bytes:
    """The standard output of a program."""
    done: subprocess.CompletedProcess[bytes] = subprocess.run(
        args, stdout=subprocess.PIPE, timeout=WITHIN, check=True, **options
    )
    return done.stdout


def recorded(trace: Path) -> list[dict[str, Any]]:
    """The requests of a trace, without what evidence beyond them shows."""
    events = trace_events(open_trace(str(trace)).connection)
    return [event for event in events if event["op"] not in BEYOND]


def test_sqlite_with_a_mapping(mount: Mounter, tmp_path: Path) -> None:
    path = tmp_path / "backing" / "test.db"
    path.parent.mkdir()
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
    db.executemany("INSERT INTO t VALUES (?, ?)", ((number, f"row {number} " * 20) for number in range(20000)))
    db.commit()
    db.close()
    program = shutil.which("sqlite3")
    assert program, "scripts/test installs sqlite3"
    query = (
        "PRAGMA mmap_size=1000000000; SELECT text FROM t WHERE id = 17171; SELECT count(*), sum(length(text)) FROM t;"
    )
    daemon = mount(f"db=dir:{path.parent}", "--trace", str(tmp_path / "t.db"))
    ours = run(program, f"file:{daemon.file('db/test.db')}?immutable=1", query)
    assert ours == run(program, f"file:{path}?immutable=1", query)
    assert daemon.umount() == 0
    events = recorded(tmp_path / "t.db")
    assert sorted(set(pages_of(events, "db/test.db"))) == list(range(page_count(path.stat().st_size)))
    assert {event["command"] for event in events} == {"sqlite3"}


def test_an_import_from_a_mirrored_directory(mount: Mounter, tmp_path: Path) -> None:
    package = tmp_path / "lib" / "parcel"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from parcel.inner import VALUE\n")
    (package / "inner.py").write_text("# " + "x" * 9000 + "\nVALUE = 42\n")
    daemon = mount(f"lib=dir:{tmp_path}/lib", "--trace", str(tmp_path / "t.db"))
    environment = {**os.environ, "PYTHONPATH": daemon.file("lib"), "PYTHONDONTWRITEBYTECODE": "1"}
    out = run(sys.executable, "-c", "import parcel; print(parcel.VALUE, parcel.__file__)", env=environment)
    assert out.decode().split() == ["42", daemon.file("lib/parcel/__init__.py")]
    assert daemon.umount() == 0
    events = recorded(tmp_path / "t.db")
    assert list(pages_of(events, "lib/parcel/__init__.py")) == [0]
    assert list(pages_of(events, "lib/parcel/inner.py")) == [0, 1, 2]


def test_numpy_memmap(mount: Mounter, tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    np.save(path, np.arange(100_000, dtype=np.int64))
    daemon = mount(f"array.npy=file:{path}")
    code = "import numpy, sys; a = numpy.load(sys.argv[1], mmap_mode='r'); print(a[0], a[50000], a[-1], a.sum())"
    assert run(sys.executable, "-c", code, daemon.file("array.npy")) == run(sys.executable, "-c", code, str(path))
    assert sorted(set(pages_of(daemon.events(), "array.npy"))) == list(range(page_count(path.stat().st_size)))


def test_grep(mount: Mounter, tmp_path: Path) -> None:
    root = tmp_path / "texts"
    root.mkdir()
    for number in range(20):
        (root / f"{number}.txt").write_text("nothing here\n" * 500 + f"needle {number}\n")
    daemon = mount(f"texts=dir:{root}")
    ours = run("grep", "-rn", "needle", ".", cwd=daemon.file("texts"))
    assert sorted(ours.splitlines()) == sorted(run("grep", "-rn", "needle", ".", cwd=root).splitlines())
    events = daemon.events()
    for number in range(20):
        assert list(pages_of(events, f"texts/{number}.txt")) == [0, 1]
    assert {event["command"] for event in events} == {"grep"}


@pytest.mark.parametrize("second_start", [False, True])
def test_an_executable_with_its_libraries(mount: Mounter, tmp_path: Path, second_start: bool) -> None:
    root = tmp_path / "root"
    (root / "lib").mkdir(parents=True)
    program = os.path.realpath(shutil.which("ls") or "/bin/ls")
    shutil.copy2(program, root / "ls")
    libraries = [word for word in run("ldd", program).decode().split() if word.startswith("/")]
    for library in libraries:
        shutil.copy2(library, root / "lib" / os.path.basename(library))
    loader = next(name for name in os.listdir(root / "lib") if name.startswith("ld-"))
    daemon = mount(f"root=dir:{root}", "--trace", str(tmp_path / "t.db"))
    command = [daemon.file(f"root/lib/{loader}"), "--library-path", daemon.file("root/lib"), daemon.file("root/ls")]
    for _ in range(1 + second_start):
        assert run(*command, "-1", "/etc") == run(program, "-1", "/etc")
    assert daemon.umount() == 0
    events = recorded(tmp_path / "t.db")
    touched = {str(event["file"]) for event in events}
    assert touched == {"root/ls", *(f"root/lib/{os.path.basename(library)}" for library in libraries)}
    # nothing is asked for twice: the second start finds in the page cache what the first brought in
    cold = [(event["file"], event["page"]) for event in events if event["class"] == "COLD"]
    assert len(cold) == len(set(cold))
    elf = [event for event in events if event["file"] == "root/ls"]
    assert (elf[0]["page"], elf[0]["class"]) == (0, "COLD")
    starters = {event["pid"] for event in events if event["class"] == "COLD"}
    assert len(starters) == 1
