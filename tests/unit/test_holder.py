"""What a program writes is held back while a view has the terminal, and passed on from then on."""

import contextlib
import os
import select
import signal
from pathlib import Path

from mapfs.running.holder import Holder
from tests.support import WITHIN


def children() -> set[int]:
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def answered(holder: Holder) -> bytes:
    """What it says, within a bound."""
    assert select.select([holder._control], [], [], WITHIN)[0], "it does not answer"
    return holder._control.recv(1)


def test_who_writes_no_more_and_stays_does_not_keep_it_from_answering() -> None:
    """Output comes with the question, and whoever wrote it keeps the pipe open: a read of it would wait."""
    shown, tty = os.pipe()
    view = os.open(os.devnull, os.O_RDONLY)
    before = children()
    holder = Holder(tty, view)
    (process,) = children() - before
    try:
        os.kill(process, signal.SIGSTOP)
        os.waitid(os.P_PID, process, os.WSTOPPED)
        os.write(holder.pipe, b"held")
        holder._control.send(b"s")
        os.kill(process, signal.SIGCONT)
        assert answered(holder) == b"s"
        assert os.read(shown, 100) == b"held"
        holder._control.send(b"t")
        assert answered(holder) == b"t"
        os.close(holder.pipe)
        holder._control.close()
        os.waitpid(process, 0)
        process = 0
    finally:
        if process:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        for fd in (shown, tty, view):
            with contextlib.suppress(OSError):
                os.close(fd)
