"""trio's loop, which ends also where it can do no more.

What other threads want of trio is done by a task of its own. Where that task fails, for lack of memory (to read a byte
it takes 64 KiB), `trio.run` cancels all others, and then waits for what that task would do: for ever.
"""

import ctypes
import signal
from collections.abc import Awaitable, Callable, Sequence

import trio

from mapfs.errors import MountError, first

_CALLS = "<TrioToken.run_sync_soon task>"  # trio's name for it
_PATIENCE = 3.0  # seconds that the others have, once it is gone; in a regular end it is the last to go


class _Stuck(BaseException):
    """Nothing of this loop will ever happen."""


class _Watch(trio.abc.Instrument):
    def task_exited(self, task: trio.lowlevel.Task) -> None:
        if task.name == _CALLS:
            signal.setitimer(signal.ITIMER_REAL, _PATIENCE, _PATIENCE)  # needs no memory, and no thread


def run(serve: Callable[[], Awaitable[object]], instruments: Sequence[trio.abc.Instrument]) -> None:
    """Runs `serve` in a `trio.run` of the main thread, whose SIGALRM it takes. Raises what ended it: the first of a
    group, MountError where trio itself failed.
    """
    before = signal.signal(signal.SIGALRM, _give_up)
    try:
        trio.run(serve, instruments=[*instruments, _Watch()])
    except ExceptionGroup as error:
        raise first(error) from error
    except (trio.TrioInternalError, _Stuck) as error:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(error))  # tasks that are left must not be finalized: they complain
        raise MountError("the mount ended: its loop failed, as where there is no memory (ulimit -v, cgroup)") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _give_up(*_: object) -> None:
    raise _Stuck
