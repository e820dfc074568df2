"""Objects on servers, for the contract tests: a web server, an S3 server and filesystems of fsspec."""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import uuid
import zipfile
from collections.abc import Iterator
from functools import cache
from typing import Any

import boto3  # type: ignore[import-untyped] # it ships no types
import fsspec  # type: ignore[import-untyped] # it ships no types
from botocore.config import Config  # type: ignore[import-untyped] # it ships no types

from tests.contract.places import CONTENT, KINDS, WITHIN, Place, Served, spec_of
from tests.web import Server, serving

KEY, SECRET = "key-of-the-tests", "secret-of-the-tests"


def web(place: Place, files: dict[str, bytes] | None = None) -> Server:
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


@contextlib.contextmanager
def s3_server() -> Iterator[tuple[Any, str]]:
    """A client of boto3 and the endpoint of a server of its own process."""
    process = subprocess.Popen(
        [sys.executable, "-c", _MOTO],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdin and process.stdout
        endpoint = process.stdout.readline().strip()
        assert endpoint
        client = boto3.client(
            "s3", endpoint_url=endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET,
            region_name="us-east-1", config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip
        yield client, endpoint
        client.close()
    finally:
        process.stdin.close()  # type: ignore[union-attr] # it has pipes
        process.stdout.close()  # type: ignore[union-attr]
        try:
            process.wait(WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(WITHIN)


#: Ends when its standard input does, so with the tests however they end.
_MOTO = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
server.stop()
"""
