"""`s3://BUCKET/KEY`: an object of an S3 server, by s3fs; `s3://BUCKET/PREFIX/` is the directory of what is below it.

s3fs finds credentials and keeps the connections; the requests are mapfs's own, each one try (see `patience`). Opening
pins size and ETag, and each read asks for that ETag (IfMatch), so that no read mixes two versions.
"""

import asyncio
import errno
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mapfs.errors import SourceError, SpecError
from mapfs.sources.base import Buffer, DirectorySource, Entry, Source
from mapfs.sources.bounded import on_loop
from mapfs.sources.listing import DIRECTORY, RemoteDirectory, is_name
from mapfs.sources.patience import OPTIONS as PATIENCE_OPTIONS
from mapfs.sources.patience import Again, Turn, changed, needed, patience_of, refused, unanswered
from mapfs.sources.pinned import PinnedSource, entry_of
from mapfs.sources.spec import Spec, is_set

T = TypeVar("T")

OPTIONS = PATIENCE_OPTIONS | {"endpoint", "key", "secret", "anon", "region", "profile"}
_CONNECTIONS = 64


class Session:
    """The connections to one S3 server. `call` is one try of one request, from any thread."""

    def __init__(self, spec: Spec) -> None:
        patience = patience_of(spec.options)
        try:
            import fsspec.asyn  # type: ignore[import-untyped] # it ships no types
            import s3fs  # type: ignore[import-untyped] # the same
        except ImportError as error:
            raise needed("s3", "s3fs") from error
        options = spec.options
        region = options.get("region")
        stall = patience.timeout / 2 if patience.retries else patience.timeout
        self.patience = patience
        self._loop: asyncio.AbstractEventLoop = fsspec.asyn.get_loop()
        self._files = s3fs.S3FileSystem(
            anon=is_set(spec, "anon"),
            endpoint_url=options.get("endpoint"),
            key=options.get("key"),
            secret=options.get("secret"),
            profile=options.get("profile"),
            client_kwargs={"region_name": region} if region else {},
            config_kwargs={
                "connect_timeout": stall,
                "read_timeout": stall,
                "max_pool_connections": _CONNECTIONS,
                "retries": {"total_max_attempts": 1},
            },
            asynchronous=True,  # its coroutines are run by mapfs, within bounds
            loop=self._loop,
            skip_instance_cache=True,
        )

    def call(self, what: str, ask: Callable[[Any], Awaitable[T]], turn: Turn) -> T:
        """What `ask` makes of an aiobotocore client. Raises Again or SourceError."""
        try:
            return on_loop(self._loop, self._asked(ask), turn.left)
        except (SourceError, Again):
            raise
        except Exception as error:
            raise _trouble(error, what) from error

    async def _asked(self, ask: Callable[[Any], Awaitable[T]]) -> T:
        return await ask(await self._files.set_session())

    def close(self) -> None:
        """Closes the connections."""
        creator = getattr(self._files, "_s3creator", None)
        if creator is not None:
            on_loop(self._loop, creator.__aexit__(None, None, None), self.patience.timeout)


def _trouble(error: Exception, what: str) -> Exception:
    """`error` of botocore or aiohttp as what it is to be raised as."""
    from botocore import exceptions  # type: ignore[import-untyped] # it ships no types

    if isinstance(error, exceptions.ClientError):
        answer = error.response
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = str(answer.get("Error", {}).get("Code", ""))
        return refused(what, status, "" if code == str(status) else code)
    if isinstance(error, TimeoutError | exceptions.ConnectTimeoutError | exceptions.ReadTimeoutError):
        return Again(unanswered(what))
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return SourceError(f"{what} may not be read: there are no credentials; give key= and secret=, profile= or anon",
                           errno.EACCES)  # fmt: skip
    if isinstance(error, exceptions.EndpointConnectionError):
        return Again(SourceError(f"{what}: the server cannot be reached; check endpoint=", errno.EHOSTUNREACH))
    if isinstance(error, exceptions.HTTPClientError | OSError) or type(error).__module__.startswith("aiohttp."):
        return Again(SourceError(f"{what}: the server closed the connection before its answer ended"))
    if isinstance(error, exceptions.ParamValidationError | ValueError):
        return SpecError(f"{what} cannot be asked for: check the bucket's name and endpoint=")
    if isinstance(error, exceptions.BotoCoreError):
        return SourceError(f"{what} cannot be asked for: {error}")
    return error


@dataclass(frozen=True, slots=True)
class Version:
    """What tells one content of an object from another."""

    etag: str
    modified_ns: int
    size: int

    def entry(self) -> Entry:
        """What stat(2) shall say of a file of it."""
        return entry_of(self.size, self.modified_ns)


def _version(answer: Mapping[str, Any], size: str) -> Version:
    """Of a head_object or of an item of a list; times of the two differ by their fraction of a second."""
    modified = int(answer["LastModified"].timestamp()) * 10**9
    return Version(str(answer["ETag"]), modified, int(answer[size]))


class S3Source(PinnedSource[Version]):
    """The object `key` of `bucket`. Raises SourceError where it is not there. Closes the session where it `owns` it."""

    def __init__(self, session: Session, bucket: str, key: str, *, owns: bool = True) -> None:
        self._session = session
        self._object = {"Bucket": bucket, "Key": key}
        self._owns = owns
        super().__init__(f"s3://{bucket}/{key}")

    def look(self) -> Version:
        async def head(client: Any) -> Version:
            return _version(await client.head_object(**self._object), "ContentLength")

        return self._session.patience.insist(lambda turn: self._session.call(self.what, head, turn))

    def fetch(self, pinned: Version, offset: int, size: int) -> Buffer:
        async def get(client: Any) -> bytes:
            answer = await client.get_object(
                **self._object, Range=f"bytes={offset}-{offset + size - 1}", IfMatch=pinned.etag
            )
            async with answer["Body"] as body:
                self._check(answer, pinned, offset, size)
                data: bytes = await body.read()
            return data

        data = self._session.patience.insist(lambda turn: self._session.call(self.what, get, turn))
        if len(data) != size:
            raise SourceError(f"{self.what}: the server gives {len(data)} bytes where {size} were asked for")
        return data

    def close(self) -> None:
        if self._owns:
            self._session.close()

    def _check(self, answer: Mapping[str, Any], pinned: Version, offset: int, size: int) -> None:
        """Raises SourceError where the answer is not of the range and the version that were asked for."""
        if answer.get("ETag") != pinned.etag:
            raise changed(self.what)
        said, wanted = answer.get("ContentRange"), f"bytes {offset}-{offset + size - 1}/{pinned.size}"
        if said != wanted:
            raise SourceError(f"{self.what}: the server gives the range {said!r} for {wanted!r}")


class S3Directory(RemoteDirectory):
    """What is below `prefix`, empty or ending in a slash. Of an object and a prefix of one name, the prefix shows."""

    def __init__(self, session: Session, bucket: str, prefix: str) -> None:
        super().__init__()
        self._session = session
        self._bucket = bucket
        self._prefix = prefix

    def listing(self, path: bytes) -> Mapping[bytes, Entry | None]:
        prefix = self._key(path) + ("/" if path else "")
        names: dict[bytes, Entry | None] = {}
        token: dict[str, str] = {}
        while True:
            answer = self._page(prefix, token)
            for item in answer.get("Contents", []):
                name = item["Key"].removeprefix(prefix).encode()
                if is_name(name):
                    names.setdefault(name, _version(item, "Size").entry())
            for item in answer.get("CommonPrefixes", []):
                name = item["Prefix"].removeprefix(prefix).removesuffix("/").encode()
                if is_name(name):
                    names[name] = DIRECTORY
            if not answer.get("IsTruncated"):
                break
            token = {"ContinuationToken": answer["NextContinuationToken"]}
        if prefix and not answer.get("KeyCount", 1) and not token:
            raise SourceError(f"s3://{self._bucket}/{prefix} has nothing below it; check the URL", errno.ENOENT)
        return names

    def look(self, path: bytes) -> Entry:
        raise AssertionError("each listing tells all")

    def fetch(self, path: bytes) -> S3Source:
        return S3Source(self._session, self._bucket, self._key(path), owns=False)

    def close(self) -> None:
        self._session.close()

    def _key(self, path: bytes) -> str:
        return self._prefix + path.decode()

    def _page(self, prefix: str, token: Mapping[str, str]) -> Mapping[str, Any]:
        async def ask(client: Any) -> Mapping[str, Any]:
            answer: Mapping[str, Any] = await client.list_objects_v2(
                Bucket=self._bucket, Prefix=prefix, Delimiter="/", **token
            )
            return answer

        what = f"s3://{self._bucket}/{prefix}"
        return self._session.patience.insist(lambda turn: self._session.call(what, ask, turn))


def open_s3(spec: Spec) -> Source | DirectorySource:
    """The object or directory at `s3:` + `spec.arg`. Raises SpecError, and SourceError where it fails."""
    bucket, _, key = spec.arg.removeprefix("//").partition("/")
    if not spec.arg.startswith("//") or not bucket:
        raise SpecError(f"'s3:{spec.arg}' is no URL; write s3://BUCKET/KEY")
    for name in spec.options:
        if name not in OPTIONS:
            raise SpecError(f"s3: has no option {name!r}; it takes {', '.join(sorted(OPTIONS))}")
    if ("key" in spec.options) != ("secret" in spec.options):
        raise SpecError("s3: key= and secret= go together")
    endpoint = spec.options.get("endpoint", "https://s3")
    if not urllib.parse.urlsplit(endpoint or "").netloc:
        raise SpecError(f"{endpoint!r} is no endpoint; write endpoint=https://HOST")
    session = Session(spec)
    try:
        if key.endswith("/") or not key:
            directory = S3Directory(session, bucket, key)
            directory.check()
            return directory
        return S3Source(session, bucket, key)
    except BaseException:
        session.close()
        raise
