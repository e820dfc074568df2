"""The service manager is told how a mount is: a real socket in its place, sd_notify(3)."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.support import WITHIN, mapfs


class Manager:
    """What systemd holds at the other end of $NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0"))
        self.socket.settimeout(WITHIN)

    def told(self) -> list[str]:
        """The lines of the next message."""
        return self.socket.recv(1 << 16).decode().split("\n")

    def is_told_nothing_more(self) -> bool:
        """Whether no message waits."""
        self.socket.setblocking(False)
        try:
            self.socket.recv(1)
        except BlockingIOError:
            return True
        return False


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@mapfs-test-{tmp_path}"
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    manager = Manager(address)
    yield manager
    manager.socket.close()


def test_a_mount_is_ready_when_it_answers_and_stops_by_a_signal(manager: Manager, mount: Mounter) -> None:
    daemon = mount("a=pages:2p", "b=zero:4K", "-q", wait=False)
    assert manager.told() == ["READY=1", f"STATUS={daemon.path} serves a, b"]
    assert daemon.stats()["daemon"]["pid"] == daemon.process.pid, "READY=1 counts from the main process alone"
    daemon.process.send_signal(signal.SIGTERM)
    assert manager.told() == ["STOPPING=1", f"STATUS={daemon.path} is ending"]
    assert daemon.wait_end() == 0
    assert manager.is_told_nothing_more()


def test_a_mount_that_is_unmounted_is_stopping(manager: Manager, mount: Mounter) -> None:
    daemon = mount("a=pages:2p", "--link", "plain")
    assert manager.told()[0] == "READY=1"
    assert daemon.umount() == 0
    assert manager.told()[0] == "STOPPING=1"
    assert manager.is_told_nothing_more()


def test_a_mount_that_fails_says_why(manager: Manager, tmp_path: Path) -> None:
    assert mapfs("mount", str(tmp_path / "m"), "a=file:/no/such", check=False).returncode == 1
    assert manager.told() == ["STATUS=a: cannot open file '/no/such': No such file or directory; check the path"]
    assert manager.is_told_nothing_more()


def test_a_manager_that_is_gone_stops_no_mount(mount: Mounter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in (str(tmp_path / "gone"), "@mapfs-test-gone", "vsock:2:1"):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        assert mount("a=pages:2p").umount() == 0
