"""Asking mounts in bounded time. Whoever asks one whose daemon hangs waits in the kernel, where no signal may reach
it (fuse(4)); so children ask, and one that never returns is left to end when its mount does.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Sequence


def outcomes(questions: Sequence[Callable[[], object]], within: float) -> list[int | None]:
    """Of each question, all asked at once: 0 where it returns, the errno of the OSError that it raises; None where
    neither comes within `within` seconds. This process may have one thread only.
    """
    end = time.monotonic() + within
    children = [_ask(question) for question in questions]
    return [_outcome(child, end) for child in children]


def _ask(question: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return child
    code = 255
    try:
        os.closerange(0, os.sysconf("SC_OPEN_MAX"))  # whoever reads from this process is not to wait for the child
        question()
        code = 0
    except OSError as error:
        code = error.errno or code
    finally:
        os._exit(code)


def _outcome(child: int, end: float) -> int | None:
    descriptor = os.pidfd_open(child)
    try:
        if select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.kill(child, signal.SIGKILL)
        return None
    finally:
        os.close(descriptor)
