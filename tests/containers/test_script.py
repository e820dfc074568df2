"""scripts/containers where docker cannot be had: it says so, and leaves nothing."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT, WITHIN

_NOBODY = 65534


@pytest.fixture
def script() -> Iterator[Path]:
    """A copy where every user can run it."""
    place = Path("/var/tmp") / f"mapfs-script-{os.getpid()}"
    place.mkdir(mode=0o755)
    try:
        yield Path(shutil.copy(ROOT / "scripts" / "containers", place))
    finally:
        shutil.rmtree(place)


def run(script: Path, *command: str, scratch: Path) -> subprocess.CompletedProcess[str]:
    prefix = ["setpriv", f"--reuid={_NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    return subprocess.run(
        [*prefix, script, *command], capture_output=True, text=True, timeout=2 * WITHIN, stdin=subprocess.DEVNULL,
        check=False, cwd="/",
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "DOCKER_HOST": "unix:///nonexistent", "TMPDIR": str(scratch)},
    )  # fmt: skip


def test_a_plain_user_without_docker_is_told_so(script: Path) -> None:
    scratch = script.parent / "scratch"
    scratch.mkdir()
    scratch.chmod(0o777)
    done = run(script, "true", scratch=scratch)
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr == "containers: there is no docker that works, and only root can start one; start docker\n"
    assert list(scratch.iterdir()) == []
