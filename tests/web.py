"""An HTTP server on loopback that serves ranges as RFC 9110 has them, and misbehaves on demand."""

import base64
import contextlib
import hashlib
import http.server
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

WITHIN = 30.0  # seconds
MODIFIED = "Wed, 31 Jan 2024 23:59:59 GMT"


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


@dataclass
class Manners:
    """How a server behaves; a test changes what it likes."""

    head: bool = True
    ranges: bool = True
    says_ranges: bool = True
    etag: str | None = "strong"  # "weak", or None
    modified: str | None = MODIFIED
    conditions: bool = True  # heeds If-Match and If-Unmodified-Since
    head_size: int | None = None  # what HEAD says
    total: str | None = None  # what Content-Range says of the whole
    shift: int = 0  # how far off the range is that it gives
    length: bool = True  # whether answers say their length; else they are chunked
    user: str | None = None  # user:password
    token: str | None = None
    redirect: Callable[[str], str | None] = lambda _: None
    #: Taken one by one: a status and headers instead of an answer.
    failures: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    #: Taken one by one by GETs: the connection is closed after so many bytes of the body.
    cuts: list[int] = field(default_factory=list)
    stalls: int = 0  # so many GETs are answered when the server stops, and not before
    drip: bool = False  # GETs are answered up to their last byte, which never comes
    surplus: bytes = b""


class Server:
    """Files by path, directories by index page. `stop` ends all threads and connections."""

    def __init__(self, files: dict[str, bytes], context: ssl.SSLContext | None = None) -> None:
        self.files = files
        self.pages: dict[str, str] = {}
        self.manners = Manners()
        self.asked: list[Asked] = []
        self.connections = 0
        self.sockets: list[socket.socket] = []
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.context = context
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def url(self, path: str = "/file", user: str = "") -> str:
        scheme = "https" if self.context else "http"
        return f"{scheme}://{user}127.0.0.1:{self._server.server_address[1]}{path}"

    def forget(self) -> None:
        """Counts from here on."""
        self.asked.clear()

    def stop(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join(WITHIN)
        with self.lock:
            for one in self.sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, address: tuple[str, int], web: Server) -> None:
        super().__init__(address, _Handler)
        self.web = web

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self.web.lock:
            self.web.connections += 1
            self.web.sockets.append(connection)
        return connection, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.web.context is not None:
            try:
                request = self.web.context.wrap_socket(request, server_side=True)
            except (OSError, ssl.SSLError):
                return
            with self.web.lock:
                self.web.sockets.append(request)
        try:
            super().finish_request(request, client_address)
        except OSError:
            pass  # the client closed first
        finally:
            request.close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        self._answer(head=True)

    def do_GET(self) -> None:
        self._answer(head=False)

    def _answer(self, *, head: bool) -> None:
        assert isinstance(self.server, _Server)
        web, manners = self.server.web, self.server.web.manners
        with web.lock:
            web.asked.append(
                Asked(self.command, self.path, {key.lower(): value for key, value in self.headers.items()})
            )
            failure = manners.failures.pop(0) if manners.failures else None
        if failure is not None:
            return self._plain(*failure)
        if not self._allowed(manners):
            return self._plain(401, {"WWW-Authenticate": "Basic"})
        to = manners.redirect(self.path)
        if to is not None:
            return self._plain(302, {"Location": to})
        path = self.path.partition("?")[0]
        if path in web.pages:
            return self._whole(web.pages[path].encode(), {"Content-Type": "text/html; charset=utf-8"}, head)
        if path not in web.files:
            return self._plain(404, {})
        if head and not manners.head:
            return self._plain(405, {})
        return self._file(web.files[path], manners, head)

    def _allowed(self, manners: Manners) -> bool:
        said = self.headers.get("Authorization")
        if manners.user is not None:
            return said == "Basic " + base64.b64encode(manners.user.encode()).decode()
        return manners.token is None or said == f"Bearer {manners.token}"

    def _file(self, content: bytes, manners: Manners, head: bool) -> None:
        headers = {} if manners.modified is None else {"Last-Modified": manners.modified}
        if manners.etag is not None:
            mark = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            headers["ETag"] = mark if manners.etag == "strong" else f"W/{mark}"
        if manners.says_ranges:
            headers["Accept-Ranges"] = "bytes" if manners.ranges else "none"
        if manners.conditions and self._fails(headers):
            return self._plain(412, {})
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if head or wanted is None or not manners.ranges:
            if head and manners.head_size is not None:
                headers["Content-Length"] = str(manners.head_size)
            return self._whole(content, headers, head)
        first, last = int(wanted[1]) + manners.shift, min(int(wanted[2]) + manners.shift, len(content) - 1)
        total = manners.total or str(len(content))
        if first >= len(content):
            return self._plain(416, {"Content-Range": f"bytes */{total}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{total}"
        return self._send(206, headers, content[first : last + 1] + manners.surplus, manners)

    def _fails(self, headers: dict[str, str]) -> bool:
        match, since = self.headers.get("If-Match"), self.headers.get("If-Unmodified-Since")
        if match is not None:
            return match != headers.get("ETag")
        return since is not None and since != headers.get("Last-Modified")

    def _whole(self, content: bytes, headers: dict[str, str], head: bool) -> None:
        assert isinstance(self.server, _Server)
        headers.setdefault("Content-Length", str(len(content)))
        self._send(200, headers, b"" if head else content, self.server.web.manners)

    def _plain(self, status: int, headers: dict[str, str]) -> None:
        self._headers(status, {**headers, "Content-Length": "0"})

    def _send(self, status: int, headers: dict[str, str], body: bytes, manners: Manners) -> None:
        assert isinstance(self.server, _Server)
        web, get = self.server.web, self.command == "GET"
        with web.lock:
            stall = get and manners.stalls > 0
            manners.stalls -= stall
            cut = manners.cuts.pop(0) if get and manners.cuts else None
        if stall:
            web.stopping.wait(WITHIN)
            self.close_connection = True
            return
        if get and not manners.length:
            headers = {**headers, "Transfer-Encoding": "chunked"}
            headers.pop("Content-Length", None)
        elif get:
            headers.setdefault("Content-Length", str(len(body)))
        self._headers(status, headers)
        if cut is not None:
            self.wfile.write(body[:cut])
            self.close_connection = True
        elif get and manners.drip:
            self.wfile.write(body[:-1])
            web.stopping.wait(WITHIN)
            self.close_connection = True
        elif get and not manners.length:
            for at in range(0, len(body), 1000):
                part = body[at : at + 1000]
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.wfile.write(body)

    def _headers(self, status: int, headers: dict[str, str]) -> None:
        self.send_response_only(status, HTTPStatus(status).phrase)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@contextlib.contextmanager
def serving(files: dict[str, bytes], context: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server for as long as the block runs."""
    server = Server(files, context)
    try:
        yield server
    finally:
        server.stop()
