"""Objects on servers, for the contract tests: a web server, an S3 server and filesystems of fsspec."""

import atexit
import functools
import subprocess
import sys
import threading
import uuid
import zipfile
from dataclasses import dataclass

import boto3  # type: ignore[import-untyped] # it ships no types
import fsspec  # type: ignore[import-untyped] # it ships no types
import fsspec.asyn  # type: ignore[import-untyped] # the same
import pytest

from tests.contract.places import CONTENT, KINDS, WITHIN, Place, Served, spec_of
from tests.web import Server, serving

KEY = "of-the-tests"  # both the key and its secret: moto takes any
KEYS = f"key={KEY},secret={KEY}"
OF_S3 = {"s3", "s3-entry"}


def web(place: Place, files: dict[str, bytes] | None = None) -> Server:
    """A server that ends with the test."""
    return place.stack.enter_context(serving({"/file": CONTENT} if files is None else files))


def of_http(place: Place) -> Served:
    return Served(place.open(web(place).url()), CONTENT)


def of_http_without_head(place: Place) -> Served:
    server = web(place)
    server.manners.head = server.manners.says_ranges = server.manners.length = False
    server.manners.etag = "weak"
    return Served(place.open(server.url()), CONTENT)


def of_http_nothing(place: Place) -> Served:
    return Served(place.open(web(place, {"/none": b""}).url("/none")), b"")


def of_http_entry(place: Place) -> Served:
    server = web(place, {"/d/a%20b": CONTENT})
    server.pages["/d/"] = '<a href="a%20b">a b</a>'
    return Served(place.directory(server.url("/d/")).open(b"a b"), CONTENT)


@dataclass
class S3:
    """An S3 server as a process of its own, shared by all tests, which use buckets of their own."""

    endpoint: str

    def bucket(self) -> str:
        name = f"mapfs-{uuid.uuid4().hex}"
        self.ask("create_bucket", Bucket=name)
        return name

    def put(self, path: str, content: bytes) -> None:
        bucket, _, key = path.partition("/")
        self.ask("put_object", Bucket=bucket, Key=key, Body=content)

    def delete(self, path: str) -> None:
        bucket, _, key = path.partition("/")
        self.ask("delete_object", Bucket=bucket, Key=key)

    def ask(self, method: str, **arguments: object) -> None:
        """A request by boto3."""
        client = boto3.client(
            "s3", endpoint_url=self.endpoint, aws_access_key_id=KEY, aws_secret_access_key=KEY,
            region_name="us-east-1",
        )  # fmt: skip
        try:
            getattr(client, method)(**arguments)
        finally:
            client.close()

    def spec(self, path: str, *options: str) -> str:
        return ",".join((f"s3://{path}".replace(",", ",,"), f"endpoint={self.endpoint}", KEYS, *options))


#: It dies with the tests however they end (prctl(2), PR_SET_PDEATHSIG).
_MOTO = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
os.close(1)
signal.pause()
"""


@functools.cache
def s3() -> S3:
    """The server, started when it is first asked for."""
    process = subprocess.Popen(
        [sys.executable, "-c", _MOTO],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip

    def end() -> None:
        process.kill()
        process.wait(WITHIN)

    atexit.register(end)
    assert process.stdout
    with process.stdout:
        endpoint = process.stdout.readline().strip()
    assert endpoint, "moto's server did not start"
    return S3(endpoint)


@pytest.fixture(autouse=True)
def servers_are_up(request: pytest.FixtureRequest) -> None:
    """What all tests share is there before one counts descriptors: the S3 server, fsspec's thread and its loop."""
    if any(f"[{kind}]" in request.node.name for kind in OF_S3):
        s3()
        fsspec.asyn.get_loop()


def threads() -> int:
    """How many there are, but for those of fsspec's loop, which stay."""
    return sum(not thread.name.startswith(("fsspecIO", "asyncio_")) for thread in threading.enumerate())


def of_s3(place: Place) -> Served:
    bucket = s3().bucket()
    s3().put(f"{bucket}/a, b/c", CONTENT)
    return Served(place.open(s3().spec(f"{bucket}/a, b/c")), CONTENT)


def of_s3_entry(place: Place) -> Served:
    bucket = s3().bucket()
    s3().put(f"{bucket}/d/e", CONTENT)
    return Served(place.directory(s3().spec(f"{bucket}/")).open(b"d/e"), CONTENT)


def of_memory(place: Place) -> Served:
    memory, name = fsspec.filesystem("memory"), f"/mapfs-{uuid.uuid4().hex}"
    memory.pipe_file(name, CONTENT)
    place.stack.callback(memory.rm_file, name)
    return Served(place.open(spec_of("remote", f"memory:/{name}")), CONTENT)


def of_zip(place: Place) -> Served:
    path = place.path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/side", CONTENT)
    return Served(place.open(spec_of("remote", f"zip://in/side::file://{path}")), CONTENT)


KINDS.update({
    "http": of_http,
    "http-without-head": of_http_without_head,
    "http-none": of_http_nothing,
    "http-entry": of_http_entry,
    "s3": of_s3,
    "s3-entry": of_s3_entry,
    "remote-memory": of_memory,
    "remote-zip": of_zip,
})  # fmt: skip
