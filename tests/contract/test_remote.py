"""Objects on HTTP servers: one request a read over few connections, and a right answer or an error, never a mixture."""

import errno
import os
import ssl
import stat
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapfs.errors import SourceError, SpecError, errno_of
from mapfs.sources import catalogue
from mapfs.sources.redact import shown_spec, shown_url
from tests.contract.places import CONTENT, SIZE, WITHIN, Place, ranges
from tests.contract.places_remote import web
from tests.web import Server, serving

SHORT = ",timeout=1s"


@pytest.fixture
def server(place: Place) -> Server:
    return web(place)


@pytest.fixture(autouse=True)
def no_thread_and_no_descriptor_is_left() -> Iterator[None]:
    threads, before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    yield
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == before


def refusal(place: Place, spec: str) -> SourceError:
    """The error of opening `spec`."""
    with pytest.raises(SourceError) as caught:
        place.open(spec)
    assert "\n" not in str(caught.value)
    return caught.value


def failure(place: Place, server: Server, *, options: str = ",retries=0") -> SourceError:
    """The error of a read of what `server` serves, opened while it still behaves."""
    manners, server.manners = server.manners, type(server.manners)()
    source = place.open(server.url() + options)
    place.stack.callback(source.close)
    server.manners = manners
    with pytest.raises(SourceError) as caught:
        source.read(1000, 5000)
    assert source.size == SIZE
    return caught.value


def test_a_read_is_one_request_over_a_connection_that_is_kept(place: Place, server: Server) -> None:
    source = place.open(server.url())
    assert [asked.method for asked in server.asked] == ["HEAD"]
    server.forget()
    for offset, size in ranges(SIZE):
        assert source.read(offset, size) == CONTENT[offset : offset + size]
    asked = [f"bytes={offset}-{offset + size - 1}" for offset, size in ranges(SIZE) if size]
    assert [one.range for one in server.asked] == asked
    assert server.connections == 1
    assert source.try_read(0, 1) is None
    assert len(server.asked) == len(asked)
    source.close()


def test_threads_share_the_connections(place: Place, server: Server) -> None:
    source = place.open(server.url())
    wrong: list[int] = []
    ready = threading.Barrier(8)

    def read(number: int) -> None:
        ready.wait(WITHIN)
        places = range(number * 1000, number * 1000 + 50)
        wrong.extend(at for at in places if source.read(at, 4096) != CONTENT[at : at + 4096])

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN)
    assert wrong == []
    assert len(server.asked) == 1 + 8 * 50
    assert server.connections <= 9
    source.close()


def test_what_an_object_tells(place: Place, server: Server) -> None:
    source = place.open(server.url())
    assert source.versioned
    assert source.entry().mtime_ns == 1706745599 * 10**9
    assert stat.S_IMODE(source.entry().mode) == 0o444
    before = source.version()
    source.refresh()
    assert source.version() == before
    assert [asked.method for asked in server.asked] == ["HEAD", "HEAD"]
    server.files["/file"] = CONTENT[:5000]
    with pytest.raises(SourceError, match="changed on the server since it was opened; open it anew") as caught:
        source.read(0, 10)
    assert caught.value.errno == errno.ESTALE
    assert source.version() == before
    assert source.size == SIZE
    time_before = source.entry().mtime_ns
    source.refresh()
    assert source.version() != before
    assert source.size == source.entry().size == 5000
    assert source.entry().mtime_ns > time_before, "another content of the same time would keep its cached pages"
    assert source.read(4000, 1000) == CONTENT[4000:5000]
    with pytest.raises(SourceError, match="has no bytes at 5000: it shrank"):
        source.read(4000, 1001)
    source.close()


@pytest.mark.parametrize("etag", ["strong", "weak", None])
@pytest.mark.parametrize("conditions", [True, False])
def test_another_version_is_never_served(place: Place, server: Server, etag: str | None, conditions: bool) -> None:
    server.manners.etag, server.manners.conditions = etag, conditions
    source = place.open(server.url())
    assert source.read(0, 100) == CONTENT[:100]
    server.files["/file"] = CONTENT[::-1]
    server.manners.modified = "Thu, 01 Feb 2024 00:00:00 GMT"
    with pytest.raises(SourceError, match="changed on the server") as caught:
        source.read(0, 100)
    assert caught.value.errno == errno.ESTALE
    sent = server.asked[-1].headers
    assert sent.get("if-match" if etag == "strong" else "if-unmodified-since") is not None
    source.refresh()
    assert source.read(0, 100) == CONTENT[::-1][:100]
    source.close()


def test_without_any_version_the_size_is_compared(place: Place, server: Server) -> None:
    server.manners.etag = server.manners.modified = None
    source = place.open(server.url())
    server.files["/file"] = CONTENT + b"more"
    with pytest.raises(SourceError, match="changed on the server"):
        source.read(0, 100)
    source.close()


def test_what_passes_is_tried_again(place: Place, server: Server) -> None:
    source = place.open(server.url())
    server.manners.failures = [(503, {}), (429, {"Retry-After": "0"}), (500, {}), (502, {})]
    server.forget()
    assert source.read(5, 100) == CONTENT[5:105]
    assert len(server.asked) == 5
    source.close()


def test_a_read_that_breaks_goes_on_where_it_broke(place: Place, server: Server) -> None:
    source = place.open(server.url())
    server.manners.cuts = [1000, 0, 500]
    server.forget()
    assert source.read(0, 4096) == CONTENT[:4096]
    assert [asked.range for asked in server.asked] == [
        "bytes=0-4095", "bytes=1000-4095", "bytes=1000-4095", "bytes=1500-4095",
    ]  # fmt: skip
    source.close()


def test_a_version_that_comes_between_two_halves_is_an_error(place: Place, server: Server) -> None:
    source = place.open(server.url() + ",retries=1")
    server.manners.conditions = False
    server.manners.cuts = [1000]
    server.manners.failures = []

    def change(path: str) -> None:
        if len(server.asked) == 3:
            server.files["/file"] = CONTENT[::-1]

    server.manners.redirect = change
    with pytest.raises(SourceError, match="changed on the server"):
        source.read(0, 4096)
    assert len(server.asked) == 3
    source.close()


def test_a_wait_that_the_server_asks_for_is_no_longer_than_the_time_out(place: Place, server: Server) -> None:
    source = place.open(server.url())
    server.manners.failures = [(429, {"Retry-After": "3600"})]
    server.forget()
    begun = time.monotonic()
    with pytest.raises(SourceError, match="the server answers 429 Too Many Requests") as caught:
        source.read(0, 100)
    assert time.monotonic() - begun < 30, "it did not wait for what could not help in time"
    assert caught.value.errno == errno.EBUSY
    assert len(server.asked) == 1
    source.close()


def test_a_server_that_stalls_once_is_asked_again(place: Place, server: Server) -> None:
    source = place.open(server.url() + ",timeout=2s")
    server.manners.stalls = 1
    assert source.read(0, 100) == CONTENT[:100]
    source.close()


FAILURES: list[tuple[dict[str, object], str, int]] = [
    ({"cuts": [100]}, "the server closed the connection before its answer ended", errno.EIO),
    ({"cuts": [0]}, "the server closed the connection before its answer ended", errno.EIO),
    ({"stalls": 9}, "the server does not answer in time; raise timeout=", errno.ETIMEDOUT),
    ({"drip": True}, "the server does not answer in time; raise timeout=", errno.ETIMEDOUT),
    ({"ranges": False}, "the server no longer heeds ranges; download it and serve it as file:", errno.EIO),
    ({"shift": 1}, "the server gives the range 'bytes 1001-6000/3146962' for bytes 1000-5999", errno.EIO),
    ({"total": "77"}, "the server says of the same version 3146962 and 77 bytes", errno.EIO),
    ({"total": "*"}, "the server says of the same version 3146962 and * bytes", errno.EIO),
    ({"surplus": b"x"}, "the server sends 5001 bytes for the range 1000-5999", errno.EIO),
    ({"surplus": b"x", "length": False}, "the server gives more bytes than it was asked for", errno.EIO),
    ({"etag": "weak"}, "changed on the server since it was opened; open it anew", errno.ESTALE),
    ({"etag": None, "conditions": False}, "changed on the server since it was opened; open it anew", errno.ESTALE),
    ({"failures": [(404, {})]}, "is not there: the server answers 404 Not Found; check the URL", errno.ENOENT),
    ({"failures": [(410, {})]}, "is not there: the server answers 410 Gone; check the URL", errno.ENOENT),
    ({"failures": [(403, {})]}, "may not be read: the server answers 403 Forbidden; check the credentials", errno.EACCES),
    ({"failures": [(418, {})]}, "cannot be read: the server answers 418 I'm a Teapot", errno.EIO),
    ({"failures": [(500, {})]}, "the server answers 500 Internal Server Error", errno.EIO),
    ({"failures": [(503, {})]}, "the server answers 503 Service Unavailable", errno.EBUSY),
    ({"failures": [(302, {})]}, "is redirected to nowhere; check the URL", errno.EIO),
    ({"redirect": lambda path: path}, "is redirected more than 5 times; check the URL", errno.ELOOP),
    ({"redirect": lambda _: "file:///etc/passwd"}, "is redirected to file:///etc/passwd, which is not as safe; use that URL", errno.EIO),
]  # fmt: skip


@pytest.mark.parametrize(("manners", "sentence", "number"), FAILURES, ids=[str(bad) for bad, _, _ in FAILURES])
def test_a_server_that_misbehaves(
    place: Place, server: Server, manners: dict[str, object], sentence: str, number: int
) -> None:
    for name, value in manners.items():
        setattr(server.manners, name, value)
    begun = time.monotonic()
    error = failure(place, server, options=",retries=0" + (SHORT if number == errno.ETIMEDOUT else ""))
    assert time.monotonic() - begun < WITHIN
    assert sentence in str(error)
    assert str(error).startswith(server.url())
    assert error.errno == number


REFUSED: list[tuple[dict[str, object], str, int]] = [
    ({"failures": [(404, {})]}, "is not there: the server answers 404 Not Found; check the URL", errno.ENOENT),
    ({"failures": [(401, {})]}, "may not be read: the server answers 401 Unauthorized; check the credentials", errno.EACCES),
    ({"failures": [(403, {})] * 2}, "may not be read: the server answers 403 Forbidden; check the credentials", errno.EACCES),
    ({"ranges": False}, "the server gives no ranges; download it and serve it as file:", errno.EIO),
    ({"ranges": False, "says_ranges": False}, "the server gives no ranges; download it and serve it as file:", errno.EIO),
    ({"head": False, "total": "*"}, "the server does not say its size; download it and serve it as file:", errno.EIO),
    ({"failures": [(503, {})]}, "the server answers 503 Service Unavailable", errno.EBUSY),
]  # fmt: skip


@pytest.mark.parametrize(("manners", "sentence", "number"), REFUSED, ids=[str(bad) for bad, _, _ in REFUSED])
def test_what_cannot_be_served(
    place: Place, server: Server, manners: dict[str, object], sentence: str, number: int
) -> None:
    for name, value in manners.items():
        setattr(server.manners, name, value)
    error = refusal(place, server.url() + ",retries=0")
    assert sentence in str(error)
    assert error.errno == number


def test_a_size_that_was_a_lie_is_an_error(place: Place, server: Server) -> None:
    server.manners.head_size = SIZE + 1000
    source = place.open(server.url())
    with pytest.raises(SourceError, match=f"the server says of the same version {SIZE + 1000} and {SIZE} bytes"):
        source.read(0, 10)
    source.close()


def test_a_head_that_is_refused_is_not_tried_twice(place: Place, server: Server) -> None:
    server.manners.head = False
    source = place.open(server.url())
    source.refresh()
    assert [(asked.method, asked.range) for asked in server.asked] == [
        ("HEAD", None), ("GET", "bytes=0-0"), ("GET", "bytes=0-0"),
    ]  # fmt: skip
    source.close()


def test_where_a_redirect_led_is_remembered_until_it_ends(place: Place, server: Server) -> None:
    server.files = {"/there": CONTENT}
    server.manners.redirect = lambda path: "/there" if path.startswith("/file") else None
    source = place.open(server.url("/file?name=x"))
    server.forget()
    assert source.read(0, 10) == CONTENT[:10]
    assert [asked.path for asked in server.asked] == ["/there"]
    server.files = {"/new": CONTENT}
    server.manners.redirect = lambda path: "/new" if path.startswith("/file") else None
    assert source.read(0, 10) == CONTENT[:10]
    assert [asked.path for asked in server.asked[1:]] == ["/there", "/file?name=x", "/new"]
    source.close()


def test_credentials_go_to_their_server_alone(place: Place, server: Server) -> None:
    other = place.stack.enter_context(serving({"/there": CONTENT}))
    server.manners.user = "me:pass@word"
    server.manners.redirect = lambda _: other.url("/there")
    source = place.open(server.url(user="me:pass%40word@") + ",header-x-one=two,, three")
    assert source.read(0, 10) == CONTENT[:10]
    assert server.asked[0].headers["x-one"] == "two, three"
    assert server.asked[0].headers["authorization"]
    assert all(not {"authorization", "x-one"} & set(asked.headers) for asked in other.asked)
    source.close()
    wrong = server.url(user="me:wrong@")
    error = refusal(place, wrong)
    assert "wrong" not in str(error)
    assert str(error).startswith(server.url(user="***@"))


def test_tokens(place: Place, server: Server) -> None:
    token = uuid.uuid4().hex
    server.manners.token = token
    file = place.path / "token"
    file.write_text(f"{token}\n")
    for options in (f",token={token}", f",token-file={file}"):
        source = place.open(server.url() + options)
        assert source.read(0, 10) == CONTENT[:10]
        source.close()
    assert refusal(place, server.url()).errno == errno.EACCES


BAD = [
    ("http:", "'http:' is no URL; write http://HOST/PATH"),
    ("http:host/x", "'http:host/x' is no URL; write http://HOST/PATH"),
    ("http:///x", "'http:///x' is no URL; write http://HOST/PATH"),
    ("https://me:secret@host:port/x", "'https://***@host:port/x' is no URL; write https://HOST/PATH"),
    ("http://h/x,tomeout=1", "http: has no option 'tomeout'; it takes cafile, insecure, retries, timeout, token, token-file and header-NAME"),
    ("http://h/x,header-=1", "http: has no option 'header-'; it takes cafile, insecure, retries, timeout, token, token-file and header-NAME"),
    ("http://h/x,header-a=\n", "header-a= is no value of a header; it takes printable ASCII"),
    ("http://h/x,token", "token= and token-file= take a token, printable ASCII without spaces"),
    ("http://h/x,token=a b", "token= and token-file= take a token, printable ASCII without spaces"),
    ("http://h/x,token=a,token-file=b", "token= and token-file= cannot be both given; leave one out"),
    ("http://h/x,timeout=0", "timeout= must be more than nothing; write timeout=30s"),
    ("http://h/x,timeout=soon", "'soon' is not a time; write 20ms, 1.5s or 2m"),
    ("http://h/x,retries=many", "'many' is not a number of retries; write retries=4, from 0 to 100"),
    ("http://h/x,insecure", "cafile= and insecure go with https:; http: has no certificates"),
    ("https://h/x,insecure=1", "insecure takes no value; write insecure alone"),
    ("remote:/a/path", "'/a/path' is no URL; write remote:gs://BUCKET/NAME or another that fsspec knows"),
    ("remote:http://h/x,a=b", "http: has no option 'a'; it takes cafile, insecure, retries, timeout, token, token-file and header-NAME"),
    ("remote:file:///etc/hosts", "remote: is for what lies elsewhere; write file:PATH or dir:PATH"),
    ("remote:nothing://x", "fsspec knows no URL that begins with nothing://; it is misspelt, or a path"),
    ("remote:memory://x,retries=-1", "'-1' is not a number of retries; write retries=4, from 0 to 100"),
    ("s3:bucket/key", "'s3:bucket/key' is no URL; write s3://BUCKET/KEY"),
    ("s3://", "'s3://' is no URL; write s3://BUCKET/KEY"),
    ("s3://b/k,acl=x", "s3: has no option 'acl'; it takes anon, endpoint, key, profile, region, retries, secret, timeout"),
    ("s3://b/k,key=x", "s3: key= and secret= go together"),
    ("s3://b/k,endpoint=host", "'host' is no endpoint; write endpoint=https://HOST"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "sentence"), BAD, ids=[spec for spec, _ in BAD])
def test_a_spec_that_makes_no_sense(spec: str, sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        catalogue.open_spec(catalogue.parse(spec))
    assert str(caught.value) == sentence


def test_servers_that_cannot_be_reached(place: Place) -> None:
    with serving({}) as gone:
        url = gone.url()
    error = refusal(place, url + ",retries=1")
    assert str(error) == f"{url}: the server cannot be reached: Connection refused"
    assert error.errno == errno.ECONNREFUSED
    error = refusal(place, "http://mapfs-test.invalid/x,retries=0")
    assert str(error) == "http://mapfs-test.invalid/x: the server cannot be reached: its name is not known"
    assert error.errno == errno.EHOSTUNREACH


@pytest.mark.parametrize("option", ["cafile", "token-file"])
def test_files_of_options_that_cannot_be_read(place: Place, option: str) -> None:
    error = refusal(place, f"https://127.0.0.1:1/x,{option}=/missing")
    assert str(error) == f"cannot open file '/missing' of {option}=: No such file or directory; check the path"
    if option == "cafile":
        path = place.file("no-certificate")
        path.write_text("x")
        error = refusal(place, f"https://127.0.0.1:1/x,cafile={path}")
        assert str(error) == f"file {str(path)!r} of cafile= holds no certificate in PEM"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that only itself vouches for, its key in the same file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", str(path), "-out", f"{path}.crt", "-days", "2", "-subj", "/CN=mapfs",
            "-addext", "subjectAltName=IP:127.0.0.1",
        ],
        check=True, capture_output=True, timeout=WITHIN,
    )  # fmt: skip
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


def test_certificates_are_checked(place: Place, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving({"/file": CONTENT}, context) as server:
        for option in (f",cafile={certificate}.crt", ",insecure"):
            source = place.open(server.url() + option)
            assert source.read(5, 4096) == CONTENT[5:4101]
            source.close()
        error = refusal(place, server.url())
        assert str(error).endswith("the certificate is not trusted; name its issuer by cafile=, or add insecure")
        assert error.errno == errno.EACCES


INDEX = """<html><a href="../">up</a><a href="/">top</a><a href="?C=M;O=A">sort</a><a name=x>x</a><a href="#here">here</a>
<a href="a%20b">a b</a><A HREF='sub/'>sub</A><a href="/d/abs">abs</a><a href="HOME/d/whole">whole</a>
<a href="http://elsewhere.invalid/d/other">other</a><a href="sub/deep">deep</a><a href="%2e%2e">up</a><a href="..%2fx">up</a>
<a href="./%2E/">here</a><a href="%00">nul</a><a href="//">x</a><a href="%ff">not UTF-8</a><a href="a%20b">again</a>
<a href="javascript:x()">x</a><a href="http://[">x</a></html>"""


def test_an_index_page_is_a_directory(place: Place, server: Server) -> None:
    server.pages = {"/d/": INDEX.replace("HOME", server.url("")), "/d/sub/": '<a href="deep">deep</a>'}
    server.files = {"/d/a%20b": CONTENT, "/d/abs": b"abs", "/d/sub/deep": b"deep"}
    directory = place.directory(server.url("/d/"))
    assert getattr(directory, "slow", False)
    assert directory.names(b"") == [b"a b", b"sub", b"abs", b"whole", b"\xff"]
    assert directory.names(b"sub") == [b"deep"]
    server.forget()
    for _ in range(3):
        assert directory.entry(b"a b").size == SIZE
        assert stat.S_ISDIR(directory.entry(b"sub").mode)
        assert directory.entry(b"sub/deep").size == 4
        assert directory.names(b"")
    assert [(asked.method, asked.path) for asked in server.asked] == [("HEAD", "/d/a%20b"), ("HEAD", "/d/sub/deep")]
    source = directory.open(b"sub/deep")
    assert bytes(source.read(0, 4)) == b"deep"
    assert source.entry() == directory.entry(b"sub/deep"), "a new mtime would make the kernel drop the cached pages"
    source.close()
    for call, path, kind in (
        (directory.entry, b"missing", FileNotFoundError),
        (directory.entry, b"missing/x", FileNotFoundError),
        (directory.entry, b"abs/x", FileNotFoundError),
        (directory.entry, b"whole", FileNotFoundError),
        (directory.open, b"whole", FileNotFoundError),
        (directory.open, b"sub", IsADirectoryError),
        (directory.names, b"abs", NotADirectoryError),
        (directory.names, b"missing", FileNotFoundError),
        (directory.readlink, b"abs", FileNotFoundError),
    ):
        with pytest.raises(kind):
            call(path)
    assert server.connections == 1
    place.stack.close()


def test_what_is_no_index_page(place: Place, server: Server) -> None:
    server.files["/d/"] = b"no page"
    url = server.url("/d/")
    with pytest.raises(SourceError) as caught:
        catalogue.open_spec(catalogue.parse(url))
    assert str(caught.value) == f"{url} is no index page in HTML; leave out the slash at its end if it is a file"
    with pytest.raises(SourceError, match="is not there: the server answers 404"):
        catalogue.open_spec(catalogue.parse(server.url("/missing/")))


def test_a_directory_whose_server_is_gone(place: Place) -> None:
    with serving({"/d/x": b"x"}) as server:
        server.pages["/d/"] = '<a href="x">x</a>'
        directory = place.directory(server.url("/d/") + ",retries=0")
    with pytest.raises(OSError) as caught:
        directory.entry(b"x")
    assert errno_of(caught.value) == errno.ECONNREFUSED
    place.stack.close()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:p@h/x?sig=1", "http://***@h/x?***"),
        ("http://h/x,token=abc,timeout=5s,header-x-key=a", "http://h/x,token=***,timeout=5s,header-x-key=***"),
        ("s3://b/k,key=a,secret=b,endpoint=http://h", "s3://b/k,key=***,secret=***,endpoint=http://h"),
        ("remote:ftp://u:p@h/x,password=a,tls", "remote:ftp://***@h/x,password=***,tls"),
        ("file:/a//b@c?d,cache=1", "file:/a//b@c?d,cache=1"),
    ],
)
def test_secrets_are_not_shown(text: str, shown: str) -> None:
    assert str(shown_spec(catalogue.parse(text))) == shown
    assert shown_url("http://h/a//b@c") == "http://h/a//b@c"
