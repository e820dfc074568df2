"""Waiting for the end of a mount: as long as its trace is being written, and no longer."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapfs.fuse.finishing import await_end
from tests.support import WITHIN

_WITHOUT_PROGRESS = 1.0  # seconds


@pytest.fixture
def process() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """One that ends once its standard input is closed, and its descriptor."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:
        pidfd = os.pidfd_open(child.pid)
        yield child, pidfd
        child.kill()
        os.close(pidfd)


def test_it_ends_with_the_process(process: tuple[subprocess.Popen[bytes], int]) -> None:
    child, pidfd = process
    assert child.stdin
    child.stdin.close()
    assert await_end(pidfd, None, WITHIN)


def test_it_gives_up_where_nothing_is_written(process: tuple[subprocess.Popen[bytes], int], tmp_path: Path) -> None:
    (tmp_path / "t.db").write_bytes(b"x")
    assert not await_end(process[1], str(tmp_path / "t.db"), _WITHOUT_PROGRESS)
    assert not await_end(process[1], str(tmp_path / "none.db"), 0)


def test_it_waits_as_long_as_the_trace_grows_and_tells(
    process: tuple[subprocess.Popen[bytes], int], tmp_path: Path
) -> None:
    child, pidfd = process
    trace, told, stop = tmp_path / "t.db", list[str](), threading.Event()

    def write() -> None:
        """For longer than it would wait without; then the process ends."""
        with open(f"{trace}-wal", "ab", buffering=0) as file:
            for _ in range(40):
                file.write(b"x" * (1 << 18))
                if stop.wait(_WITHOUT_PROGRESS / 10):
                    break
        assert child.stdin
        child.stdin.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert await_end(pidfd, str(trace), _WITHOUT_PROGRESS, told.append)
    finally:
        stop.set()
        writer.join(WITHIN)
    assert told
    assert all(line.startswith(f"the trace {trace} is being finished: ") for line in told)
