"""What fsspec knows: filesystems in memory, in archives, on an FTP server, and an asynchronous one that misbehaves."""

import asyncio
import errno
import os
import stat
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from typing import Any

import fsspec  # type: ignore[import-untyped] # it ships no types
import fsspec.asyn  # type: ignore[import-untyped] # the same
import pytest

from mapfs.errors import SourceError, SpecError
from mapfs.sources import catalogue, remote
from mapfs.sources.base import Source
from tests.contract.places import CONTENT, SIZE, WITHIN, Place, ranges
from tests.contract.places_remote import threads, web


@pytest.fixture(autouse=True)
def no_thread_and_no_descriptor_is_left() -> Iterator[None]:
    fsspec.asyn.get_loop()
    running, before = threads(), len(os.listdir("/proc/self/fd"))
    yield
    assert threads() == running
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def home() -> Iterator[str]:
    """A directory in memory, with files."""
    memory, name = fsspec.filesystem("memory"), f"/mapfs-{uuid.uuid4().hex}"
    memory.pipe_file(f"{name}/a, b", CONTENT)
    memory.pipe_file(f"{name}/sub/deep", b"deep")
    yield f"memory:/{name}"
    memory.rm(name, recursive=True)


def opened(spec: str) -> Source:
    source = catalogue.open_spec(catalogue.parse(spec))
    assert isinstance(source, Source)
    return source


def test_a_directory(place: Place, home: str) -> None:
    for slash in ("", "/"):
        directory = place.directory(f"remote:{home}{slash}")
        assert sorted(directory.names(b"")) == [b"a, b", b"sub"]
        assert directory.names(b"sub") == [b"deep"]
        assert stat.S_ISDIR(directory.entry(b"sub").mode)
        assert directory.entry(b"sub/deep").size == 4
        source = directory.open(b"a, b")
        assert source.read(5, 100) == CONTENT[5:105]
        assert source.entry() == directory.entry(b"a, b")
        source.close()
        for path in (b"missing", b"a, b/x"):
            with pytest.raises(FileNotFoundError):
                directory.entry(path)
        place.stack.close()


def test_a_change_is_noticed(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_LOOK_EVERY", 0.0)
    source = opened(f"remote:{home}/sub/deep")
    assert source.versioned
    assert source.read(0, 4) == b"deep"
    before = source.version()
    source.refresh()
    assert source.version() == before
    memory = fsspec.filesystem("memory")
    memory.pipe_file(f"{home.removeprefix('memory:/')}/sub/deep", b"other")
    with pytest.raises(SourceError, match="changed on the server since it was opened; open it anew") as caught:
        source.read(0, 4)
    assert caught.value.errno == errno.ESTALE
    source.refresh()
    assert source.version() != before
    assert source.read(0, 5) == b"other"
    memory.pipe_file(f"{home.removeprefix('memory:/')}/sub/deep", b"x")
    with pytest.raises(SourceError, match="its filesystem gives 1 bytes where 5 were asked for"):
        source.read(0, 5)
    source.close()


def test_http_is_not_left_to_fsspec(place: Place) -> None:
    server = web(place)
    source = opened(f"remote:{server.url()}")
    assert source.read(0, 10) == CONTENT[:10]
    assert server.asked[0].headers["user-agent"] == "mapfs"
    source.close()
    place.stack.close()


@pytest.mark.parametrize(
    ("spec", "error", "sentence"),
    [
        ("remote:memory://missing-mapfs-test", SourceError, "memory://missing-mapfs-test is not there; check the URL"),
        ("remote:zip://x::memory://missing-mapfs-test", SourceError, "zip://x::memory://missing-mapfs-test is not there; check the URL"),
        ("remote:mapfs-stuck://x,colour=red", SpecError, "mapfs-stuck://x: its filesystem has no such option: TypeError: "),
        ("remote:ftp://u:p@127.0.0.1:1/x,retries=1", SourceError, "ftp://***@127.0.0.1:1/x cannot be read: Connection refused"),
        ("remote:gs://b/k", SourceError, "gs:// needs another package: ImportError: Please install gcsfs to access Google Storage"),
    ],
)  # fmt: skip
def test_what_cannot_be_opened(spec: str, error: type[Exception], sentence: str) -> None:
    fsspec.register_implementation(Stuck.protocol, Stuck, clobber=True)
    with pytest.raises(error) as caught:
        catalogue.open_spec(catalogue.parse(spec))
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "package"),
    [
        ("http://h/x", "urllib3"),
        ("remote:https://h/x", "urllib3"),
        ("s3://b/k", "s3fs"),
        ("s3://b/k", "fsspec"),
        ("remote:ftp://h/x", "fsspec"),
    ],
)
def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch, spec: str, package: str) -> None:
    for name in [name for name in sys.modules if name.startswith(("mapfs.sources.http", "mapfs.sources.s3"))]:
        monkeypatch.delitem(sys.modules, name)
    for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SourceError) as caught:
        catalogue.open_spec(catalogue.parse(spec))
    kind = spec.removeprefix("remote:https").partition(":")[0] or "https"
    needed = "s3fs" if kind == "s3" else package
    assert str(caught.value) == f"{kind}: needs the package {needed}; install it with pip install 'mapfs[remote]'"


@pytest.fixture
def ftp(place: Place) -> Iterator[tuple[str, Any]]:
    """The URL of a server with `a` and `sub/b`, and the server, which can drop its connections."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pyftpdlib is made of asyncore
        from pyftpdlib.authorizers import DummyAuthorizer  # type: ignore[import-untyped] # it ships no types
        from pyftpdlib.handlers import FTPHandler  # type: ignore[import-untyped] # the same
        from pyftpdlib.servers import FTPServer  # type: ignore[import-untyped] # the same
    (place.path / "ftp" / "sub").mkdir(parents=True)
    for name in ("a", "sub/b"):
        (place.path / "ftp" / name).write_bytes(CONTENT)

    class Handler(FTPHandler):  # type: ignore[misc] # it has no types
        authorizer = DummyAuthorizer()
        banner = "hello"

    Handler.authorizer.add_user("me", "secret", str(place.path / "ftp"))
    server = FTPServer(("127.0.0.1", 0), Handler)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            server.serve_forever(timeout=0.02, blocking=False)
        server.close_all()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"ftp://me:secret@127.0.0.1:{server.address[1]}", server
    stop.set()
    thread.join(WITHIN)


def test_ftp(place: Place, ftp: tuple[str, Any]) -> None:
    url, _ = ftp
    directory = place.directory(f"remote:{url}/")
    assert sorted(directory.names(b"")) == [b"a", b"sub"]
    assert directory.names(b"sub") == [b"b"]
    assert directory.entry(b"a").size == SIZE
    source = directory.open(b"sub/b")
    assert source.entry() == directory.entry(b"sub/b")
    for offset, size in list(ranges(SIZE, 5)):
        assert source.read(offset, size) == CONTENT[offset : offset + size]
    source.close()
    place.stack.close()


def test_ftp_is_read_by_eight_threads_though_its_client_is_not_made_for_that(ftp: tuple[str, Any]) -> None:
    source = opened(f"remote:{ftp[0]}/a")
    wrong: list[int] = []

    def read(number: int) -> None:
        wrong.extend(at for at in (number * 5000, number * 9999) if source.read(at, 4096) != CONTENT[at : at + 4096])

    readers = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in readers:
        thread.start()
    for thread in readers:
        thread.join(WITHIN)
    assert wrong == []
    source.close()


class Odd(fsspec.asyn.AsyncFileSystem):  # type: ignore[misc] # it has no types
    """An asynchronous filesystem with one file. Its class says how it behaves."""

    protocol = "mapfs-odd"
    content = b"0123456789" * 1000
    mark = "one"
    size: object = len(content)
    stalls = 0
    failures = 0
    asked = 0

    async def _info(self, path: str, **_: object) -> dict[str, object]:
        return {"name": path, "type": "file", "size": Odd.size, "ETag": Odd.mark}

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: object) -> bytes:
        Odd.asked += 1
        if Odd.stalls:
            Odd.stalls -= 1
            await asyncio.sleep(WITHIN * 10)
        if Odd.failures:
            Odd.failures -= 1
            raise ConnectionResetError(errno.ECONNRESET, "at ftp://me:secret@host")
        return Odd.content[start:end]


@pytest.fixture
def odd() -> Iterator[type[Odd]]:
    fsspec.register_implementation(Odd.protocol, Odd, clobber=True)
    yield Odd
    Odd.stalls, Odd.failures, Odd.asked, Odd.mark, Odd.size = 0, 0, 0, "one", len(Odd.content)


def test_an_asynchronous_filesystem(odd: type[Odd], monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened("remote:mapfs-odd://x")
    assert source.read(5, 20) == odd.content[5:25]
    odd.failures = 2
    assert source.read(5, 20) == odd.content[5:25]
    assert odd.asked == 4
    monkeypatch.setattr(remote, "_LOOK_EVERY", 0.0)
    odd.mark = "two"
    with pytest.raises(SourceError, match="changed on the server"):
        source.read(5, 20)
    source.close()


def test_an_asynchronous_filesystem_that_stalls(odd: type[Odd]) -> None:
    source = opened("remote:mapfs-odd://x,timeout=300ms,retries=0")
    odd.stalls = 1
    begun = time.monotonic()
    with pytest.raises(SourceError, match="does not answer in time; raise timeout=") as caught:
        source.read(0, 1)
    assert time.monotonic() - begun < WITHIN
    assert caught.value.errno == errno.ETIMEDOUT
    assert source.read(0, 1) == b"0"
    source.close()


def test_a_file_without_a_size(odd: type[Odd]) -> None:
    odd.size = None
    with pytest.raises(SourceError, match="mapfs-odd://x has no known size; download it and serve it as file:"):
        opened("remote:mapfs-odd://x")


class Stuck(fsspec.AbstractFileSystem):  # type: ignore[misc] # it has no types
    """A filesystem whose calls block, until they are let go."""

    protocol = "mapfs-stuck"
    stuck = threading.Event()
    free = threading.Event()

    def __init__(self) -> None:
        super().__init__()

    def info(self, path: str, **_: object) -> dict[str, object]:
        return {"name": path, "type": "file", "size": 10}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: object) -> bytes:
        if not Stuck.stuck.is_set():
            Stuck.stuck.set()
            Stuck.free.wait(WITHIN)
        return b"0123456789"[start:end]


def test_a_call_that_blocks_is_left_to_itself() -> None:
    fsspec.register_implementation(Stuck.protocol, Stuck, clobber=True)
    source = opened("remote:mapfs-stuck://x,timeout=2s,retries=1")
    (first,) = [thread for thread in threading.enumerate() if thread.name == "mapfs-remote"]
    running = threads()
    assert source.read(2, 3) == b"234", "the second try has a filesystem of its own"
    assert first.is_alive()
    assert threads() == running + 1
    Stuck.free.set()
    first.join(WITHIN)
    source.close()


@pytest.mark.parametrize(
    ("text", "value"), [(None, True), ("true", True), ("False", False), ("12", 12), ("1.5", "1.5"), ("x", "x")]
)
def test_options_are_given_as_what_they_look_like(text: str | None, value: object) -> None:
    assert remote._plain(text) == value
