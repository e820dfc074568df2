"""Processes of the benchmark: each wait has a bound, and a signal never comes between making and unmaking.

Ctrl-C, SIGTERM and SIGHUP are only noted; `check` raises KeyboardInterrupt for them, and is called where
stopping is harmless. So what was mounted is unmounted, however impatient the person is.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_GRACE = 5.0  # seconds in which a killed process has to be gone
_LOOK = 0.2  # seconds between two looks for a signal
_noted: list[int] = []

Result = TypeVar("Result")


class BenchError(Exception):
    """The benchmark cannot go on, or found something untrue; the message is one sentence."""


def note_signals() -> None:
    """From here on signals wait for `check`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: _noted.append(number))


def check() -> None:
    """Raises KeyboardInterrupt if a signal came."""
    if _noted:
        raise KeyboardInterrupt


def run(args: list[str], within: float, *, what: str, interruptible: bool = False) -> str:
    """Runs a program to its end; its standard output. Raises BenchError where it fails or takes too long.

    In a session of its own, so that the Ctrl-C of a terminal reaches this process alone.
    """
    process = subprocess.Popen(
        args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        errors="replace", start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + within
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                out, err = process.communicate(timeout=max(0.0, min(_LOOK, end - time.monotonic())))
                break
            if interruptible:
                check()
            if time.monotonic() > end:
                raise BenchError(f"{what} did not end within {within:.0f} s")
    finally:
        _end(process)
    if process.returncode:
        raise BenchError(f"{what} ended with {process.returncode}: {err.strip() or 'it gave no reason'}")
    return out


def _end(process: subprocess.Popen[str]) -> None:
    """Kills it if it still runs; one that waits for a dead mount goes when that mount is destroyed."""
    if process.poll() is None:
        _kill_children(process.pid)
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()


def family(pid: int) -> list[int]:
    """The process and its children (proc_pid_task_tid_children(5))."""
    try:
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    except OSError:
        return [pid]


def _kill_children(pid: int) -> None:
    """A daemon that was forked and has not answered yet (proc_pid_task_tid_children(5))."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as children:
        for child in children.read().split():
            kill(int(child))


def kill(pid: int) -> None:
    """SIGKILL, if it is there."""
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)


def bounded(call: Callable[[], Result], within: float, *, what: str) -> Result:
    """`call()`, which may hang in the kernel, on a thread that is left behind if it does."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(within)
    if errors:
        raise BenchError(f"{what}: {errors[0]}") from errors[0]
    if not results:
        raise BenchError(f"{what} did not answer within {within:.0f} s")
    return results[0]
