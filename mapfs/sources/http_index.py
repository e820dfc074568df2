"""`http://HOST/PATH/`: the directory that an index page shows: its links to what lies directly below it.

Links that lead anywhere else, that sort the page (`?C=M;O=A`) or that no file can be called are left out. A link that
ends in a slash is a directory. Sizes on such pages are rounded, so each file is asked for its own.
"""

import urllib.parse
from collections.abc import Mapping
from html.parser import HTMLParser

from mapfs.errors import SourceError
from mapfs.sources.base import Entry
from mapfs.sources.http import HttpSource
from mapfs.sources.http_client import Address, Client, finish, piece
from mapfs.sources.listing import DIRECTORY, RemoteDirectory, is_name
from mapfs.sources.patience import Turn, refused
from mapfs.sources.redact import shown_url

_LARGEST = 16 << 20  # bytes of a page


class HttpDirectory(RemoteDirectory):
    """What `url`, which ends in a slash, lists; its files share the connections of `client`, which it closes."""

    def __init__(self, client: Client, url: str) -> None:
        super().__init__()
        self._client = client
        scheme, netloc, path, query, _ = urllib.parse.urlsplit(url)
        self._root = urllib.parse.urlunsplit((scheme, netloc, path or "/", "", ""))
        self._query = f"?{query}" if query else ""

    def listing(self, path: bytes) -> Mapping[bytes, Entry | None]:
        url = self._url(path + b"/" if path else b"")
        address = Address.of(url)
        page = self._client.patience.insist(lambda turn: self._page(address, turn))
        links = _Links()
        links.feed(page)
        links.close()
        return below(address.target, links.found)

    def look(self, path: bytes) -> Entry:
        source = self.fetch(path)
        try:
            return source.entry()
        finally:
            source.close()

    def fetch(self, path: bytes) -> HttpSource:
        return HttpSource(self._client, Address.of(self._url(path)), owns=False)

    def close(self) -> None:
        self._client.close()

    def _url(self, path: bytes) -> str:
        return self._root + urllib.parse.quote(path) + self._query

    def _page(self, address: Address, turn: Turn) -> str:
        what = shown_url(address.url)
        response = self._client.request("GET", address, {"Accept": "text/html"}, turn)
        page = bytearray()
        try:
            if response.status != 200:
                raise refused(what, response.status, response.reason or "")
            if "html" not in response.headers.get("Content-Type", ""):
                raise SourceError(f"{what} is no index page in HTML; leave out the slash at its end if it is a file")
            while part := piece(response, 1 << 16, what, turn):
                page += part
                if len(page) > _LARGEST:
                    raise SourceError(
                        f"{what} is an index page of more than {_LARGEST >> 20} MiB; serve its files one by one"
                    )
        finally:
            finish(response)
        return page.decode(errors="surrogateescape")


class _Links(HTMLParser):
    """The targets of the links of a page, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value.strip() for name, value in attrs if name == "href" and value]


def below(page: str, links: list[str]) -> dict[bytes, Entry | None]:
    """The names directly below `page` among `links`; a directory where any link to it says so."""
    base = urllib.parse.urlsplit(page)
    names: dict[bytes, Entry | None] = {}
    for link in links:
        try:
            url = urllib.parse.urlsplit(urllib.parse.urljoin(page, link))
        except ValueError:
            continue
        if (url.scheme, url.hostname, url.port) != (base.scheme, base.hostname, base.port) or url.query:
            continue
        if not url.path.startswith(base.path):
            continue
        rest = url.path.removeprefix(base.path)
        name = urllib.parse.unquote_to_bytes(rest.removesuffix("/").encode(errors="surrogateescape"))
        if is_name(name) and "/" not in rest.removesuffix("/"):
            names[name] = DIRECTORY if rest.endswith("/") else names.get(name)
    return names
