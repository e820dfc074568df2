"""`http://HOST/PATH`, `https://HOST/PATH`: an object of an HTTP server, read by ranges (RFC 9110, section 14).

Opening pins a version of it: size, and ETag or Last-Modified. Each read asks for that version (If-Match) and checks
that it is what came: its range, its total size, its version, each byte of its length. So a read is right or an error,
never a mixture of two versions. A read that broke half way goes on where it broke.
"""

import email.utils
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

import urllib3
from urllib3.exceptions import LocationParseError

from mapfs.errors import SourceError, SpecError
from mapfs.sources.base import Buffer, DirectorySource, Entry, Source
from mapfs.sources.http_client import Address, Client, Response, client_of, finish, piece
from mapfs.sources.patience import Again, Turn, changed, refused
from mapfs.sources.pinned import PinnedSource, entry_of
from mapfs.sources.redact import shown_url
from mapfs.sources.spec import Spec

_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)", re.ASCII | re.IGNORECASE)
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Version:
    """What tells one content of an object from another. A weak ETag (`W/…`) tells less than a time does."""

    etag: str | None
    modified: str | None
    size: int

    @classmethod
    def of(cls, headers: Mapping[str, str], size: int) -> "Version":
        return cls(headers.get("ETag"), headers.get("Last-Modified"), size)

    @property
    def strong(self) -> bool:
        return self.etag is not None and not self.etag.startswith("W/")

    def conditions(self) -> dict[str, str]:
        """Headers that make the server refuse another version (412), where it heeds them."""
        if self.etag is not None and self.strong:
            return {"If-Match": self.etag}
        return {} if self.modified is None else {"If-Unmodified-Since": self.modified}

    def agrees(self, headers: Mapping[str, str]) -> bool:
        """Whether an answer with these headers is of this version; its size is checked apart."""
        if self.strong:
            return headers.get("ETag") == self.etag
        return (headers.get("ETag"), headers.get("Last-Modified")) == (self.etag, self.modified)

    def entry(self) -> Entry:
        """Its mtime is Last-Modified, where there is a proper one."""
        try:
            mtime = int(email.utils.parsedate_to_datetime(self.modified or "").timestamp()) * 10**9
        except (ValueError, TypeError):
            return entry_of(self.size, None)
        return entry_of(self.size, mtime)


class HttpSource(PinnedSource[Version]):
    """The object at `address`, asked for by `client`, which is closed with it where it `owns` it.

    Raises SourceError where it is not there, has no known size or cannot be read by ranges.
    """

    def __init__(self, client: Client, address: Address, *, owns: bool = True) -> None:
        self._client = client
        self._address = address
        self._owns = owns
        self._heads, self._ranges = True, False
        super().__init__(shown_url(address.url))

    def look(self) -> Version:
        self._address.target = self._address.url
        return self._client.patience.insist(self._look_once)

    def fetch(self, pinned: Version, offset: int, size: int) -> Buffer:
        data, got = bytearray(size), 0

        def attempt(turn: Turn) -> None:
            nonlocal got
            first = offset + got
            headers = {"Range": f"bytes={first}-{offset + size - 1}", **pinned.conditions()}
            response = self._client.request("GET", self._address, headers, turn)
            try:
                self._check(response, pinned, first, offset + size - 1)
                while got < size:
                    part = piece(response, size - got, self.what, turn)
                    if not part:
                        raise Again(SourceError(f"{self.what}: the server ended its answer before all of the range"))
                    data[got : got + len(part)] = part
                    got += len(part)
                if piece(response, 1, self.what, turn):
                    raise SourceError(f"{self.what}: the server gives more bytes than it was asked for")
            except BaseException:
                response.close()
                raise
            response.release_conn()

        self._client.patience.insist(attempt)
        return data

    def close(self) -> None:
        if self._owns:
            self._client.close()

    def _check(self, response: Response, pinned: Version, first: int, last: int) -> None:
        """Raises SourceError where the answer is not bytes `first` to `last` of the version that is pinned."""
        headers = response.headers
        if response.status in (200, 206, 416) and not pinned.agrees(headers):
            raise changed(self.what)
        if response.status == 200:
            raise SourceError(f"{self.what}: the server no longer heeds ranges; download it and serve it as file:")
        if response.status != 206:
            raise refused(self.what, response.status, response.reason or "")
        said = headers.get("Content-Range", "")
        match = _RANGE.fullmatch(said)
        if match is None or match.group(1, 2) != (str(first), str(last)):
            raise SourceError(f"{self.what}: the server gives the range {said!r} for bytes {first}-{last}")
        if match[3] != str(pinned.size):
            if not pinned.conditions():
                raise changed(self.what)
            raise SourceError(f"{self.what}: the server says of the same version {pinned.size} and {match[3]} bytes")
        length = headers.get("Content-Length", str(last + 1 - first))
        if length != str(last + 1 - first):
            raise SourceError(f"{self.what}: the server sends {length} bytes for the range {first}-{last}")

    def _look_once(self, turn: Turn) -> Version:
        """By HEAD where that tells the size and ranges are known to be had, else by a GET of the first byte."""
        if not self._heads:
            return self._probe(turn)
        response = self._client.request("HEAD", self._address, {}, turn)
        finish(response, empty=True)
        if response.status in (401, 404, 410):
            raise refused(self.what, response.status, response.reason or "")
        ranges = response.headers.get("Accept-Ranges", "").strip().lower()
        length = response.headers.get("Content-Length", "")
        if response.status == 200 and length != "0" and _LENGTH.fullmatch(length):
            if ranges == "none":
                raise self._no_ranges()
            if self._ranges or ranges == "bytes":
                return Version.of(response.headers, int(length))
        version = self._probe(turn)
        self._heads = response.status == 200
        return version

    def _probe(self, turn: Turn) -> Version:
        response = self._client.request("GET", self._address, {"Range": "bytes=0-0"}, turn)
        try:
            headers = response.headers
            match = _RANGE.fullmatch(headers.get("Content-Range", ""))
            if response.status == 416 and match and match[3] == "0":
                return Version.of(headers, 0)
            if response.status == 200:
                if headers.get("Content-Length") == "0":
                    return Version.of(headers, 0)
                raise self._no_ranges()
            if response.status != 206:
                raise refused(self.what, response.status, response.reason or "")
            if match is None or match[3] == "*":
                raise SourceError(f"{self.what}: the server does not say its size; download it and serve it as file:")
            while piece(response, 1, self.what, turn):
                pass
            self._ranges = True
            return Version.of(headers, int(match[3]))
        finally:
            finish(response)

    def _no_ranges(self) -> SourceError:
        return SourceError(f"{self.what}: the server gives no ranges; download it and serve it as file:")


def open_http(spec: Spec) -> Source | DirectorySource:
    """The object at `spec.kind:spec.arg`; a directory where its path ends in a slash."""
    url = urllib.parse.urldefrag(f"{spec.kind}:{spec.arg}").url
    try:
        parsed = urllib3.util.parse_url(url)
    except LocationParseError as error:
        raise SpecError(f"{shown_url(url)!r} is no URL; write {spec.kind}://HOST/PATH") from error
    if not spec.arg.startswith("//") or not parsed.host:
        raise SpecError(f"{shown_url(url)!r} is no URL; write {spec.kind}://HOST/PATH")
    client = client_of(spec, url)
    try:
        if (parsed.path or "/").endswith("/"):
            from mapfs.sources.http_index import HttpDirectory

            directory = HttpDirectory(client, url)
            directory.check()
            return directory
        return HttpSource(client, Address.of(url))
    except BaseException:
        client.close()
        raise
