"""How long a pager asks for the next request, and when it sleeps."""

import os
import socket
import time
from collections.abc import Iterator

import pytest

from mapfs.errors import MountError
from mapfs.fuse import idling
from mapfs.fuse.idling import AUTO, Idling, Latency
from tests.mount.test_places import needs_root

LONG_AGO = 0


@pytest.fixture
def device() -> Iterator[int]:
    """Something that can be read."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        yield ours.fileno()


def test_who_waited_in_vain_asks_no_more_until_a_request_comes_soon(device: int) -> None:
    one = Idling(device, AUTO, low_latency=False)
    assert one.spin > 0
    one.sleep(LONG_AGO)
    assert one.spin == 0
    one.sleep(time.monotonic_ns() + 10**9)  # an answer a moment ago, however slow this machine is
    assert one.spin > 0


@pytest.mark.parametrize("spin", [0, 5_000])
def test_a_time_that_was_chosen_stays(device: int, spin: int) -> None:
    one = Idling(device, spin, low_latency=False)
    one.sleep(LONG_AGO)
    one.sleep(time.monotonic_ns() + 10**9)
    assert one.spin == spin


@needs_root
def test_the_cpus_are_kept_awake_as_long_as_requests_come(device: int) -> None:
    one = Idling(device, AUTO, low_latency=True)
    assert not holders()
    one.sleep(LONG_AGO)
    one.sleep(LONG_AGO)
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
