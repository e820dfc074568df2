"""Requests to one HTTP server by urllib3: a pool of connections that are kept, redirects, errors as sentences.

Each request is one try (see `patience`): what may pass is raised as `Again`. Where a redirect led is remembered, so
that a read is one request; where that ends (a signed URL expired), the URL itself is asked again. Credentials go to
no other server than the one that they were given for.
"""

import email.utils
import errno
import os
import re
import ssl
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

import urllib3
from urllib3.exceptions import HTTPError, InsecureRequestWarning, LocationParseError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as TimedOut

from mapfs.errors import SourceError, SpecError, of_path
from mapfs.sources import patience
from mapfs.sources.patience import Again, Patience, Turn, patience_of, refused, unanswered
from mapfs.sources.redact import shown_url
from mapfs.sources.spec import Spec, is_set

Response = urllib3.BaseHTTPResponse
OPTIONS = patience.OPTIONS | {"token", "token-file", "cafile", "insecure"}
_HEADER = "header-"
_CONNECTIONS = 64  # kept at most; as many as there are threads that read
_REDIRECTS = 5
_TOKEN = re.compile(r"[!-~]+", re.ASCII)
_VALUE = re.compile(r"[ -~]*", re.ASCII)


@dataclass(slots=True)
class Address:
    """Where an object is: its URL, and where that led the last time."""

    url: str
    target: str

    @classmethod
    def of(cls, url: str) -> "Address":
        return cls(url, url)


class Client:
    """The connections to the server of one spec. Thread-safe; a Response is its caller's to finish."""

    def __init__(
        self, url: str, headers: Mapping[str, str], context: ssl.SSLContext | None, patience: Patience
    ) -> None:
        self.patience = patience
        self._origin = _origin(url)
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "mapfs"}
        self._private = dict(headers)
        self._pool = urllib3.PoolManager(
            maxsize=_CONNECTIONS,
            ssl_context=context,
            cert_reqs=None if context is None else context.verify_mode,
        )

    def request(self, method: str, address: Address, headers: Mapping[str, str], turn: Turn) -> Response:
        """An answer that is neither a redirect nor one that may pass; its body is yet to be read.

        Raises Again, or SourceError where nothing will help.
        """
        response, target = self._followed(method, address.target, address.url, headers, turn)
        if response.status in (401, 403, 404, 410) and address.target != address.url:
            response.close()
            response, target = self._followed(method, address.url, address.url, headers, turn)
        address.target = target
        return response

    def _followed(
        self, method: str, url: str, first: str, headers: Mapping[str, str], turn: Turn
    ) -> tuple[Response, str]:
        what = shown_url(first)
        for _ in range(_REDIRECTS + 1):
            response = self._sent(method, url, what, headers, turn)
            if response.status not in (301, 302, 303, 307, 308):
                return response, url
            to = response.headers.get("Location")
            finish(response, empty=method == "HEAD")
            if not to:
                raise SourceError(f"{what} is redirected to nowhere; check the URL")
            following = urllib.parse.urldefrag(urllib.parse.urljoin(url, to)).url
            if not following.startswith("https:") and not (url.startswith("http:") and following.startswith("http:")):
                raise SourceError(f"{what} is redirected to {shown_url(following)}, which is not as safe; use that URL")
            url = following
        raise SourceError(f"{what} is redirected more than {_REDIRECTS} times; check the URL", errno.ELOOP)

    def _sent(self, method: str, url: str, what: str, headers: Mapping[str, str], turn: Turn) -> Response:
        sent = {**self._headers, **headers}
        try:
            if _origin(url) == self._origin:
                sent |= self._private
            response = self._pool.request(
                method, url, headers=sent, redirect=False, retries=False, preload_content=False, decode_content=False,
                timeout=urllib3.Timeout(connect=min(turn.stall, turn.left), read=min(turn.stall, turn.left)),
            )  # fmt: skip
        except (HTTPError, OSError, ValueError) as error:
            raise trouble(error, what) from error
        if response.status >= 400:
            answer = refused(what, response.status, response.reason or "", _retry_after(response))
            if isinstance(answer, Again):
                response.close()
                raise answer
        return response

    def close(self) -> None:
        """Closes the connections. No request may be running."""
        for key in self._pool.pools.keys():  # noqa: SIM118 -- no mapping: it cannot be iterated
            self._pool.pools[key].close()  # clear() leaves that to the garbage collector
        self._pool.clear()


def piece(response: Response, most: int, what: str, turn: Turn) -> bytes:
    """Up to `most` bytes of the body as they come, none at its end. Raises Again."""
    if time.monotonic() >= turn.end:
        raise Again(unanswered(what))
    socket = getattr(response.connection, "sock", None)
    if socket is not None:
        socket.settimeout(min(turn.stall, turn.left))
    try:
        return response.read1(most, decode_content=False)
    except (HTTPError, OSError, ValueError) as error:
        raise trouble(error, what) from error


def finish(response: Response, *, empty: bool = False) -> None:
    """Gives the connection back where nothing of the body is left (or it is `empty`, as that of an answer to HEAD),
    else closes it: reading on could take for ever.
    """
    if empty or response.closed or response.headers.get("Content-Length") == "0":
        response.drain_conn()
        response.release_conn()
    else:
        response.close()


def trouble(error: Exception, what: str) -> Exception:
    """`error`, met on the way to the server or back, as what it is to be raised as."""
    if isinstance(error, NewConnectionError) or isinstance(error.__cause__, NewConnectionError):
        number = getattr(error.__cause__, "errno", None) or 0  # that of getaddrinfo(3) is negative
        said = os.strerror(number) if number > 0 else "its name is not known"
        return Again(SourceError(f"{what}: the server cannot be reached: {said}", max(number, 0) or errno.EHOSTUNREACH))
    if isinstance(error, TimedOut | TimeoutError):
        return Again(unanswered(what))
    if isinstance(error, SSLError):
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return SourceError(f"{what}: the certificate is not trusted; name its issuer by cafile=, or add insecure",
                               errno.EACCES)  # fmt: skip
        return Again(SourceError(f"{what}: TLS failed: {error}"))
    if isinstance(error, LocationParseError | ValueError):
        return SourceError(f"{what} is no URL that can be asked for; check it")
    return Again(SourceError(f"{what}: the server closed the connection before its answer ended"))


def client_of(spec: Spec, url: str) -> Client:
    """What asks the server of `url` with the options of `spec`. Raises SpecError, and SourceError for files of it."""
    headers = {}
    for name, value in spec.options.items():
        if name.startswith(_HEADER) and len(name) > len(_HEADER):
            if not _VALUE.fullmatch(value or ""):
                raise SpecError(f"{name}= is no value of a header; it takes printable ASCII")
            headers[name.removeprefix(_HEADER)] = value or ""
        elif name not in OPTIONS:
            known = ", ".join(sorted(OPTIONS))
            raise SpecError(f"{spec.kind}: has no option {name!r}; it takes {known} and header-NAME")
    user = urllib3.util.parse_url(url).auth
    token = _token(spec)
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    elif user is not None:
        headers |= urllib3.util.make_headers(basic_auth=urllib.parse.unquote(user))
    return Client(url, headers, _context(spec, url), patience_of(spec.options))


def _token(spec: Spec) -> str | None:
    token = spec.options.get("token")
    if "token" in spec.options and "token-file" in spec.options:
        raise SpecError("token= and token-file= cannot be both given; leave one out")
    if "token-file" in spec.options:
        path = spec.options["token-file"] or ""
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                token = file.read(1 << 16).strip()
        except OSError as error:
            raise of_path(error, f"file {path!r} of token-file=") from error
    elif "token" not in spec.options:
        return None
    if not _TOKEN.fullmatch(token or ""):
        raise SpecError("token= and token-file= take a token, printable ASCII without spaces")
    return token


def _context(spec: Spec, url: str) -> ssl.SSLContext | None:
    """How the server's certificate is checked; one for all connections, since making one takes long."""
    insecure = is_set(spec, "insecure")
    if not url.startswith("https:"):
        if insecure or "cafile" in spec.options:
            raise SpecError("cafile= and insecure go with https:; http: has no certificates")
        return None
    path = spec.options.get("cafile")
    try:
        context = ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise SourceError(f"file {path!r} of cafile= holds no certificate in PEM") from error
    except OSError as error:
        raise of_path(error, f"file {path!r} of cafile=") from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        urllib3.disable_warnings(InsecureRequestWarning)
    return context


def _origin(url: str) -> tuple[str | None, str | None, int | None]:
    parsed = urllib3.util.parse_url(url)
    return parsed.scheme, parsed.host, parsed.port or {"http": 80, "https": 443}.get(parsed.scheme or "")


def _retry_after(response: Response) -> float | None:
    """Seconds (RFC 9110, section 10.2.3)."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
