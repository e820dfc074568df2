"""What the sockets between mapfs's own parts have in common."""

import contextlib
import socket

_SEND_BUFFER = 4 << 20  # bytes asked for; without CAP_NET_ADMIN the kernel grants less (net.core.wmem_max)


def enlarge(end: socket.socket) -> None:
    """Lets `end` hold as much that is sent and not yet received as the kernel grants (socket(7))."""
    for option in (socket.SO_SNDBUF, getattr(socket, "SO_SNDBUFFORCE", 32)):
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, option, _SEND_BUFFER)
