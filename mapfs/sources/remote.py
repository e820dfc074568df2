"""`http:`, `https:`, `s3:` and `remote:URL`: objects on servers. The first three have modules of their own.

`remote:` takes any other URL that fsspec knows (gs://, ftp://, sftp://, github://, zip::…); options go to its
filesystem. The size is what the filesystem says, reads are by range and of the exact length. No filesystem of fsspec
can be asked for one version, so a read is followed by a look whether it changed, a second after the last one.
"""

import datetime
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mapfs.errors import SourceError, SpecError
from mapfs.sources.base import Buffer, DirectorySource, Entry, Source
from mapfs.sources.fsspec_client import Files, check_protocols
from mapfs.sources.listing import DIRECTORY, RemoteDirectory, is_name
from mapfs.sources.patience import OPTIONS as PATIENCE_OPTIONS
from mapfs.sources.patience import changed, needed, patience_of
from mapfs.sources.pinned import PinnedSource, entry_of
from mapfs.sources.redact import shown_url
from mapfs.sources.spec import Spec

_URL = re.compile(r"[a-z][a-z0-9+.-]*(?:://|::)", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,18}", re.ASCII)
_BOOLS = {"true": True, "false": False}
_LOOK_EVERY = 1.0  # seconds
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modify", "created")
_MARKS = ("ETag", "etag", "md5Hash", "md5", "sha", "generation", "CRC", "VersionId", "version_id", *_TIMES)


@dataclass(frozen=True, slots=True)
class Version:
    """What a filesystem says of one content of a file; each has other words for it."""

    marks: tuple[str, ...]
    mtime_ns: int | None
    size: int

    @classmethod
    def of(cls, info: Mapping[str, Any], size: int) -> "Version":
        marks = tuple(f"{name}={info[name]}" for name in _MARKS if info.get(name) is not None)
        return cls(marks, mtime_of(info), size)

    def entry(self) -> Entry:
        """What stat(2) shall say of a file of it."""
        return entry_of(self.size, self.mtime_ns)


def mtime_of(info: Mapping[str, Any]) -> int | None:
    """The time of the last change in what fsspec says of a file: a date, its text, or seconds."""
    for name in _TIMES:
        value = info.get(name)
        try:
            if isinstance(value, str):  # RFC 3659 of FTP has 20240131235959, the others ISO 8601
                text = f"{value[:8]}T{value[8:14]}+00:00" if value[:14].isdigit() else value
                value = datetime.datetime.fromisoformat(text)
            if isinstance(value, datetime.datetime):
                value = value.timestamp()
            if isinstance(value, int | float):
                return int(value * 1000) * 10**6
        except (ValueError, OverflowError):
            continue
    return None


class RemoteSource(PinnedSource[Version]):
    """The file at `path` of `files`, which are closed with it where it `owns` them. Raises SourceError."""

    def __init__(self, files: Files, path: str, *, owns: bool = True) -> None:
        self._files = files
        self._path = path
        self._owns = owns
        super().__init__(files.what if owns else f"{path!r} of {files.what}")
        self._looked = time.monotonic()

    def look(self) -> Version:
        info = self._files.call("info", self._path)
        size = info.get("size")
        if not isinstance(size, int) or size < 0:
            raise SourceError(f"{self.what} has no known size; download it and serve it as file:")
        return Version.of(info, size)

    def fetch(self, pinned: Version, offset: int, size: int) -> Buffer:
        data: bytes = self._files.call("cat_file", self._path, start=offset, end=offset + size)
        if len(data) != size:
            raise SourceError(f"{self.what}: its filesystem gives {len(data)} bytes where {size} were asked for")
        if time.monotonic() - self._looked > _LOOK_EVERY:
            if self.look() != pinned:
                raise changed(self.what)
            self._looked = time.monotonic()
        return data

    def close(self) -> None:
        if self._owns:
            self._files.close()


class FsspecDirectory(RemoteDirectory):
    """The directory at the path of `files`, which it closes."""

    def __init__(self, files: Files) -> None:
        super().__init__()
        self._files = files

    def listing(self, path: bytes) -> Mapping[bytes, Entry | None]:
        here = self._path(path)
        names: dict[bytes, Entry | None] = {}
        for info in self._files.call("ls", here, detail=True):
            above, _, last = info["name"].rstrip("/").rpartition("/")
            name = os.fsencode(last)
            if not is_name(name) or above.strip("/") != here.strip("/"):
                continue
            if info["type"] == "directory":
                names[name] = DIRECTORY
            elif info["type"] == "file":
                size = info.get("size")
                names[name] = Version.of(info, size).entry() if isinstance(size, int) else None
        return names

    def look(self, path: bytes) -> Entry:
        return self.fetch(path).entry()

    def fetch(self, path: bytes) -> RemoteSource:
        return RemoteSource(self._files, self._path(path), owns=False)

    def close(self) -> None:
        self._files.close()

    def _path(self, path: bytes) -> str:
        root = self._files.path
        return f"{root.rstrip('/')}/{os.fsdecode(path)}".removesuffix("/") or root


def open_url(spec: Spec) -> Source | DirectorySource:
    """What is at the URL that `spec` itself is: `http:`, `https:` or `s3:`."""
    if spec.kind == "s3":
        from mapfs.sources.s3 import open_s3

        return open_s3(spec)
    try:
        from mapfs.sources.http import open_http
    except ModuleNotFoundError as error:
        raise needed(spec.kind, "urllib3") from error
    return open_http(spec)


def open_remote(spec: Spec) -> Source | DirectorySource:
    """What is at the URL `spec.arg`. Raises SpecError for a bad one, SourceError where it cannot be served."""
    url = spec.arg
    if not _URL.match(url):
        raise SpecError(f"{shown_url(url)!r} is no URL; write remote:gs://BUCKET/NAME or another that fsspec knows")
    kind, _, rest = url.partition(":")
    if kind in ("http", "https", "s3") and "::" not in url:
        return open_url(Spec(kind, rest, spec.options))
    if kind in ("file", "local") and "::" not in url:
        raise SpecError("remote: is for what lies elsewhere; write file:PATH or dir:PATH")
    check_protocols(url)
    own = {name: value for name, value in spec.options.items() if name not in PATIENCE_OPTIONS}
    files = Files(url, {name: _plain(value) for name, value in own.items()}, patience_of(spec.options))
    try:
        info = files.call("info", files.path)
        if info["type"] == "directory":
            directory = FsspecDirectory(files)
            directory.check()
            return directory
        return RemoteSource(files, files.path)
    except BaseException:
        files.close()
        raise


def _plain(value: str | None) -> object:
    """An option as a filesystem takes it: true, false and whole numbers are no text."""
    if value is None:
        return True
    return _BOOLS.get(value.lower(), int(value) if _NUMBER.fullmatch(value) else value)
