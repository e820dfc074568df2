"""How long a pager asks for the next request, and when it sleeps."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapfs.errors import MountError
from mapfs.fuse import idling
from mapfs.fuse.idling import AUTO, Idling, Latency
from tests.mount.test_places import needs_root
from tests.support import wait_until

HERE = os.getpid()  # a thread that runs where this one does: it is this one


@pytest.fixture
def device() -> Iterator[int]:
    """Something that can be read."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        yield ours.fileno()


@pytest.fixture
def there() -> Iterator[int]:
    """A thread on another CPU than this one, which stays where it is meanwhile."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("takes two CPUs")
    with subprocess.Popen(["taskset", "-c", str(cpus[1]), "cat"], stdin=subprocess.PIPE) as child:
        assert child.stdin
        child.stdin.write(b"x")
        wait_until(lambda: Path(f"/proc/{child.pid}/comm").read_text() == "cat\n", "taskset does not begin")
        os.sched_setaffinity(0, {cpus[0]})
        try:
            yield child.pid
        finally:
            os.sched_setaffinity(0, cpus)


def silent(one: Idling) -> None:
    """The device is empty for as long as it takes."""
    one.since = 1
    one.look()


def test_who_looked_in_vain_waits_until_a_client_elsewhere_is_quick(device: int, there: int) -> None:
    one = Idling(device, AUTO, low_latency=False)
    assert not os.get_blocking(device), "it looks at first"
    one.look()
    assert one.since and not os.get_blocking(device), "and goes on for a while"
    silent(one)
    assert os.get_blocking(device)
    one.judge(there)
    assert not os.get_blocking(device)


def test_a_client_on_the_same_cpu_is_waited_for(device: int, there: int) -> None:
    one = Idling(device, AUTO, low_latency=False)
    one.judge(HERE)
    assert os.get_blocking(device)
    one.judge(there)
    assert os.get_blocking(device), "it was looked a moment ago"
    one.judge(there)
    assert not os.get_blocking(device)


def test_a_client_that_is_gone_is_not_waited_for_without_a_look(device: int) -> None:
    one = Idling(device, AUTO, low_latency=False)
    one.judge(1 << 30)
    assert not os.get_blocking(device)


def test_without_a_look_the_device_is_waited_for(device: int) -> None:
    one = Idling(device, 0, low_latency=False)
    one.judge(1 << 30)
    assert os.get_blocking(device)


def test_a_time_that_was_chosen_stays(device: int) -> None:
    one = Idling(device, 5_000, low_latency=False)
    silent(one)
    one.judge(HERE)
    assert not os.get_blocking(device)


def test_libfuse_is_given_time_without_a_look(device: int) -> None:
    one = Idling(device, AUTO, low_latency=False)
    one.rest()
    assert os.read(device, 1) == b"x", "returns when there is a request, and takes none"
    assert not os.get_blocking(device), "and goes on as before"


@needs_root
def test_the_cpus_are_kept_awake_as_long_as_requests_come(device: int) -> None:
    one = Idling(device, AUTO, low_latency=True)
    assert not holders()
    silent(one)
    silent(one)
    assert holders() == 1
    assert one._latency
    one._latency.release()
    assert not holders()


def holders() -> int:
    """Descriptors of this process that keep the CPUs awake."""
    return sum(os.path.realpath(f"/proc/self/fd/{fd}") == "/dev/cpu_dma_latency" for fd in os.listdir("/proc/self/fd"))


def test_what_cannot_be_held_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idling, "_LATENCY", "/nonexistent/latency")
    with pytest.raises(MountError, match="cannot write /nonexistent/latency: .*; it is for root, or leave it out"):
        Latency()
