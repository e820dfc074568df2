"""Readers of mapped formats, and programs that walk trees: each says on the mount what it says on a plain disk."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped] # it ships no types
import pyarrow.parquet  # type: ignore[import-untyped] # the same
import pytest
from safetensors.numpy import save_file

from mapfs.units import page_count
from tests.conftest import Mounter
from tests.support import pages_of

LONG = 100  # seconds
ROWS = 50_000
READERS = {
    "arrow": """
        import pyarrow as pa, sys
        table = pa.ipc.open_file(pa.memory_map(sys.argv[1] + "/table.arrow")).read_all()
        print(table.num_rows, table.schema, table.column("text")[17171], sum(table.column("number").to_pylist()))
    """,
    "parquet": """
        import pyarrow.parquet, sys
        table = pyarrow.parquet.read_table(sys.argv[1] + "/table.parquet", memory_map=True)
        print(table.num_rows, table.schema, table.column("text")[17171], sum(table.column("number").to_pylist()))
    """,
    "safetensors": """
        import hashlib, sys
        from safetensors import safe_open
        with safe_open(sys.argv[1] + "/model.safetensors", framework="numpy") as file:
            for name in sorted(file.keys()):
                print(name, file.get_tensor(name).shape, hashlib.sha256(file.get_tensor(name).tobytes()).hexdigest())
    """,
    "duckdb": """
        import duckdb, sys
        database = duckdb.connect(sys.argv[1] + "/table.duckdb", read_only=True)
        print(database.execute("SELECT count(*), sum(number), min(text), max(text) FROM t").fetchall())
        query = "SELECT number % 7 AS k, count(*), max(text) FROM read_parquet(?) GROUP BY k ORDER BY k"
        print(database.execute(query, [sys.argv[1] + "/table.parquet"]).fetchall())
    """,
}
FILES = {
    "arrow": "table.arrow",
    "parquet": "table.parquet",
    "safetensors": "model.safetensors",
    "duckdb": "table.duckdb",
}


def run(*command: str, cwd: str | Path | None = None) -> str:
    """The standard output of a program that ends well."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def formats(home: Path) -> Path:
    """One table and one model, in each format."""
    table = pa.table({"number": range(ROWS), "text": [f"row {number}" for number in range(ROWS)]})
    with pa.OSFile(str(home / "table.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    pyarrow.parquet.write_table(table, home / "table.parquet", row_group_size=5000)
    generator = np.random.default_rng(7)
    save_file({f"layer{n}": generator.random((100, 300)) for n in range(4)}, home / "model.safetensors")
    code = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('CREATE TABLE t AS FROM read_parquet(?)', [sys.argv[2]])"
    run(sys.executable, "-c", code, str(home / "table.duckdb"), str(home / "table.parquet"))
    return home


@pytest.mark.parametrize("reader", READERS)
def test_a_format_is_read_as_from_a_plain_disk(mount: Mounter, formats: Path, reader: str) -> None:
    daemon = mount(f"m=dir:{formats}", "-q", wait=False).wait_mounted()
    command = [sys.executable, "-c", textwrap.dedent(READERS[reader])]
    assert run(*command, daemon.file("m")) == run(*command, str(formats))
    asked = set(pages_of(daemon.events(), f"m/{FILES[reader]}"))
    pages = page_count((formats / FILES[reader]).stat().st_size)
    assert 0 in asked and asked <= set(range(pages))
    if reader == "safetensors":
        assert asked == set(range(pages))  # each tensor is read whole, and there is nothing else in it


def test_duckdb_writes_and_reads_again(mount: Mounter, home: Path, tmp_path: Path) -> None:
    write = """
        import duckdb, sys
        with duckdb.connect(sys.argv[1] + "/w.duckdb") as database:
            database.execute("CREATE TABLE t AS SELECT range AS n FROM range(200000)")
            database.execute("UPDATE t SET n = n + 1 WHERE n % 3 = 0")
            database.execute("CHECKPOINT")
    """
    check = """
        import duckdb, sys
        with duckdb.connect(sys.argv[1] + "/w.duckdb", read_only=True) as database:
            print(database.execute("SELECT count(*), sum(n), count(DISTINCT n) FROM t").fetchall())
    """
    daemon = mount(f"m=dir:{home},rw", "-q", wait=False).wait_mounted()
    plain = tmp_path / "plain"
    plain.mkdir()
    said = set()
    for place in (daemon.file("m"), str(plain)):
        run(sys.executable, "-c", textwrap.dedent(write), place)
    for place in (daemon.file("m"), str(plain), str(home)):
        said.add(run(sys.executable, "-c", textwrap.dedent(check), place))
    assert len(said) == 1 and "200000" in said.pop()


def test_ripgrep_through_mappings(mount: Mounter, home: Path) -> None:
    for number in range(20):
        (home / f"{number}.txt").write_text("nothing here\n" * 500 + f"needle {number}\n")
    daemon = mount(f"m=dir:{home}", "-q", wait=False).wait_mounted()
    command = ("rg", "--mmap", "--no-config", "--sort", "path", "-n", "needle", ".")
    said = run(*command, cwd=daemon.file("m"))
    assert said == run(*command, cwd=home)
    assert len(said.splitlines()) == 20
    for number in range(20):
        assert sorted(set(pages_of(daemon.events(), f"m/{number}.txt"))) == [0, 1]


def test_rsync_into_a_mirror_and_out_of_it(mount: Mounter, home: Path, tmp_path: Path) -> None:
    source, back = Path(textwrap.__file__).parent / "json", tmp_path / "back"
    daemon = mount(f"m=dir:{home},rw", "-q", wait=False).wait_mounted()
    copied = daemon.file("m/json")
    run("rsync", "-a", "--exclude=__pycache__", f"{source}/", copied)
    (home / "json" / "decoder.py").write_text("# another\n")
    said = run("rsync", "-aci", "--exclude=__pycache__", f"{source}/", copied)
    assert [line.split()[1] for line in said.splitlines() if line.startswith(">f")] == ["decoder.py"]
    run("rsync", "-a", f"{copied}/", str(back))
    for place in (home / "json", back):
        assert run("diff", "-r", "--exclude=__pycache__", str(source), str(place)) == ""
        assert run("rsync", "-aciH", "--exclude=__pycache__", f"{source}/", str(place)) == ""


@pytest.mark.parametrize(
    "stressor",
    [("--mmap", "--mmap-file", "--mmap-bytes", "8M"), ("--fault",), ("--msync", "--msync-bytes", "4M"), ("--madvise",)],
    ids=["mmap", "fault", "msync", "madvise"],
)
def test_stress_ng_verifies_what_it_did(mount: Mounter, home: Path, stressor: tuple[str, ...]) -> None:
    daemon = mount(f"m=dir:{home},rw", "-q", wait=False).wait_mounted()
    name, *options = stressor
    run(
        "stress-ng", name, "1", *options, f"{name}-ops", "20", "--verify", "--timeout", "30s",
        "--temp-path", daemon.file("m"), cwd=home,
    )  # fmt: skip
    assert any(event["op"] in ("read", "write") for event in daemon.events())  # it worked in the mount indeed
    assert os.listdir(home) == []
    assert daemon.umount() == 0
