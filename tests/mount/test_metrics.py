"""`.mapfs/metrics`, and `mount --metrics`: the numbers are those of what was demanded, whoever asks, however badly."""

import contextlib
import os
import signal
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mapfs.units import PAGE_SIZE
from tests.conftest import Mounter
from tests.mount.test_usage import refused
from tests.support import WITHIN, Client, Daemon, client, mapfs, wait_until

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Scrape:
    """What one scrape said."""

    def __init__(self, text: str) -> None:
        self.samples: Samples = {}
        self.counters: set[str] = set()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self.samples
                self.samples[key] = sample.value
                if family.type in ("counter", "histogram"):
                    self.counters.add(sample.name)

    def __getitem__(self, name: str) -> float:
        """`requests_total op=read class=COLD`: the one sample that has these labels, no others."""
        metric, *labels = name.split()
        pairs = frozenset((label, value) for label, _, value in (pair.partition("=") for pair in labels))
        return self.samples[f"mapfs_{metric}", pairs]

    def total(self, name: str, **labels: str) -> float:
        """The sum of all samples that have these labels, and others."""
        wanted = labels.items()
        return sum(
            value for (metric, has), value in self.samples.items() if metric == f"mapfs_{name}" and wanted <= has
        )

    def counted(self) -> Samples:
        """What only events change."""
        return {
            key: value
            for key, value in self.samples.items()
            if key[0] in self.counters and not key[0].startswith("mapfs_process_")
        }


def read(daemon: Daemon) -> Scrape:
    """`.mapfs/metrics`."""
    return Scrape(Path(daemon.file(".mapfs/metrics")).read_text("utf-8"))


def url(daemon: Daemon) -> str:
    found = daemon.stats()["metrics"]
    assert isinstance(found, str)
    return found


def port(daemon: Daemon) -> int:
    return int(url(daemon).removesuffix("/metrics").rpartition(":")[2])


def fetch(daemon_url: str) -> Scrape:
    with urllib.request.urlopen(daemon_url, timeout=WITHIN) as answer:  # noqa: S310 -- http, as mapfs gave it
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return Scrape(answer.read().decode())


def ask(to: int, request: bytes) -> bytes:
    """All that is answered to `request`, up to the end."""
    with socket.create_connection(("127.0.0.1", to), WITHIN) as end:
        with contextlib.suppress(OSError):  # it may have heard enough before the end
            end.sendall(request)
        answer = b""
        while piece := end.recv(1 << 16):
            answer += piece
        return answer


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def listens(to: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", to), WITHIN).close()
    except ConnectionRefusedError:
        return False
    return True


def test_the_numbers_are_those_of_what_was_demanded(mount: Mounter, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(16 * PAGE_SIZE))
    daemon = mount("pages=pages:64p", f"data=file:{tmp_path / 'data'},rw", "--trace", str(tmp_path / "t.db"))
    before = read(daemon)
    assert before["requests_total op=read class=COLD"] == 0
    assert client("touch", daemon.file("pages"), "3-9")["numbers"] == list(range(3, 10))
    mapfs("drop", daemon.file("pages"), "3-5")
    client("touch", daemon.file("pages"), "3-10")
    mapfs("inject", daemon.file("pages"), "error=EIO@20", "error=ENOSPC@21:1x")
    for page in (20, 20, 21, 21):
        client("read", daemon.file("pages"), str(page * PAGE_SIZE), "1")
    with open(daemon.file("data"), "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), bytes(2 * PAGE_SIZE), PAGE_SIZE)
        os.fsync(file.fileno())
    wait_until(lambda: read(daemon)["open_handles"] == 0, "the release of all handles")
    after, stats = read(daemon), daemon.stats()
    events = daemon.events()

    assert after["requests_total op=read class=COLD"] == 9  # 3-9, 10, and 21 once it did not fail
    assert after["requests_total op=read class=REFAULT"] == 3
    errors = [event["error"] for event in events if event["error"]]  # the kernel asks once more, mostly
    assert after["requests_total op=read class=ERROR"] == len(errors)
    assert after["requests_total op=drop class=?"] == 1
    assert after["refaulted_pages_total op=read"] == 3
    assert after["request_errors_total op=read errno=EIO"] == errors.count("EIO") >= 2
    assert after["request_errors_total op=read errno=ENOSPC"] == 1
    assert after["request_pages_total op=read class=COLD"] == 9
    assert after["request_bytes_total op=read class=COLD"] == 9 * PAGE_SIZE
    assert after["request_pages_total op=drop class=?"] == 3
    assert after["request_bytes_total op=write class=WRITE"] == 2 * PAGE_SIZE
    waits = [event["wait_ns"] for event in events if event["op"] == "read"]
    assert len(waits) == 9 + 3 + len(errors)
    assert after["request_wait_seconds_count op=read"] == len(waits)
    assert after["request_wait_seconds_bucket op=read le=+Inf"] == len(waits)
    assert after["request_wait_seconds_sum op=read"] == pytest.approx(sum(waits) / 1e9)
    for bound, ns in (("1e-05", 10_000), ("0.0001", 100_000), ("60.0", 60 * 10**9)):
        assert after[f"request_wait_seconds_bucket op=read le={bound}"] == sum(wait <= ns for wait in waits)

    assert stats["requests"] == after.total("requests_total") == len(events)
    for cls, count in stats["classes"].items():
        assert after.total("requests_total", **{"class": cls}) == count
    assert stats["pages"] == after.total("request_pages_total", op="read")
    assert stats["bytes"] == after.total("request_bytes_total", op="read")
    assert stats["lost"] == after["lost_events_total"] == 0
    assert stats["files"] == after["known_files"]
    assert stats["threads"] == after["known_threads"]
    assert {dict(has)["sink"] for name, has in after.samples if name == "mapfs_sink_failed"} == {*stats["sinks"]}
    for name in ("open_handles", "watched_files", "waiting_demands"):
        assert stats["daemon"][name] == after[name] == 0
    assert after["pager_threads"] >= 1
    for process, pid in (("daemon", stats["daemon"]["pid"]), ("recorder", stats["recorder_pid"])):
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_SIZE
        assert after[f"process_resident_memory_bytes process={process}"] == pytest.approx(resident, rel=0.5)

    counted = before.counted()
    assert counted.keys() <= after.counted().keys()
    assert all(after.samples[key] >= value for key, value in counted.items())
    assert daemon.umount() == 0


@pytest.mark.parametrize("link", ["own", "plain"])
def test_http_says_what_the_file_says(mount: Mounter, link: str) -> None:
    daemon = mount("pages=pages:64p", "--metrics", "0", f"--link={link}")
    assert url(daemon).startswith("http://127.0.0.1:")
    client("touch", daemon.file("pages"), "0-6")
    by_http, by_file = fetch(url(daemon)), read(daemon)
    assert by_http.counted() == by_file.counted()
    assert by_http.samples.keys() == by_file.samples.keys()
    reads = [event for event in daemon.events() if event["op"] == "read"]
    assert by_http.total("requests_total", op="read") == len(reads) > 0
    assert by_http.total("request_pages_total", op="read") == sum(event["pages"] for event in reads)
    if link == "own":
        assert by_http["requests_total op=read class=COLD"] == 7
    assert by_http["daemon_up"] == 1
    wait_until(lambda: fetch(url(daemon))["open_handles"] == 0, "the release of the handle")
    with open(daemon.file("pages"), "rb"):
        assert fetch(url(daemon))["open_handles"] == 1
    client("touch", daemon.file("pages"), "0-63")
    later = fetch(url(daemon))
    assert all(later.samples[key] >= value for key, value in by_http.counted().items())
    assert later.total("request_pages_total", op="read") >= 64
    assert daemon.umount() == 0


def test_two_mounts_have_their_own_numbers(mount: Mounter) -> None:
    one = mount("pages=pages:8p", "--metrics", "127.0.0.1:0", at="one")
    two = mount("pages=pages:8p", "--metrics", ":0", at="two")
    client("touch", one.file("pages"), "0-2")
    client("touch", two.file("pages"), "0-4")
    assert [fetch(url(daemon))["requests_total op=read class=COLD"] for daemon in (one, two)] == [3, 5]
    assert port(one) != port(two)
    assert one.umount() == two.umount() == 0


def test_it_listens_where_it_is_told_and_nowhere_else(mount: Mounter, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 on this machine")
    daemon = mount("pages=pages:8p", "--metrics", "[::1]:0")
    assert url(daemon).startswith("http://[::1]:")
    assert fetch(url(daemon))["daemon_up"] == 1
    assert not listens(port(daemon))
    assert mount("pages=pages:8p", at="other").stats()["metrics"] is None


def test_what_is_no_scrape_is_refused(mount: Mounter) -> None:
    daemon = mount("pages=pages:8p", "--metrics", "0")
    to = port(daemon)
    for request, status in (
        (b"GET /metrics HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"GET http://host/metrics?x HTTP/1.1\r\nHost: host\r\n\r\n", b"200 OK"),
        (b"GET /metrics HTTP/1.1\nHost: x\n\n", b"200 OK"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"GET /metricsx HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"405 Method Not Allowed"),
        (b"GET /metrics HTTP/2.0\r\n\r\n", b"505 HTTP Version Not Supported"),
        (b"GET http://[/metrics HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"GET /metrics\r\n\r\n", b"400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000, b"431 Request Header Fields Too Large"),
        (b"x" * 1_000_000, b"431 Request Header Fields Too Large"),
    ):
        head, _, body = ask(to, request).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 " + status), request[:60]
        assert f"Content-Length: {len(body)}".encode() in head
        assert (b"mapfs_requests_total" in body) == (status == b"200 OK")
    assert b"Allow: GET, HEAD" in ask(to, b"PUT /metrics HTTP/1.1\r\n\r\n")
    head, _, body = ask(to, b"HEAD /metrics HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK") and body == b""
    openmetrics = ask(to, b"GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text; version=1.0.0\r\n\r\n")
    assert b"Content-Type: application/openmetrics-text" in openmetrics and openmetrics.endswith(b"# EOF\n")
    for bad in (b"\xff\xff", b"text/plain; version=x", b"application/openmetrics-text; version=\x01"):
        assert ask(to, b"GET /metrics HTTP/1.1\r\nAccept: " + bad + b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK")
    assert daemon.log == []
    assert daemon.umount() == 0


def test_bad_clients_keep_no_scrape_out_and_lose_no_event(mount: Mounter) -> None:
    daemon = mount("pages=pages:20000p", "-q", "--metrics", "0", wait=False).wait_mounted()
    to, ends = port(daemon), list[socket.socket]()
    recorder = daemon.stats()["recorder_pid"]
    before = sockets(recorder)
    stop = threading.Event()

    def hammer() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                ask(to, b"garbage " * 2000 + b"\r\n\r\n")
                ask(to, b"GET /metrics HTTP/1.1\r\n\r\n")

    hammers = [threading.Thread(target=hammer, daemon=True) for _ in range(3)]
    try:
        for number in range(60):  # more than it keeps
            end = socket.create_connection(("127.0.0.1", to), WITHIN)
            ends.append(end)
            end.sendall((b"", b"GET /met", b"GET /metrics HTTP/1.1\r\nHost: x\r\n", b"\r")[number % 4])
        for thread in hammers:
            thread.start()
        assert client("shuffled", daemon.file("pages"), "20000", "7")["wrong"] == []
        wait_until(lambda: fetch(url(daemon))["requests_total op=read class=COLD"] == 20000, "all that was demanded")
        seen = fetch(url(daemon))
        assert seen["lost_events_total"] == 0
        ended = 0
        for end in ends:
            end.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                try:
                    ended += end.recv(1) == b""
                except ConnectionResetError:
                    ended += 1
        assert ended >= 60 - 16  # the oldest had to go
    finally:
        stop.set()
        for thread in hammers:
            if thread.ident:
                thread.join(WITHIN)
        for end in ends:
            end.close()
    wait_until(lambda: sockets(recorder) == before, "the end of the connections")
    assert daemon.umount() == 0


def sockets(pid: int) -> int:
    """How many a process has open."""
    found = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found += os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")
    return found


def test_a_client_that_says_nothing_or_does_not_read_is_left_after_a_while(mount: Mounter) -> None:
    daemon = mount("pages=pages:8p", "--metrics", "0")
    with socket.create_connection(("127.0.0.1", port(daemon)), WITHIN) as end:
        assert end.recv(1) == b""
    recorder, before = daemon.stats()["recorder_pid"], sockets(daemon.stats()["recorder_pid"])
    with socket.create_connection(("127.0.0.1", port(daemon)), WITHIN) as end:
        end.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        wait_until(lambda: sockets(recorder) > before, "the connection")
        assert fetch(url(daemon))["daemon_up"] == 1
        wait_until(lambda: sockets(recorder) == before, "its end")
    assert daemon.umount() == 0


def test_the_endpoint_ends_with_the_mount_and_with_the_daemon(mount: Mounter) -> None:
    first = mount("pages=pages:8p", "--metrics", "0")
    to = port(first)
    fetch(url(first))  # leaves a connection in TIME_WAIT
    assert first.umount() == 0
    assert not listens(to)
    second = mount("pages=pages:8p", "--metrics", str(to))
    assert port(second) == to
    recorder = second.stats()["recorder_pid"]
    with socket.create_connection(("127.0.0.1", to), WITHIN) as waiting:
        second.process.send_signal(signal.SIGKILL)
        assert second.wait_end() == -signal.SIGKILL
        wait_until(lambda: not os.path.exists(f"/proc/{recorder}"), "the end of the recorder")
        with contextlib.suppress(ConnectionResetError):
            assert waiting.recv(1) == b""
    assert not listens(to)
    mapfs("umount", second.path)


def test_a_daemon_that_was_stopped_is_told_to_be_down(mount: Mounter) -> None:
    daemon = mount("pages=pages:8p", "--metrics", "0")
    where = url(daemon)
    client("touch", daemon.file("pages"), "0-3")
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        stopped = fetch(where)
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    assert stopped["daemon_up"] == 0
    assert stopped["requests_total op=read class=COLD"] == 4
    assert not any(name == "mapfs_pager_threads" for name, _ in stopped.samples)
    again = fetch(where)
    assert again["daemon_up"] == 1
    assert again["pager_threads"] >= 1
    assert daemon.umount() == 0


def test_a_reader_that_does_not_read_stops_nothing(mount: Mounter) -> None:
    daemon = mount("pages=pages:64p")
    code = """
        import os, sys
        fd = os.open(sys.argv[1], os.O_RDONLY)
        print("open", flush=True)
        input()
        print(len(os.read(fd, 100)), flush=True)
        input()
        print(sum(len(piece) for piece in iter(lambda: os.read(fd, 4096), b"")), flush=True)
    """
    with Client(code, daemon.file(".mapfs/metrics")) as reader:
        assert reader.ask() == "open"
        client("touch", daemon.file("pages"), "0-63")
        assert read(daemon)["requests_total op=read class=COLD"] == 64
        assert reader.ask() == "100"
        assert int(reader.ask()) > 5000
    assert daemon.umount() == 0


def test_the_file_is_read_past_the_page_cache_and_not_written(mount: Mounter) -> None:
    daemon = mount("pages=pages:8p")
    path = daemon.file(".mapfs/metrics")
    status = os.stat(path)
    assert (status.st_size, status.st_mode & 0o777) == (0, 0o444)
    with pytest.raises(OSError), open(path, "wb"):
        pass
    read(daemon)
    assert read(daemon).total("requests_total") == 0
    assert daemon.umount() == 0


def test_a_port_that_is_taken_fails_before_anything_is_mounted(tmp_path: Path, taken: int) -> None:
    mnt, trace = str(tmp_path / "mnt"), str(tmp_path / "t.db")
    sentence = f"cannot serve metrics at 127.0.0.1:{taken}: Address already in use; give --metrics another"
    for more in ([], ["--daemon"], ["--link=plain"]):
        refused(1, sentence, "mount", mnt, "a=zero:4K", "--metrics", str(taken), "--trace", trace, *more)
    refused(1, "cannot serve metrics at 192.0.2.1:0: Cannot assign", "mount", mnt, "a=zero:4K", "--metrics=192.0.2.1:0")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("text", ["x", "65536", "localhost:9464", "::1:9464", "127.0.0.1", ""])
def test_a_malformed_address_is_a_usage_error(tmp_path: Path, text: str) -> None:
    refused(2, repr(text), "mount", str(tmp_path / "mnt"), "a=zero:4K", "--metrics", text)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("written", ["0", "'127.0.0.1:0'"])
def test_it_is_a_key_of_the_toml_file(mount: Mounter, tmp_path: Path, written: str) -> None:
    (tmp_path / "mapfs.toml").write_text(f"metrics = {written}\n[files]\na = 'pages:4p'\n")
    daemon = mount("-c", str(tmp_path / "mapfs.toml"))
    client("touch", daemon.file("a"), "0-1")
    assert fetch(url(daemon))["requests_total op=read class=COLD"] == 2
    assert daemon.umount() == 0
