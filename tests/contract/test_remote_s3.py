"""Objects on S3 servers: moto's, as a process of its own, and a web server that misbehaves."""

import errno
import os
import stat
from collections.abc import Iterator

import fsspec.asyn  # type: ignore[import-untyped] # it ships no types
import pytest

from mapfs.errors import SourceError, errno_of
from mapfs.sources import catalogue
from tests.contract.places import CONTENT, SIZE, Place
from tests.contract.places_remote import KEYS, S3, s3, threads, web
from tests.web import Server, serving


@pytest.fixture
def bucket() -> str:
    return s3().bucket()


@pytest.fixture(autouse=True)
def no_thread_and_no_descriptor_is_left() -> Iterator[None]:
    s3()
    fsspec.asyn.get_loop()
    running, before = threads(), len(os.listdir("/proc/self/fd"))
    yield
    assert threads() == running
    assert len(os.listdir("/proc/self/fd")) == before


def refusal(spec: str) -> SourceError:
    """The error of opening `spec`."""
    with pytest.raises(SourceError) as caught:
        catalogue.open_spec(catalogue.parse(spec))
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_version_is_pinned(place: Place, bucket: str) -> None:
    s3().put(f"{bucket}/x", CONTENT)
    source = place.open(s3().spec(f"{bucket}/x"))
    assert source.versioned
    before, entry = source.version(), source.entry()
    source.refresh()
    assert (source.version(), source.entry()) == (before, entry)
    s3().put(f"{bucket}/x", CONTENT[::-1][:5000])
    with pytest.raises(SourceError, match="changed on the server since it was opened; open it anew") as caught:
        source.read(0, 100)
    assert caught.value.errno == errno.ESTALE
    assert source.version() == before
    source.refresh()
    assert source.version() != before
    assert source.size == 5000
    assert source.entry().mtime_ns != entry.mtime_ns
    assert source.read(0, 5000) == CONTENT[::-1][:5000]
    with pytest.raises(SourceError, match="has no bytes at 5000: it shrank"):
        source.read(4999, 2)
    s3().delete(f"{bucket}/x")
    for call in (source.refresh, lambda: source.read(0, 1)):
        with pytest.raises(SourceError, match="is not there: the server answers 404") as caught:
            call()
        assert caught.value.errno == errno.ENOENT
    source.close()


def test_prefixes_are_directories(place: Place, bucket: str) -> None:
    for key in ("a/b/c", "a/d, e", "a/b", "top", "a//odd", "a/\u00e9"):
        s3().put(f"{bucket}/{key}", CONTENT)
    root, below = place.directory(s3().spec(f"{bucket}")), place.directory(s3().spec(f"{bucket}/a/"))
    assert sorted(root.names(b"")) == [b"a", b"top"]
    assert sorted(root.names(b"a")) == sorted(below.names(b"")) == [b"b", b"d, e", "\u00e9".encode()]
    assert stat.S_ISDIR(below.entry(b"b").mode), "an object and a prefix of one name"
    assert below.entry(b"b/c").size == SIZE
    source = below.open(b"d, e")
    assert source.entry() == below.entry(b"d, e") == root.entry(b"a/d, e")
    assert source.read(10, 100) == CONTENT[10:110]
    source.close()
    for path in (b"missing", b"missing/x", b"d, e/x", b"\xff"):
        with pytest.raises(FileNotFoundError):
            below.entry(path)
    with pytest.raises(NotADirectoryError):
        below.names(b"d, e")
    with pytest.raises(IsADirectoryError):
        below.open(b"b")
    s3().delete(f"{bucket}/top")
    with pytest.raises(OSError) as caught:
        root.open(b"top")  # it is still listed
    assert errno_of(caught.value) == errno.ENOENT
    place.stack.close()


def test_many_keys_take_several_pages(place: Place) -> None:
    pages = [
        "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>" + item("a") + item("b"),
        "<IsTruncated>false</IsTruncated>" + item("c"),
    ]
    server = web(place, {})
    server.pages["/bucket"] = ""

    def next_page(path: str) -> None:
        if path.startswith("/bucket"):
            body = pages[1] if "continuation-token=t" in path else pages[0]
            server.pages["/bucket"] = f"<ListBucketResult>{body}</ListBucketResult>"

    server.manners.redirect = next_page
    directory = place.directory(of(server, "bucket"))
    assert directory.names(b"") == [b"a", b"b", b"c"]
    assert len(server.asked) == 2
    assert directory.entry(b"c").size == 7
    assert len(server.asked) == 2
    place.stack.close()


def item(key: str) -> str:
    return f"<Contents><Key>{key}</Key><Size>7</Size><ETag>\"x\"</ETag><LastModified>2024-01-31T00:00:00.000Z</LastModified></Contents>"  # fmt: skip


def of(server: Server, path: str = "bucket/key", options: str = ",retries=0") -> str:
    return S3(server.url("")).spec(path) + options


FAILURES: list[tuple[dict[str, object], str, int]] = [
    ({"cuts": [100]}, "the server closed the connection before its answer ended", errno.EIO),
    ({"stalls": 9}, "the server does not answer in time; raise timeout=", errno.ETIMEDOUT),
    ({"drip": True}, "the server does not answer in time; raise timeout=", errno.ETIMEDOUT),
    ({"shift": 1}, "the server gives the range 'bytes 1001-6000/3146962' for 'bytes 1000-5999/3146962'", errno.EIO),
    ({"ranges": False}, "the server gives the range None for 'bytes 1000-5999/3146962'", errno.EIO),
    ({"etag": "weak", "conditions": False}, "changed on the server since it was opened; open it anew", errno.ESTALE),
    ({"failures": [(412, {})]}, "changed on the server since it was opened; open it anew", errno.ESTALE),
    ({"failures": [(403, {})]}, "may not be read: the server answers 403; check the credentials", errno.EACCES),
    ({"failures": [(500, {})]}, "the server answers 500", errno.EIO),
    ({"failures": [(503, {})]}, "the server answers 503", errno.EBUSY),
]  # fmt: skip


@pytest.mark.parametrize(("manners", "sentence", "number"), FAILURES, ids=[str(bad) for bad, _, _ in FAILURES])
def test_a_server_that_misbehaves(place: Place, manners: dict[str, object], sentence: str, number: int) -> None:
    server = web(place, {"/bucket/key": CONTENT})
    waiting = ",timeout=2s" if number == errno.ETIMEDOUT else ""
    source = place.open(of(server, options=",retries=0" + waiting))
    for name, value in manners.items():
        setattr(server.manners, name, value)
    with pytest.raises(SourceError) as caught:
        source.read(1000, 5000)
    assert sentence in str(caught.value)
    assert caught.value.errno == number
    source.close()


def test_what_passes_is_tried_again(place: Place) -> None:
    server = web(place, {"/bucket/key": CONTENT})
    source = place.open(of(server, options=""))
    server.manners.failures = [(503, {}), (500, {})]
    server.manners.cuts = [100]
    server.forget()
    assert source.read(5, 4096) == CONTENT[5:4101]
    assert [asked.range for asked in server.asked] == ["bytes=5-4100"] * 4
    assert server.asked[0].headers["if-match"].startswith('"')
    source.close()


def test_what_is_not_there(bucket: str) -> None:
    error = refusal(s3().spec(f"{bucket}/missing"))
    assert str(error) == f"s3://{bucket}/missing is not there: the server answers 404; check the URL"
    assert error.errno == errno.ENOENT
    error = refusal(s3().spec(f"{bucket}/missing/"))
    assert str(error) == f"s3://{bucket}/missing/ has nothing below it; check the URL"
    assert error.errno == errno.ENOENT
    error = refusal(s3().spec("no-such-bucket/"))
    assert str(error) == "s3://no-such-bucket/ is not there: the server answers 404 NoSuchBucket; check the URL"


def test_servers_and_credentials_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({}) as gone:
        endpoint = gone.url("")
    error = refusal(f"s3://b/k,endpoint={endpoint},{KEYS},retries=0,timeout=2s")
    assert str(error) == "s3://b/k: the server cannot be reached; check endpoint="
    assert error.errno == errno.EHOSTUNREACH
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/missing")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/missing")
    error = refusal(f"s3://b/k,endpoint={endpoint},retries=0,timeout=2s")
    assert str(error) == "s3://b/k may not be read: there are no credentials; give key= and secret=, profile= or anon"
    assert error.errno == errno.EACCES
    error = refusal(f"s3://b/k,endpoint={endpoint},profile=nobody,retries=0")
    assert str(error).startswith("s3://b/k cannot be asked for: The config profile (nobody) could not be found")


def test_anonymous_requests_are_not_signed(place: Place) -> None:
    server = web(place, {"/b/k": CONTENT})
    source = place.open(f"s3://b/k,endpoint={server.url('')},anon,region=eu-west-1")
    assert source.read(0, 10) == CONTENT[:10]
    assert all("authorization" not in asked.headers for asked in server.asked)
    source.close()
