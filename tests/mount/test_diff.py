"""`mapfs diff`: what only one run demanded, and what both did, as a plain comparison of sets has it."""

import itertools
import json
import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mapfs.trace.store import Store
from mapfs.views.diff import compare, verdict
from tests.conftest import Mounter
from tests.support import client, mapfs
from tests.unit.test_docs import FILE, MOUNT, THREAD, event


def trace(pages: list[int]) -> Store:
    store = Store(":memory:")
    for fact in (MOUNT, FILE, THREAD):
        store.fact(fact)
    store.events([event(serial, page) for serial, page in enumerate(pages, 1)])
    return store


NEAR = st.lists(st.one_of(st.integers(0, 70), st.integers(32_700, 32_800), st.integers(0, 1 << 40)), max_size=60)


@given(NEAR, NEAR)
def test_against_sets(a: list[int], b: list[int]) -> None:
    ours, theirs = trace(a), trace(b)
    diff = compare(ours.connection, theirs.connection)
    for store in (ours, theirs):
        store.connection.close()
    assert (diff.demands_a, diff.demands_b, diff.pages_a, diff.pages_b) == (len(a), len(b), len({*a}), len({*b}))
    if a or b:
        (file,) = diff.files
        assert (file.only_a, file.only_b, file.both) == (len({*a} - {*b}), len({*b} - {*a}), len({*a} & {*b}))
        for runs, wanted in ((file.runs_only_a, {*a} - {*b}), (file.runs_only_b, {*b} - {*a})):
            assert [page for first, count in runs for page in range(first, first + count)] == sorted(wanted)
            assert all(one[0] + one[1] < other[0] for one, other in itertools.pairwise(runs))
    assert verdict(diff)


def test_two_runs(mount: Mounter, tmp_path: Path) -> None:
    for name, pages in (("a", "0-9"), ("b", "5-24")):
        daemon = mount("p=pages:64p", "same=text:x", "--trace", str(tmp_path / f"{name}.db"), at=name)
        client("touch", daemon.file("p"), pages)
        client("read", daemon.file("same"), "0", "1")
        assert daemon.umount() == 0
    a, b = str(tmp_path / "a.db"), str(tmp_path / "b.db")
    told = json.loads(mapfs("diff", a, b, "--json").stdout)
    assert [(row["file"], row["only_a"], row["only_b"], row["both"]) for row in told["files"]] == [
        ("p", 5, 15, 5), ("same", 0, 0, 1),
    ]  # fmt: skip
    assert told["files"][0]["runs_only_a"] == [[0, 5]]
    assert told["files"][0]["runs_only_b"] == [[10, 15]]
    assert told["verdict"].startswith("B demanded 10 pages more than A, and waited ")
    drawn = mapfs("diff", a, b).stdout
    assert drawn.startswith(told["verdict"]) and "only in A" in drawn
    assert "B demanded as many pages" in mapfs("diff", a, a).stdout
    done = mapfs("diff", a, str(tmp_path / "nought"), check=False)
    assert (done.returncode, "does not exist" in done.stderr) == (1, True)


def test_many_pages_take_little() -> None:
    pages = random.Random(3).sample(range(1 << 20), 20_000)
    ours, theirs = trace(pages), trace(pages[:10_000])
    diff = compare(ours.connection, theirs.connection)
    for store in (ours, theirs):
        store.connection.close()
    assert (diff.files[0].only_a, diff.files[0].only_b, diff.files[0].both) == (10_000, 0, 10_000)
