"""Asking a mount in bounded time. Whoever asks one whose daemon hangs waits in the kernel, where no signal may reach
it (fuse(4)); so a child asks, and one that never returns is left to end when the mount does.
"""

import os
import select
import signal
from collections.abc import Callable


def outcome(question: Callable[[], object], within: float) -> int | None:
    """0 where `question()` returns, the errno of the OSError that it raises; None where neither comes within `within`
    seconds. This process may have one thread only.
    """
    child = os.fork()
    if not child:
        code = 255
        try:
            question()
            code = 0
        except OSError as error:
            code = error.errno or code
        finally:
            os._exit(code)
    descriptor = os.pidfd_open(child)
    try:
        if select.select([descriptor], [], [], within)[0]:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.kill(child, signal.SIGKILL)
        return None
    finally:
        os.close(descriptor)
