"""`mount --metrics`: GET /metrics over HTTP, in the recorder's process and never in the daemon's.

As little HTTP as a scrape needs: one request a connection, GET or HEAD, no body (RFC 9110, RFC 9112). A client gets
few seconds and few bytes; of too many at once the oldest has to go, so that clients who send nothing keep nobody out.
Whatever one does, it costs its own connection.
"""

import email.utils
import re
import socket
from collections import OrderedDict
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import trio

from mapfs.errors import MapfsError, reason_of
from mapfs.trace.address import Address
from mapfs.trace.scrape import scrape
from mapfs.trace.sinks import warn

if TYPE_CHECKING:
    from mapfs.trace.recorder import Recorder

PATH = "/metrics"
_WITHIN = 5.0  # seconds for a connection, from its beginning to the last byte of its answer
_LINGER = 1.0  # seconds in which a client may take what it was sent; a close while it still sends would lose it
_MOST_HEAD = 8192  # bytes of a request
_MOST_CONNECTIONS = 16
_BACKLOG = 16
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9])\.([0-9])")
_PLAIN = "text/plain; charset=utf-8"


class _Request(NamedTuple):
    method: str
    path: str
    accept: str


class _RefusedError(Exception):
    """A request that gets no metrics."""

    def __init__(self, status: HTTPStatus, *headers: str) -> None:
        super().__init__(status.phrase)
        self.status = status
        self.headers = headers


class Endpoint:
    """A listening socket, bound at once; `serve` answers. Raises MapfsError where it cannot listen at `address`."""

    def __init__(self, address: Address) -> None:
        try:
            family, kind, protocol, _, where = socket.getaddrinfo(
                *address, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
            )[0]
            self._socket = socket.socket(family, kind, protocol)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that ended do not count
            self._socket.bind(where)
            self._socket.listen(_BACKLOG)
        except OSError as error:
            raise MapfsError(
                f"cannot serve metrics at {address}: {error.strerror}; give --metrics another address or port"
            ) from error
        self.url = f"http://{Address(address.host, self._socket.getsockname()[1])}{PATH}"
        self._connections: OrderedDict[trio.CancelScope, None] = OrderedDict()

    async def serve(self, recorder: "Recorder") -> None:
        """Answers until it is cancelled; then nobody listens any more."""

        async def connected(stream: trio.SocketStream) -> None:
            await self._connected(recorder, stream)

        try:
            await trio.serve_listeners(connected, [trio.SocketListener(trio.socket.from_stdlib_socket(self._socket))])
        except Exception as error:
            warn(f"{self.url} stopped: {reason_of(error)}; the mount goes on without it")

    async def _connected(self, recorder: "Recorder", stream: trio.SocketStream) -> None:
        with trio.move_on_after(_WITHIN) as scope:
            if len(self._connections) >= _MOST_CONNECTIONS:
                self._connections.popitem(last=False)[0].cancel()
            self._connections[scope] = None
            try:
                await _answer(recorder, stream)
            except Exception as error:
                if not isinstance(error, trio.BrokenResourceError):  # it is gone, and misses nothing
                    warn(f"a scrape of {self.url} failed: {reason_of(error)}")
        self._connections.pop(scope, None)


async def _answer(recorder: "Recorder", stream: trio.SocketStream) -> None:
    try:
        request = await _read(stream)
        if request is None:
            return
        body, content_type = await scrape(recorder, request.accept)
        await stream.send_all(_response(HTTPStatus.OK, body, content_type, bodiless=request.method == "HEAD"))
    except _RefusedError as error:
        body = f"{error.status.phrase}; metrics are at {PATH}\n".encode()
        await stream.send_all(_response(error.status, body, _PLAIN, *error.headers))
    await stream.send_eof()
    with trio.move_on_after(_LINGER):
        while await stream.receive_some(_MOST_HEAD):
            pass


async def _read(stream: trio.SocketStream) -> _Request | None:
    """The request; None where the client left without one. Raises _RefusedError."""
    head = b""
    while not (end := _END_OF_HEAD.search(head)):
        if len(head) > _MOST_HEAD:
            raise _RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        piece = await stream.receive_some(_MOST_HEAD)
        if not piece:
            return None
        head += piece
    return _parsed(head[: end.start()].decode("latin-1"))


def _parsed(head: str) -> _Request:
    """The request in `head`. Raises _RefusedError."""
    line, *fields = head.splitlines()
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise _RefusedError(HTTPStatus.BAD_REQUEST)
    method, target, major, _ = match.groups()
    if major != "1":
        raise _RefusedError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    if method not in ("GET", "HEAD"):
        raise _RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "Allow: GET, HEAD")
    try:
        path = urlsplit(target).path  # a proxy sends the whole URL
    except ValueError:
        raise _RefusedError(HTTPStatus.BAD_REQUEST) from None
    if path != PATH:
        raise _RefusedError(HTTPStatus.NOT_FOUND)
    named = (field.partition(":") for field in fields)
    accept = ",".join([value.strip() for name, _, value in named if name.lower() == "accept"])
    return _Request(method, path, accept if accept.isascii() and accept.isprintable() else "")


def _response(status: HTTPStatus, body: bytes, content_type: str, *headers: str, bodiless: bool = False) -> bytes:
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Date: {email.utils.formatdate(usegmt=True)}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
        *headers,
        "\r\n",
    ]
    return "\r\n".join(lines).encode("latin-1") + (b"" if bodiless else body)
