"""The program itself: started in the namespace, in this process's own group, so that the terminal's keys, and its
foreground, are the program's. This process waits, and does nothing that the program would not do:

- a key's signal (Ctrl-C) goes to the whole group: this process lets it pass, the program decides what it means;
- a signal that somebody sends to this process is sent on to the program;
- when the program stops (Ctrl-Z), this process stops too, and the shell sees that; both go on together;
- a program that a signal killed is reported by dying of the same signal (`die_of`).
"""

import contextlib
import errno
import os
import resource
import signal
import time
from dataclasses import dataclass

from mapfs.errors import ProgramError
from mapfs.running.namespace import Namespace
from mapfs.running.screen import Screen

_SENT_ON = {
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
    signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT, signal.SIGWINCH,
}  # fmt: skip
_WAITED_FOR = _SENT_ON | {signal.SIGCHLD}
_ENDS = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}
_SI_KERNEL = 0x80  # sigaction(2): the terminal's keys; what a process sends is 0 or negative
_SHELL = "/bin/sh"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. Times are CLOCK_MONOTONIC; `status` as wait(2) gives it."""

    started_ns: int
    ended_ns: int
    status: int

    @property
    def signal(self) -> int | None:
        """What killed it, if it was killed."""
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else None

    @property
    def exit_code(self) -> int:
        """As a shell has it: 128 and the signal's number where it was killed."""
        return os.waitstatus_to_exitcode(self.status) if self.signal is None else 128 + self.signal


class Signals:
    """While the block runs, signals to this process wait until they are asked for."""

    def __enter__(self) -> "Signals":
        self._ends = {number for number in _ENDS if signal.getsignal(number) is not signal.SIG_IGN}
        self._child = signal.getsignal(signal.SIGCHLD)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever ignores it gets no status of a child
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGCHLD, self._child if self._child is not None else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def restore(self) -> None:
        """In a child: everything as this process was given it, and what Python ignores as it is by default."""
        signal.signal(signal.SIGCHLD, self._child if self._child is not None else signal.SIG_DFL)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def child_or_end(self, within: float | None) -> bool:
        """Waits for a child's end (False), at most `within` seconds, or for a signal to end (True)."""
        wanted = self._ends | {signal.SIGCHLD}
        got = signal.sigwaitinfo(wanted) if within is None else signal.sigtimedwait(wanted, within)
        return got is not None and got.si_signo in self._ends

    def end(self) -> int | None:
        """A signal to end that came while no program ran."""
        got = signal.sigtimedwait(self._ends, 0)
        return got.si_signo if got is not None else None


def run(
    path: str, argv: tuple[str, ...], namespace: Namespace, signals: Signals, screen: Screen | None = None
) -> Ended:
    """Runs the program at `path` to its end, with a view on `screen` beside it, if there is one. Raises ProgramError
    where it cannot be started.
    """
    directory = _directory()
    ours, theirs = os.pipe()
    started = time.monotonic_ns()
    pid = os.fork()
    if not pid:
        _execute(path, argv, namespace, signals, directory, theirs)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        failed = pipe.read()  # ends when the program is executed, or could not be
    if failed:
        os.waitpid(pid, 0)
        raise _not_started(path, int(failed))
    status = _wait(pid, screen)
    while signal.sigtimedwait(_SENT_ON, 0) is not None:
        pass  # the key that ended the program was not meant for what comes after it
    return Ended(started, time.monotonic_ns(), status)


def die_of(number: int) -> None:
    """Ends this process by the signal, as the program ended; without a second core dump. May return where the signal
    does not kill.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)


def _directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def _execute(
    path: str, argv: tuple[str, ...], namespace: Namespace, signals: Signals, directory: str | None, answer: int
) -> None:
    """The child's life up to the program. Nothing is imported: /usr is behind the mount once it entered."""
    try:
        namespace.enter(directory)
        signals.restore()
        try:
            os.execv(path, argv)  # noqa: S606 -- the program is what was asked for
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # a script without its first line, as execvp(3) has it
            os.execv(_SHELL, (_SHELL, path, *argv[1:]))  # noqa: S606 -- likewise
    except OSError as error:
        os.write(answer, str(error.errno).encode())
    finally:
        os._exit(ProgramError.NOT_EXECUTABLE)


def _not_started(path: str, number: int) -> ProgramError:
    code = ProgramError.NOT_FOUND if number == errno.ENOENT else ProgramError.NOT_EXECUTABLE
    remedy = "its interpreter may be missing" if number == errno.ENOENT else "check that it can run without mapfs"
    return ProgramError(f"cannot run {path}: {os.strerror(number)}; {remedy}", code)


def _wait(pid: int, screen: Screen | None) -> int:
    """Until the program has ended: its status."""
    while True:
        if screen is not None:
            screen.attend()
        done, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if done and os.WIFSTOPPED(status):
            if screen is not None and screen.taken:
                continue  # not by a key, which the view has; whoever stopped it lets it go on
            os.kill(os.getpid(), signal.SIGSTOP)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)  # somebody let this process go on, perhaps it alone
            continue
        if done:
            return status
        got = signal.sigwaitinfo(_WAITED_FOR)
        if screen is not None:
            screen.attend(got.si_signo)
        if got.si_signo in _SENT_ON and got.si_code < _SI_KERNEL and got.si_pid != pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, got.si_signo)
