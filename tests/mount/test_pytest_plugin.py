"""The pytest plugin in runs of pytest of their own: what it mounts, what it fails, and that it costs nothing unused."""

import re
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

pytest_plugins = ["pytester"]

HEAD = "import os, signal, mmap, subprocess, sys\nimport pytest\nfrom mapfs import Source\n"
TRUE = ("--strict-markers", "-p", "no:cacheprovider", "-W", "error")


@pytest.fixture(autouse=True)
def below_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mounts are made where tests.conftest looks for what is left of them."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def run(pytester: pytest.Pytester, code: str, *args: str) -> pytest.RunResult:
    """Runs `code` as a file of tests; whatever it did, no mount and no directory of one is left."""
    pytester.makepyfile(HEAD + code)
    result = pytester.runpytest_subprocess(*TRUE, *args, timeout=60)
    assert list(pytester.path.glob("mapfs-*")) == []
    return result


def failures(result: pytest.RunResult, name: str) -> list[str]:
    """What is said of the test that failed."""
    text = result.stdout.str()
    match = re.search(rf"^_+ {name} _+\n(.*?)^[_=]{{3}}", text, re.MULTILINE | re.DOTALL)
    assert match, text
    return match[1].splitlines()


def test_an_exceeded_limit_says_who_demanded_what(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@pytest.mark.limit_demands(pages=40, file="*.db")
@pytest.mark.limit_demands(pages=8, file="c")
def test_too_many(mapfs_mount):
    a, b = mapfs_mount({"users.db": "pages:64p", "b.db": "pages:64p"}), mapfs_mount(c="pages:8p")
    (a / "users.db").read_bytes()
    read = "import os; os.posix_fadvise(fd := os.open(r'%s', 0), 0, 0, os.POSIX_FADV_RANDOM); os.pread(fd, 4, 4096)"
    done = subprocess.Popen([sys.executable, "-c", read % (a / "b.db")])
    assert done.wait(20) == 0
    (b / "c").read_bytes()
    print("OTHER", done.pid, "SELF", os.getpid())
    print(*[event["file"] for event in a.events()])

@pytest.mark.limit_demands(8)
@pytest.mark.limit_refaults(0)
def test_just_enough(mapfs_mount):
    mount = mapfs_mount(c="pages:8p")
    assert (mount / "c").read_bytes() == (mount / "c").read_bytes()
""",
        "-rP",
    )
    result.assert_outcomes(passed=1, failed=1)  # failed: no error of a teardown
    said = failures(result, "test_too_many")
    assert said[0] == "limit_demands: limited to 40 pages of *.db, demanded 65: users.db 64, b.db 1"
    match = re.search(r"OTHER (\d+) SELF (\d+)\n(.*)", result.stdout.str())
    assert match and said[1].startswith("  by ")
    assert re.findall(r"/(\d+) (\d+)", said[1]) == [(match[2], "64"), (match[1], "1")]
    assert match[3].split() == ["users.db"] * 64 + ["b.db"]  # requests alone, of whoever runs it
    traces = [line.partition("mapfs summary ")[2] for line in said[2:4]]
    assert len(set(traces)) == 2 and all(Path(trace).stat().st_size for trace in traces)
    assert sum(line.startswith("limit_") for line in said) == 1  # that of c was kept


def test_a_page_that_is_demanded_again_is_a_refault_and_no_second_demand(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@pytest.mark.limit_demands(8)
@pytest.mark.limit_refaults(1)
def test_again(mapfs_mount):
    mount = mapfs_mount(c="pages:8p")
    for _ in range(2):
        (mount / "c").read_bytes()
        mount.drop("c", "2-4")
    (mount / "c").read_bytes()
""",
    )
    result.assert_outcomes(failed=1)
    assert failures(result, "test_again")[0] == "limit_refaults: limited to 1 pages, demanded 6 again: c 6"


def test_a_limit_is_exact_past_what_the_ring_holds(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@pytest.mark.parametrize("limit", [69_999, 70_000])
def test_long(mapfs_mount, request, limit):
    request.node.add_marker(pytest.mark.limit_demands(limit))
    (mapfs_mount(c="pages:70000p") / "c").read_bytes()
""",
    )
    result.assert_outcomes(passed=1, failed=1)
    assert failures(result, r"test_long\[69999\]")[0].endswith("limited to 69,999 pages, demanded 70,000: c 70,000")


def test_objects_faults_and_ends(pytester: pytest.Pytester) -> None:
    """Each mount ends with its test, also where the test fails, or its daemon was killed."""
    result = run(
        pytester,
        """
class Sevens(Source):
    size = 8 * mmap.PAGESIZE
    def read(self, offset, size):
        return b"7" * size

PATHS = []

def test_fails(mapfs_mount):
    mount = mapfs_mount(s=Sevens(), readahead="64K")
    PATHS.append(mount.path)
    assert (mount / "s").read_bytes() == b"7" * Sevens.size
    mount.inject("s", "error=EIO@3")
    mount.drop("s")
    with pytest.raises(OSError, match="Input/output"):
        (mount / "s").read_bytes()
    assert len(mount.events()) < 16, "it read ahead"
    raise ValueError("on purpose")

@pytest.mark.limit_demands(0)
def test_its_daemon_is_killed(mapfs_mount):
    mount = mapfs_mount(c="pages:8p")
    PATHS.append(mount.path)
    (mount / "c").read_bytes()
    os.kill(mount.stats()["daemon"]["pid"], signal.SIGKILL)

def test_nothing_is_left(mapfs_mount):
    assert len(PATHS) == 2 and not any(path.exists() for path in PATHS)
""",
    )
    result.assert_outcomes(passed=1, failed=2)
    assert any("on purpose" in line for line in failures(result, "test_fails"))
    assert failures(result, "test_its_daemon_is_killed")[0] == "limit_demands: limited to 0 pages, demanded 8: c 8"


def test_a_limit_that_means_nothing_fails(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@pytest.mark.limit_demands(4)
def test_without_mounts(mapfs_mount):
    pass

@pytest.mark.limit_refaults(4)
def test_without_the_fixture():
    pass

@pytest.mark.limit_demands(count=4)
def test_misspelt(mapfs_mount):
    mapfs_mount(a="zero:4K")

@pytest.mark.limit_demands("4")
def test_no_number(mapfs_mount):
    mapfs_mount(a="zero:4K")

@pytest.mark.limit_demands(4)
def test_that_fails_anyway(mapfs_mount):
    raise ValueError("on purpose")
""",
    )
    result.assert_outcomes(failed=5)
    for name in ("test_without_mounts", "test_without_the_fixture"):
        assert "the test mounted nothing" in failures(result, name)[0]
    for name in ("test_misspelt", "test_no_number"):
        assert failures(result, name) == [
            "limit_demands takes a number of pages and a pattern: limit_demands(40, file='*.db')"
        ]
    assert not any("limit" in line for line in failures(result, "test_that_fails_anyway") if line.startswith("E"))


def test_in_several_processes_at_once(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    result = run(
        pytester,
        """
@pytest.mark.parametrize("pages", range(1, 9))
@pytest.mark.limit_demands(4)
def test_pages(mapfs_mount, pages):
    (mapfs_mount(c=f"pages:{pages}p") / "c").read_bytes()
""",
        "-n", "2",
    )  # fmt: skip
    result.assert_outcomes(passed=4, failed=4)


def test_the_example_of_the_documentation(pytester: pytest.Pytester) -> None:
    text = (ROOT / "docs" / "TESTING.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    result = run(pytester, code)
    result.assert_outcomes(passed=2, failed=1)
    promised = re.search(r"^```\n(limit_demands: .*)\n  by .*\n  see: mapfs summary ", text, re.MULTILINE)
    assert promised and failures(result, "test_a_scan_reads_all")[0] == promised[1]


def test_it_costs_nothing_unused(pytester: pytest.Pytester) -> None:
    """Nothing of mapfs is imported but the package's own name, and what a shell shows has its markers."""
    pytester.makepyfile(
        "import sys\ndef test_imports():\n"
        "    assert {name for name in sys.modules if name.split('.')[0] in ('mapfs', 'pyfuse3', 'click', 'msgspec')}"
        " == {'mapfs', 'mapfs.pytest_plugin'}\n"
    )
    pytester.runpytest_subprocess(*TRUE, timeout=60).assert_outcomes(passed=1)
    shown = pytester.run(sys.executable, "-m", "pytest", "--markers", timeout=60).stdout.str()
    assert "@pytest.mark.limit_demands(pages, file='*'): " in shown
    assert "@pytest.mark.limit_refaults(pages, file='*'): " in shown
