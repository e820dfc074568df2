"""A loop of trio whose task for the calls of other threads failed: it ends all the same."""

import signal
import subprocess
import sys

import pytest
import trio

from mapfs.fuse import eventloop
from tests.support import WITHIN

#: A process of its own, as its trio is of no use afterwards.
CODE = """
import signal, sys, time
import trio
from mapfs.errors import MountError
from mapfs.fuse import eventloop

def no_memory():
    raise MemoryError

async def serve():
    token = trio.lowlevel.current_trio_token()
    token._reentry_queue.wakeup.drain = no_memory
    token.run_sync_soon(print)
    if sys.argv[1] == "thread":  # it cannot be cancelled, and its end is told by such a call
        await trio.to_thread.run_sync(time.sleep, 0)
    await trio.sleep_forever()

eventloop._PATIENCE = 0.05
before = signal.getsignal(signal.SIGALRM)
try:
    eventloop.run(serve, [])
except MountError as error:
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    print(error)
"""


@pytest.mark.parametrize("what", ["task", "thread"])
def test_a_loop_that_can_do_no_more_ends(what: str) -> None:
    command = [sys.executable, "-X", "dev", "-c", CODE, what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN)
    assert (done.returncode, done.stderr) == (0, "")
    assert "its loop failed" in done.stdout


def test_the_first_of_a_group_is_raised() -> None:
    async def serve() -> None:
        async with trio.open_nursery():
            raise KeyError("x")

    with pytest.raises(KeyError):
        eventloop.run(serve, [])
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_regular_end_is_no_failure() -> None:
    eventloop.run(trio.lowlevel.checkpoint, [])
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
