"""100,000 random reads, writes, mapped reads and stores, truncations and holes, against what memory says."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.support import ROOT


@pytest.mark.parametrize(
    ("spec", "name", "count"),
    [
        ("m=dir:HOME,rw", "m/data", 100_000),
        ("f=file:HOME/data,rw", "f", 20_000),
        ("f=file:HOME/data,cow", "f", 20_000),
        ("f=memfd:0", "f", 20_000),
        ("m=dir:HOME,rw,coherency=live,interval=20ms", "m/data", 20_000),
    ],
)
def test_a_random_exerciser_finds_no_difference(
    mount: Mounter, tmp_path: Path, spec: str, name: str, count: int
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "data").touch()
    daemon = mount(spec.replace("HOME", str(home)), "-q", wait=False).wait_mounted()
    done = subprocess.run(
        [sys.executable, "-m", "tests.fsx", daemon.file(name), str(count), "7"],
        capture_output=True, text=True, timeout=110, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert sum(said["counts"].values()) == count
    content = bytes.fromhex(said["content"])
    if "rw" in spec:
        assert hashlib.sha256((home / "data").read_bytes()).digest() == hashlib.sha256(content).digest()
    elif "cow" in spec:
        assert (home / "data").read_bytes() == b""
    assert Path(daemon.file(name)).read_bytes() == content
    assert daemon.umount() == 0


def test_the_exerciser_would_find_a_difference(mount: Mounter, tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    daemon = mount(f"f=file:{tmp_path}/data,rw,corrupt=flip@3", "-q", wait=False).wait_mounted()
    done = subprocess.run(
        [sys.executable, "-m", "tests.fsx", daemon.file("f"), "5000", "7"],
        capture_output=True, text=True, timeout=110, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1
    assert "was stored" in done.stderr
