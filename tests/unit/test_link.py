"""The link: what the kernel may send at once fits an unprivileged socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapfs.fuse import wire
from mapfs.fuse.link import Link
from tests.support import WITHIN, wait_until
from tests.unit.test_wire import INIT_REPLY


def test_the_largest_request_fits_the_socket_of_a_plain_user() -> None:
    """Forgets come in batches as large as the buffer; one that does not fit would end the mount."""
    failures: list[BaseException] = []
    link = Link(-1, 0, failures.append)
    link._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 212992)  # net.core.wmem_max, as Linux has it
    libfuse = socket.socket(fileno=int(link.hand_over().rpartition("/")[2]))
    link.forward(memoryview(bytes(wire.LARGEST_REQUEST)), wire.BATCH_FORGET, 2)
    assert len(libfuse.recv(1 << 21, socket.MSG_DONTWAIT)) == wire.LARGEST_REQUEST
    assert failures == []
    libfuse.close()
    link.close()


def test_replies_are_bounded_where_the_socket_is_small() -> None:
    reply = bytearray(INIT_REPLY)
    assert wire.correct_init_reply(reply, 0, small=True).max_pages == 64
    assert wire.correct_init_reply(bytearray(INIT_REPLY), 0).max_pages == 256


class Session:
    """A link whose device is a file, and the end of its socket that libfuse has."""

    def __init__(self, device: Path) -> None:
        self.failures: list[BaseException] = []
        self.device = os.open(device, os.O_RDWR | os.O_CREAT)
        self.link = Link(self.device, 0, self.failures.append)
        self.link._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 212992)  # as without privilege
        self.libfuse = socket.socket(fileno=int(self.link.hand_over().rpartition("/")[2]))
        self.libfuse.settimeout(WITHIN)
        self.link.start()

    def forward(self, unique: int) -> None:
        """A message so large that few fit into the socket; its first bytes tell which it is."""
        self.link.forward(memoryview(unique.to_bytes(8, "little") + bytes(60_000)), wire.OPEN, unique)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    session = Session(tmp_path / "device")
    yield session
    session.libfuse.close()
    session.link.close()
    os.close(session.device)


def test_a_flood_that_libfuse_does_not_take_waits_in_its_order(session: Session) -> None:
    for unique in range(60):  # 3.6 MB; the socket takes some 0.4 MB
        session.forward(unique)
    assert session.link._late_count > 0
    assert session.link.relays(0) and session.link.relays(59)
    received = []
    for _ in range(60):
        received.append(int.from_bytes(session.libfuse.recv(1 << 17)[:8], "little"))
        session.forward(60 + len(received))  # what comes meanwhile does not overtake what waits
    received += [int.from_bytes(session.libfuse.recv(1 << 17)[:8], "little") for _ in range(60)]
    assert received == [*range(60), *range(61, 121)]
    wait_until(lambda: not session.link._late_count, "nothing waits any more")
    assert session.failures == []


def test_a_session_that_ends_in_a_flood_is_no_failure(session: Session) -> None:
    for unique in range(60):
        session.forward(unique)
    session.libfuse.close()
    session.link._sender.join(WITHIN)
    assert not session.link._sender.is_alive()
    session.forward(60)  # waits behind what was not sent, and with it for nobody
    assert session.failures == []


def test_a_device_that_takes_no_answer_ends_the_link_with_an_error(tmp_path: Path) -> None:
    session = Session(Path("/dev/full"))
    try:
        session.libfuse.send(INIT_REPLY)
        wait_until(lambda: bool(session.failures), "the failure is told")
        assert isinstance(session.failures[0], OSError)
    finally:
        session.libfuse.close()
        session.link.close()
        os.close(session.device)


def test_what_comes_when_the_session_is_over_is_no_failure(session: Session) -> None:
    session.libfuse.close()
    session.forward(1)
    assert session.failures == []
