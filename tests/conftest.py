"""Fixtures: mounts that are gone after the test, whatever happened, and a check that nothing is left behind."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mapfs.fuse.device import TYPE, mount_points
from tests.support import Daemon

Mounter = Callable[..., Daemon]


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
