"""Programs that write, inside a writable mirror: what they leave is the same on the disk below and in the mount."""

import json
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.support import Daemon, python

LONG = 100  # seconds


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def mirror(mount: Mounter, home: Path) -> Daemon:
    return mount(f"m=dir:{home},rw", "-q", wait=False).wait_mounted()


def run(*command: str, cwd: str | Path | None = None) -> str:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "HOME": str(cwd)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False, cwd=cwd, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _packs(clone: str) -> list[Path]:
    return list(Path(clone, ".git/objects/pack").glob("*.pack"))


def test_git_clones_commits_repacks_and_finds_nothing_wrong(mirror: Daemon, home: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    who = ("-c", "user.name=mapfs", "-c", "user.email=mapfs@example.invalid")
    run("git", "init", "-q", "-b", "main", ".", cwd=source)
    for number in range(30):
        (source / f"file{number}").write_text(f"{number}\n" * 2000)
        run("git", "add", ".", cwd=source)
        run("git", *who, "commit", "-q", "-m", f"number {number}", cwd=source)
    inside = mirror.file("m")
    run("git", "clone", "-q", "--no-local", str(source), "clone", cwd=inside)
    clone = inside + "/clone"
    (Path(clone) / "file3").write_text("changed in the mount\n")
    run("git", *who, "commit", "-q", "-a", "-m", "in the mount", cwd=clone)
    objects = run("git", "rev-list", "--objects", "--all", cwd=clone)
    assert len(_packs(clone)) == 1 and run("git", "count-objects", cwd=clone) != "0 objects, 0 kilobytes\n"
    run("git", "repack", "-q", "-a", "-d", cwd=clone)
    (pack,) = _packs(clone)
    assert run("git", "count-objects", cwd=clone) == "0 objects, 0 kilobytes\n", "the commit's loose ones are in it"
    run("git", "verify-pack", str(pack), cwd=clone)
    assert run("git", "rev-list", "--objects", "--all", cwd=clone) == objects
    assert pack.read_bytes() == (home / pack.relative_to(inside)).read_bytes()
    run("git", "gc", "-q", "--aggressive", cwd=clone)
    run("git", "checkout", "-q", "-b", "side", "HEAD~5", cwd=clone)
    run("git", *who, "merge", "-q", "--no-edit", "main", cwd=clone)
    for place in (clone, str(home / "clone")):
        assert "error" not in run("git", "fsck", "--full", "--strict", cwd=place)
        assert run("git", "status", "--porcelain", cwd=place) == ""
    assert run("git", "rev-parse", "main^", cwd=clone) == run("git", "rev-parse", "main", cwd=source)
    shutil.rmtree(clone)
    assert os.listdir(home) == []


def test_gcc_compiles_links_and_the_program_runs(mirror: Daemon, home: Path) -> None:
    inside = Path(mirror.file("m"))
    (inside / "part.c").write_text("int part(int n) { return n * 6; }\n")
    (inside / "main.c").write_text(
        '#include <stdio.h>\nint part(int);\nint main(void) { printf("%d\\n", part(7)); return 0; }\n'
    )
    run("gcc", "-O1", "-fPIC", "-shared", "-o", "libpart.so", "part.c", cwd=inside)
    run("gcc", "-O1", "-o", "main", "main.c", "-L.", "-lpart", "-Wl,-rpath,$ORIGIN", cwd=inside)
    for place in (inside, home):
        assert run("./main", cwd=place) == "42\n"
    (inside / "main.c").write_text("int main(void) { return 3; }\n")
    run("gcc", "-o", "main", "main.c", cwd=inside)
    assert subprocess.run([inside / "main"], check=False, timeout=LONG).returncode == 3


def test_ld_makes_the_same_as_on_a_plain_disk(mirror: Daemon, home: Path, tmp_path: Path) -> None:
    """ld by itself: objects put together (-r), an archive, and a static executable that is run in both places."""
    inside, plain = Path(mirror.file("m")), tmp_path / "plain"
    plain.mkdir()
    sources = {
        "start.c": "int part(int);\nint table[30000] = {1};\nvoid _start(void) { int code = part(table[0] * 7);\n"
        '  __asm__ volatile ("syscall" : : "a" (60), "D" (code)); }\n',
        "part.c": "int part(int n) { return n * 6; }\n",
    }
    if os.uname().machine != "x86_64":
        pytest.skip("the program ends by a system call of x86-64")
    for place in (inside, plain):
        for name, text in sources.items():
            (place / name).write_text(text)
            run("gcc", "-O1", "-fno-stack-protector", "-ffreestanding", "-c", name, cwd=place)
        run("ld", "-r", "-o", "whole.o", "start.o", "part.o", cwd=place)
        run("ar", "rcsD", "libpart.a", "part.o", cwd=place)
        run("ld", "-static", "-o", "from-whole", "whole.o", cwd=place)
        run("ld", "-static", "-o", "from-archive", "start.o", "-L.", "-lpart", cwd=place)
    for name in ("whole.o", "libpart.a", "from-whole", "from-archive"):
        made = (plain / name).read_bytes()
        assert (inside / name).read_bytes() == made, name
        assert (home / name).read_bytes() == made, name
    for place in (inside, home):
        for name in ("from-whole", "from-archive"):
            assert subprocess.run([place / name], check=False, timeout=LONG).returncode == 42


def test_sqlite_in_wal_mode_with_two_connections(mirror: Daemon, home: Path) -> None:
    code = """
        import sqlite3, sys
        path, own = sys.argv[1], int(sys.argv[2])
        db = sqlite3.connect(path, timeout=60, isolation_level=None)
        db.execute("PRAGMA mmap_size = 10000000")
        for number in range(200):
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO t VALUES (?, ?)", (own, number))
            db.execute("COMMIT")
        db.close()
    """
    path = mirror.file("m/data.db")
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
        db.execute("CREATE TABLE t (own INTEGER, number INTEGER)")
    writers = [
        subprocess.Popen(["python3", "-c", "\n".join(line[8:] for line in code.splitlines()), path, str(own)])
        for own in range(2)
    ]
    assert [writer.wait(LONG) for writer in writers] == [0, 0]
    assert db.execute("SELECT own, count(*) FROM t GROUP BY own").fetchall() == [(0, 200), (1, 200)]
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    below = sqlite3.connect(home / "data.db")
    assert below.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert below.execute("SELECT count(*), sum(number) FROM t").fetchone() == (400, 2 * sum(range(200)))
    below.close()


@pytest.mark.parametrize("writemap", [False, True])
def test_lmdb(mirror: Daemon, home: Path, writemap: bool) -> None:
    code = """
        import json, lmdb, sys
        env = lmdb.open(sys.argv[1], map_size=16 << 20, writemap=sys.argv[2] == "True")
        for turn in range(20):
            with env.begin(write=True) as txn:
                for number in range(100):
                    txn.put(b"%06d" % (turn * 100 + number), b"value %d" % number * 20)
        with env.begin(write=True) as txn:
            for number in range(0, 2000, 2):
                assert txn.delete(b"%06d" % number)
        env.sync(True)
        print(json.dumps(env.stat()["entries"]))
        env.close()
    """
    assert python(code, mirror.file("m/lmdb"), writemap, within=LONG).stdout.strip() == "1000"
    check = """
        import json, lmdb, sys
        env = lmdb.open(sys.argv[1], readonly=True, lock=False)
        with env.begin() as txn:
            print(json.dumps([[k.decode(), len(v)] for k, v in txn.cursor()]))
    """
    kept = json.loads(python(check, home / "lmdb").stdout)
    assert kept == json.loads(python(check, mirror.file("m/lmdb")).stdout)
    assert [key for key, _ in kept] == [f"{number:06}" for number in range(1, 2000, 2)]


def test_numpy_memmap_for_writing(mirror: Daemon, home: Path) -> None:
    code = """
        import numpy as np, sys
        made = np.memmap(sys.argv[1], dtype="<u4", mode="w+", shape=(1000, 1000))
        made[:] = np.arange(1_000_000, dtype="<u4").reshape(1000, 1000)
        made.flush()
        del made
        again = np.memmap(sys.argv[1], dtype="<u4", mode="r+", shape=(1000, 1000))
        again[::2] *= 2
        again.flush()
        print(int(again.astype("u8").sum()))
    """
    said = int(python(code, mirror.file("m/array"), within=LONG).stdout)
    check = "import numpy as np, sys; print(int(np.fromfile(sys.argv[1], '<u4').astype('u8').sum()))"
    assert int(python(check, home / "array").stdout) == said


def test_fio_verifies_what_it_wrote_through_a_mapping(mirror: Daemon, home: Path) -> None:
    said = run(
        "fio", "--name=verify", "--ioengine=mmap", "--rw=randwrite", "--bs=4k", "--size=16M", "--verify=crc32c",
        "--verify_fatal=1", "--do_verify=1", "--randseed=7", "--output-format=json", f"--filename={mirror.file('m/fio')}",
        cwd=mirror.file("m"),
    )  # fmt: skip
    (job,) = json.loads(said[said.index("{") :])["jobs"]
    assert job["error"] == 0
    assert job["write"]["total_ios"] == 4096
    assert job["read"]["total_ios"] == 4096  # each block was read back and its checksum compared
    assert (home / "fio").stat().st_size == 16 << 20


def test_a_tree_is_copied_moved_and_archived(mirror: Daemon, home: Path, tmp_path: Path) -> None:
    inside = mirror.file("m")
    library = Path(json.__file__).parent
    run("cp", "-a", str(library), inside + "/json", cwd=inside)
    assert run("diff", "-r", str(library), inside + "/json", cwd=inside) == ""
    run("mv", "json", "moved", cwd=inside)
    run("tar", "cf", "all.tar", "moved", cwd=inside)
    run("tar", "xf", "all.tar", "-C", str(tmp_path), cwd=inside)
    assert run("diff", "-r", str(library), str(tmp_path / "moved"), cwd=inside) == ""
    assert sorted(os.listdir(home)) == ["all.tar", "moved"]
