"""Labels on a real mount: what was demanded, by the names that the format of the file has for it."""

import csv
import json
import os
import re
import shutil
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mapfs.trace.labels import labels_of
from mapfs.units import PAGE_SIZE
from tests.conftest import Mounter
from tests.support import client, mapfs, python
from tests.unit import label_samples as samples

TENSOR = 10  # a page within layer.0.weight


def labels_in(text: str) -> list[str | None]:
    """Of each request."""
    return [event["label"] for event in map(json.loads, text.splitlines()) if event["op"] == "read"]


def label_of(line: str) -> str:
    """The column before the wait."""
    return re.split(" {2,}", line)[-2]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file of tensors in a directory whose name has a comma."""
    (tmp_path / "a,b").mkdir()
    samples.safetensors(tmp_path / "a,b" / "model")
    return tmp_path / "a,b" / "model"


def test_a_touched_tensor_is_named_in_the_log_of_the_mount_and_of_the_trace(
    mount: Mounter, model: Path, tmp_path: Path
) -> None:
    trace = str(tmp_path / "t.db")
    daemon = mount(f"m=file:{str(model).replace(',', ',,')}", "--trace", trace)
    client("touch", daemon.file("m"), str(TENSOR), "0")
    wanted = ["layer.0.weight", "(header) +1"]
    lines = [daemon.wait_line(f"page {page} ") for page in (TENSOR, 0)]
    assert [label_of(line) for line in lines] == wanted
    assert labels_in(mapfs("log", daemon.path, "--json").stdout) == wanted
    assert [event["label"] for event in daemon.events()] == [None, None]
    assert f"{TENSOR * PAGE_SIZE:#010x}  layer.0.weight  " in mapfs("log", daemon.path).stdout
    assert labels_in(mapfs("log", daemon.path, "--json", "--no-labels").stdout) == [None, None]
    assert len(daemon.events()) == 2  # to be asked demanded nothing
    assert daemon.umount() == 0
    assert labels_in(mapfs("log", trace, "--json").stdout) == wanted
    assert f"{TENSOR * PAGE_SIZE:#010x}  -  " in mapfs("log", trace, "--no-labels").stdout
    assert mapfs("export", trace, "--to", "ndjson").stdout == mapfs("log", trace, "--json").stdout
    assert [row["label"] for row in csv.DictReader(mapfs("export", trace, "--to", "csv").stdout.splitlines())] == wanted
    bare = mapfs("export", trace, "--to", "csv", "--no-labels").stdout
    assert [row["label"] for row in csv.DictReader(bare.splitlines())] == ["", ""]
    slices = json.loads(mapfs("export", trace, "--to", "perfetto").stdout)["traceEvents"]
    assert [one["args"]["label"] for one in slices if one["ph"] == "X"] == wanted


def test_no_labels_in_the_log_where_they_are_not_wanted(mount: Mounter, model: Path) -> None:
    daemon = mount(f"m=file:{str(model).replace(',', ',,')}", "--no-labels")
    client("touch", daemon.file("m"), str(TENSOR))
    assert label_of(daemon.wait_line(f"page {TENSOR} ")) == "-"


def test_of_a_mirrored_directory_and_of_a_path_relative_to_where_it_was_mounted(
    mount: Mounter, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    trace = str(tmp_path / "t.db")
    daemon = mount("d=dir:../a,,b", "m=file:model,delay=1ms", "--trace", trace)
    monkeypatch.chdir("/")
    client("touch", daemon.file("d/model"), str(TENSOR))
    client("touch", daemon.file("m"), str(TENSOR))
    assert labels_in(mapfs("log", daemon.path, "--json").stdout) == ["layer.0.weight"] * 2
    assert daemon.umount() == 0
    assert labels_in(mapfs("log", trace, "--json").stdout) == ["layer.0.weight"] * 2


@pytest.mark.parametrize("options", ["slice=4K+32K", "truncate=40K", "corrupt=flip@3", "cow,rw"])
def test_what_is_not_served_as_it_lies_has_no_labels(mount: Mounter, model: Path, options: str) -> None:
    daemon = mount(f"m=file:{str(model).replace(',', ',,')},{options}")
    client("touch", daemon.file("m"), "5")
    assert labels_in(mapfs("log", daemon.path, "--json").stdout) == [None]
    assert label_of(daemon.wait_line("page 5 ")) == "-"


@pytest.mark.parametrize("change", ["longer", "later", "gone", "another"])
def test_a_backing_that_is_not_what_was_demanded_has_no_labels(
    mount: Mounter, model: Path, tmp_path: Path, change: str
) -> None:
    trace = str(tmp_path / "t.db")
    daemon = mount(f"m=file:{str(model).replace(',', ',,')}", "--trace", trace)
    client("touch", daemon.file("m"), str(TENSOR))
    assert daemon.umount() == 0
    assert labels_in(mapfs("log", trace, "--json").stdout) == ["layer.0.weight"]
    if change == "longer":
        with model.open("ab") as file:
            file.write(b"x")
        os.utime(model, (1, 1))
    elif change == "later":
        data = model.read_bytes()
        model.write_bytes(data)
    elif change == "gone":
        model.unlink()
    else:
        shutil.copy2(model, tmp_path / "other")
        os.replace(tmp_path / "other", model)
    assert labels_in(mapfs("log", trace, "--json").stdout) == [None]
    (row,) = json.loads(mapfs("summary", trace, "--by", "label", "--json").stdout)["labels"]
    assert (row["label"], row["pages"], row["bytes"]) == (None, 1, None)


def test_a_file_that_took_the_place_of_the_one_that_is_served_has_no_say(
    mount: Mounter, model: Path, tmp_path: Path
) -> None:
    trace = str(tmp_path / "t.db")
    daemon = mount(f"m=file:{str(model).replace(',', ',,')}", "--trace", trace)
    client("touch", daemon.file("m"), str(TENSOR))
    assert labels_in(mapfs("log", daemon.path, "--json").stdout) == ["layer.0.weight"]
    other = model.with_name("other")
    other.write_bytes(model.read_bytes().replace(b"layer.0.weight", b"tensor.another"))
    shutil.copystat(model, other)
    os.replace(other, model)
    assert labels_in(mapfs("log", daemon.path, "--json").stdout) == [None]
    (row,) = json.loads(mapfs("summary", daemon.path, "--by", "label", "--json").stdout)["labels"]
    assert (row["label"], row["pages"]) == (None, 1)
    assert labels_in(mapfs("log", trace, "--json").stdout) == [None]
    client("touch", daemon.file("m"), str(TENSOR - 1))
    assert daemon.umount() == 0
    assert labels_in(mapfs("log", trace, "--json").stdout) == [None, None]


def test_a_backing_in_a_mapfs_mount_is_not_read(mount: Mounter, model: Path) -> None:
    inner = mount(f"m=file:{str(model).replace(',', ',,')}", at="inner")
    outer = mount(f"m=file:{inner.file('m')}", at="outer")
    client("touch", outer.file("m"), str(TENSOR))
    assert labels_in(mapfs("log", outer.path, "--json").stdout) == [None]
    assert inner.demands("m") == [("COLD", TENSOR)]
    assert outer.umount() == 0


def test_a_damaged_file_costs_its_labels_alone(mount: Mounter, tmp_path: Path) -> None:
    samples.elf(tmp_path / "sound")
    data = (tmp_path / "sound").read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) // 2])
    daemon = mount(f"sound=file:{tmp_path}/sound", f"cut=file:{tmp_path}/cut")
    client("touch", daemon.file("cut"), "1")
    client("touch", daemon.file("sound"), "1")
    cut, sound = labels_in(mapfs("log", daemon.path, "--json").stdout)
    assert cut is None and sound is not None and sound.startswith(".init +")


def test_summary_by_label_is_what_was_demanded_of_each(mount: Mounter, model: Path, tmp_path: Path) -> None:
    trace = str(tmp_path / "t.db")
    daemon = mount(f"m=file:{str(model).replace(',', ',,')}", "other=text:x", "--trace", trace)
    client("touch", daemon.file("m"), "0-2", "5-6")
    mapfs("drop", daemon.file("m"), "1+6")
    client("touch", daemon.file("m"), "1", "6", "7")
    client("read", daemon.file("other"), "0", "1")
    told = json.loads(mapfs("summary", daemon.path, "--by", "label", "--json").stdout)
    events = daemon.events()
    assert daemon.umount() == 0
    assert json.loads(mapfs("summary", trace, "--by", "label", "--json").stdout)["labels"] == told["labels"]

    labels = labels_of(str(model))
    assert labels is not None
    pages, refaults, waits = Counter[str | None](), Counter[str | None](), Counter[str | None]()
    for event in events:
        if event["op"] == "read":
            names: list[str | None] = [*labels.names(event["offset"], PAGE_SIZE)] if event["file"] == "m" else [None]
            pages.update(names if event["class"] == "COLD" else [])
            refaults.update(names if event["class"] == "REFAULT" else [])
            waits.update(dict.fromkeys(names, event["wait_ns"]))
    got = {row["label"]: row for row in told["labels"]}
    assert {name: row["pages"] for name, row in got.items()} == pages
    assert {name: row["refaults"] for name, row in got.items() if row["refaults"]} == refaults
    assert {name: row["wait_ns"] for name, row in got.items()} == waits
    assert (got["embed.weight"]["bytes"], got["embed.weight"]["of_pages"]) == (24_000, 6)
    assert (got["embed.weight"]["pages"], got["embed.weight"]["refaults"]) == (4, 1)
    assert (got[None]["file"], got[None]["bytes"], got[None]["pages"]) == ("other", None, 1)
    assert told["files"] == [
        {"file": "m", "labels": 4, "demanded": 4}, {"file": "other", "labels": 0, "demanded": 0},
    ]  # fmt: skip
    drawn = mapfs("summary", trace, "--by", "label", "-n", "2").stdout
    assert "m: 4 of 4 labels demanded\nfiles without labels: 1\n" in drawn
    assert "... and 3 more labels; --json has them all" in drawn


def test_many_pages_of_one_request_count_once_each(mount: Mounter, model: Path, tmp_path: Path) -> None:
    daemon = mount(f"m=file:{str(model).replace(',', ',,')}", "--readahead", "128K")
    client("read", daemon.file("m"), "0", str(model.stat().st_size))
    told = json.loads(mapfs("summary", daemon.path, "--by", "label", "--json").stdout)
    for row in told["labels"]:
        assert (row["pages"], row["refaults"]) == (row["of_pages"], 0)
        assert row["demands"] <= row["pages"]
    assert {row["label"] for row in told["labels"]} == {"(header)", "embed.weight", "layer.0.bias", "layer.0.weight"}


def test_a_query_shows_which_tables_and_indexes_it_needs(mount: Mounter, tmp_path: Path) -> None:
    samples.sqlite(tmp_path / "db")
    daemon = mount(f"db=file:{tmp_path}/db")
    found = python(
        """
        import sqlite3, sys
        db = sqlite3.connect(f"file:{sys.argv[1]}?immutable=1", uri=True)
        db.execute("PRAGMA mmap_size = 1000000000")
        print(db.execute("SELECT mail FROM users WHERE name = 'name 17'").fetchone()[0])
        """,
        daemon.file("db"),
    ).stdout
    assert found.endswith("@x\n")
    labels = [one for one in labels_in(mapfs("log", daemon.path, "--json").stdout) if one != "sqlite_schema"]
    assert {*labels} == {"users_idx", "users"}
    rows = json.loads(mapfs("summary", daemon.path, "--by", "label", "--json").stdout)["labels"]
    db = sqlite3.connect(f"file:{tmp_path / 'db'}?mode=ro", uri=True)
    (count,) = db.execute("SELECT count(*) FROM dbstat WHERE name = 'users'").fetchone()
    db.close()
    assert next(row["of_pages"] for row in rows if row["label"] == "users") == count


def test_diff_tells_which_labels_only_one_run_demanded(mount: Mounter, model: Path, tmp_path: Path) -> None:
    for name, pages in (("a", ("0", "2")), ("b", ("2-3", str(TENSOR)))):
        daemon = mount(f"m=file:{str(model).replace(',', ',,')}", "--trace", str(tmp_path / f"{name}.db"), at=name)
        client("touch", daemon.file("m"), *pages)
        assert daemon.umount() == 0
    a, b = str(tmp_path / "a.db"), str(tmp_path / "b.db")
    told: dict[str, Any] = json.loads(mapfs("diff", a, b, "--json").stdout)
    assert sorted(told["labels"], key=lambda row: str(row["label"])) == [
        {"file": "m", "label": "(header)", "pages_a": 1, "pages_b": 0, "both": 0},
        {"file": "m", "label": "embed.weight", "pages_a": 2, "pages_b": 2, "both": 1},
        {"file": "m", "label": "layer.0.weight", "pages_a": 0, "pages_b": 1, "both": 0},
    ]
    drawn = mapfs("diff", a, b).stdout
    assert "labels: 1 only in A, 1 only in B, 1 in both" in drawn
    assert drawn.index("embed.weight") < drawn.index("layer.0.weight")
    assert json.loads(mapfs("diff", a, b, "--json", "--no-labels").stdout)["labels"] == []
    assert "labels:" not in mapfs("diff", a, b, "--no-labels").stdout
