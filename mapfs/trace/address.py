"""Where metrics are served: what people write, and the address that it means.

The loopback address unless another is written out: what a mount tells of its users is nobody else's by accident.
"""

import ipaddress
import re
from typing import NamedTuple

from mapfs.errors import UsageError

_LOOPBACK = "127.0.0.1"
_FORM = re.compile(r"(?:(?P<ipv4>[0-9.]+)?:|\[(?P<ipv6>[^\]]+)\]:)?(?P<port>[0-9]{1,5})", re.ASCII)
_LARGEST_PORT = 65535


class Address(NamedTuple):
    """A numeric IP address, and a TCP port; port 0 is any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """The address in `9464`, `:9464`, `0.0.0.0:9464` or `[::1]:9464`. Raises UsageError for anything else."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text!r} is no address to serve metrics at; write 9464 (loopback), 192.0.2.1:9464 or [::1]:9464"
        )
    host, port = match["ipv4"] or match["ipv6"] or _LOOPBACK, int(match["port"])
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        version = None
    if version != (6 if match["ipv6"] else 4):
        raise UsageError(f"{host!r} in {text!r} is no IP address; write it in numbers, an IPv6 address in brackets")
    if port > _LARGEST_PORT:
        raise UsageError(f"{port} in {text!r} is no port; the largest is {_LARGEST_PORT}")
    return Address(host, port)
