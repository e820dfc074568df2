"""Fixtures: mounts that are gone after the test, whatever happened, and a check that nothing is left behind."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from mapfs.fuse.device import TYPE, mount_points
from tests.support import ROOT, WITHIN, Daemon

Mounter = Callable[..., Daemon]
settings.register_profile("mapfs", deadline=None)  # how long an example takes is a matter of what else runs here
settings.load_profile("mapfs")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """The last lines say what was skipped, and why: in a summary that nobody reads, a skipped test looks passed."""
    yield
    reasons = Counter(
        str(report.longrepr[2] if isinstance(report.longrepr, tuple | list) else report.longrepr).removeprefix(
            "Skipped: "
        )
        for report in terminalreporter.stats.get("skipped", [])
    )
    terminalreporter.write_line("skipped:" if reasons else "skipped: nothing")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"  {count} {'test' if count == 1 else 'tests'}: {reason}")


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mounter]:
    """Starts daemons: `mount("a=pages:4p", "--trace", ...)`, ready when it returns. All end with the test."""
    daemons: list[Daemon] = []

    def start(*args: str, at: str = "mnt", wait: bool = True, command: list[str] | None = None) -> Daemon:
        daemon = Daemon(tmp_path / at, *args, command=command)
        daemons.append(daemon)
        return daemon.wait_ready() if wait else daemon

    yield start
    for daemon in daemons:
        daemon.destroy()


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """No test leaves a mount behind."""
    yield
    left = [mount.path for mount in mount_points() if mount.type == TYPE and mount.path.startswith(str(tmp_path))]
    assert left == [], f"left behind: {left}"


@pytest.fixture(scope="session")
def readable_python() -> Iterator[str]:
    """An interpreter with mapfs that every user can read: the tests' own may lie below root's home."""
    place = Path("/var/tmp") / f"mapfs-test-{os.getpid()}"
    python = "/usr/bin/python3"
    if not os.path.exists(python) or subprocess.run(
        [python, "-c", "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))"],
        check=False, capture_output=True, timeout=WITHIN,
    ).returncode:  # fmt: skip
        pytest.skip("needs Debian's own python3 with venv, which every user can read")
    try:
        shutil.copytree(ROOT, place / "src", ignore=shutil.ignore_patterns(".venv", ".git", ".*cache", "__pycache__"))
        subprocess.run([python, "-m", "venv", str(place / "venv")], check=True, capture_output=True, timeout=120)
        pip = [str(place / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, str(place / "src")], check=True, capture_output=True, timeout=600)
        subprocess.run(["chmod", "-R", "a+rX", str(place)], check=True, timeout=WITHIN)
        yield str(place / "venv/bin/python")
    finally:
        shutil.rmtree(place, ignore_errors=True)
