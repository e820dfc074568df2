"""The terminal of a run while a view has it.

The view is a process of this one's group, in the terminal's foreground, and ends with this one. Until somebody closes
it, the keys are the view's, and not the program's: what the program, and this process, write to the terminal is held
back (`holder`), and where the program would read from the terminal there is nothing. What is redirected is left as it
is. Closed, or killed, the view leaves the terminal as it was found, and the program goes on.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import termios
from collections.abc import Callable
from typing import TYPE_CHECKING

from mapfs.errors import MapfsError, UsageError, reason_of
from mapfs.running.descriptors import keep_only
from mapfs.running.holder import Holder

if TYPE_CHECKING:
    from mapfs.running.program import Signals

#: Shows the view until somebody closes it, and calls what it is given once it is on the screen.
Show = Callable[[Callable[[], None]], None]

_CLOSING = {signal.SIGTERM, signal.SIGHUP}
_ENDED_WELL = {0, *(128 + number for number in _CLOSING)}
_UP = b"\0"
_ANSWER = 3
_NICE = 5  # the program comes first
_UP_WITHIN, _DOWN_WITHIN = 30.0, 5.0  # seconds
_MOST_TOLD = 4096  # bytes of a sentence
_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None)
#: Keyboard protocol, mouse, focus and paste as they are by default, the screen before the view, its lines and cursor
#: (xterm's ctlseqs; sw.kovidgoyal.net/kitty/keyboard-protocol).
_AS_BEFORE = b"\x1b[<u\x1b[?1000;1002;1003;1004;1006;1015;1016;2004;2048l\x1b[?1049l\x1b[?7;25h\x1b[0m\r"


class Screen:
    """Raises UsageError where this process has no terminal, or is not in its foreground."""

    def __init__(self) -> None:
        try:
            self._tty = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise UsageError(
                "--live needs a terminal; without one keep the trace with -o TRACE, and see mapfs live TRACE"
            ) from error
        if os.tcgetpgrp(self._tty) != os.getpgrp():
            os.close(self._tty)
            raise UsageError("--live needs the terminal, where something else runs; start it in the foreground")
        self._modes = termios.tcgetattr(self._tty)
        self._view: int | None = None
        self._answer = -1
        self._holder: Holder | None = None
        self._own: dict[int, int] = {}  # this process's standard descriptors that are the terminal: copies of them

    @property
    def taken(self) -> bool:
        """Whether a view has the terminal."""
        return self._view is not None

    def open(self, show: Show, signals: "Signals") -> None:
        """Gives it to a view, and waits until that is on the screen. Raises MapfsError where it does not come up."""
        self._answer, theirs = os.pipe()
        pid = os.fork()
        if not pid:
            _view(show, signals, self._tty, theirs, os.getppid())
        os.close(theirs)
        self._view = pid
        came = select.select([self._answer], [], [], _UP_WITHIN)[0]
        first = os.read(self._answer, 1) if came else b""
        if first != _UP:
            if not came:
                os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            raise MapfsError(f"the view does not come up: {self._left(first, status) or 'it was closed'}")
        view = os.pidfd_open(pid)
        self._take(view)
        os.close(view)

    def _take(self, view: int) -> None:
        """Puts something else in the place of the terminal, for this process and those that it starts."""
        mine = [fd for fd in range(3) if _is_terminal(fd)]
        self._own = {fd: os.dup(fd) for fd in mine}
        if 0 in mine:
            _replace(0, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        if mine and mine[-1]:
            self._holder = Holder(self._tty, view)
            for fd in mine:
                if fd:
                    os.dup2(self._holder.pipe, fd)

    def attend(self, number: int | None = None) -> None:
        """Looks whether the view was closed; closes it where the signal `number` came, and ends a run."""
        if self._view is None:
            return
        if number in _CLOSING:
            self.close()
            return
        done, status = os.waitpid(self._view, os.WNOHANG)
        if done:
            self._give_back(status)

    def wait(self, signals: "Signals") -> None:
        """Until the view is closed: by somebody, or by a signal to this process."""
        self.attend()
        while self.taken:
            if signals.child_or_end(None):
                self.close()
            self.attend()
        self.settle()

    def settle(self) -> None:
        """Everything that was written to the terminal up to now is on it, unless a view has it."""
        if self._holder is not None and not self.taken:
            self._holder.settle()

    def close(self) -> None:
        """Closes the view, if it is open."""
        if self._view is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._view, signal.SIGTERM)
            view = os.pidfd_open(self._view)
            if not select.select([view], [], [], _DOWN_WITHIN)[0]:
                os.kill(self._view, signal.SIGKILL)  # its terminal may be gone, or stopped
            os.close(view)
        _, status = os.waitpid(self._view, 0)
        self._give_back(status)

    def _give_back(self, status: int) -> None:
        """The view has ended: the terminal is this process's again, and the program's."""
        why = self._left(b"", status)
        for fd, copy in self._own.items():
            _replace(fd, copy)
        self._own = {}
        if self._holder is not None:
            self._holder.show()
        if why is not None:
            self.settle()
            with contextlib.suppress(OSError):
                os.write(2, f"mapfs: the view ended: {why}\n".encode(errors="backslashreplace"))

    def _left(self, first: bytes, status: int) -> str | None:
        """Why the view ended, unless somebody closed it; what it left of the terminal is put in order then."""
        self._view = None
        with os.fdopen(self._answer, "rb") as pipe:
            said = (first + pipe.read(_MOST_TOLD)).decode("utf-8", "replace")
        code = os.waitstatus_to_exitcode(status)
        if code in _ENDED_WELL and not said:
            return None
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(self._tty, termios.TCSADRAIN, self._modes)
            os.write(self._tty, _AS_BEFORE)
        return said or (signal.strsignal(-code) if code < 0 else None) or f"exit code {code}"


def _view(show: Show, signals: "Signals", tty: int, answer: int, run: int) -> None:
    """The life of the view; never returns."""
    code = 1
    try:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == run:
            keep_only((tty, tty, tty), (answer,))
            signals.restore()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})  # it is the program that is stopped
            os.nice(_NICE)
            _open_streams()
            show(lambda: _tell(_UP))
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except KeyboardInterrupt:  # before the keys were the view's
        code = 0
    except BaseException as error:
        _tell(reason_of(error).encode(errors="backslashreplace"))
    finally:
        os._exit(code)


def _open_streams() -> None:
    """Those of Python, which may have been other files, or none."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        mode = "w" if fd else "r"
        stream = open(fd, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 -- for good
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _tell(what: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(_ANSWER, what)


def _is_terminal(fd: int) -> bool:
    """Whether it is the terminal of this process, and no other."""
    try:
        os.tcgetpgrp(fd)
    except OSError:
        return False
    return True


def _replace(fd: int, by: int) -> None:
    """Makes `fd` what `by` is, which is closed."""
    os.dup2(by, fd)
    os.close(by)
