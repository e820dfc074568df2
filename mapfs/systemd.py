"""Telling the service manager how a mount is: sd_notify(3), a datagram to the socket that $NOTIFY_SOCKET names."""

import contextlib
import os
import socket

_SOCKET = "NOTIFY_SOCKET"
_TAKEN_WITHIN = 1.0  # seconds; a manager that does not listen holds no mount up


def notify(*states: str) -> None:
    """Sends `states`, such as `READY=1` and `STATUS=...`; nothing where no manager asked for it. Raises nothing."""
    address = os.environ.get(_SOCKET, "")
    if not address.startswith(("/", "@")):
        return
    text = "\n".join(" ".join(state.split()) for state in states)
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager,
    ):
        manager.settimeout(_TAKEN_WITHIN)
        name = "\0" + address[1:] if address[0] == "@" else address  # @ is the abstract name space, unix(7)
        manager.sendto(text.encode(errors="replace"), name)
