"""The link: what the kernel may send at once fits an unprivileged socket."""

import socket

from mapfs.fuse import wire
from mapfs.fuse.link import Link
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
