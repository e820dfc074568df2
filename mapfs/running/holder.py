"""What the program writes to its terminal while a view has that: held back, and passed on from then on.

The program writes into a pipe, and a process reads it: into a file without a name, until it is told to show that, and
then to the terminal, as it comes. It is a pipe and no file, since whoever opens /dev/stderr anew would cut a file off.
It goes on for those whom the program leaves behind, and ends when nobody can write into the pipe any more.
"""

import contextlib
import fcntl
import io
import os
import select
import socket
import sys
import tempfile
import termios

from mapfs.errors import reason_of
from mapfs.running.descriptors import keep_only

_SHOW, _SETTLE = b"s", b"t"
_PIECE = 1 << 16
_CONTROL, _PIPE, _TERMINAL, _VIEW = 3, 4, 5, 6
_VIEW_ENDS_WITHIN = 5.0  # seconds, once the run has ended without a word


class Holder:
    """Holds back what is written into `pipe`, for the terminal `tty`."""

    def __init__(self, tty: int, view: int) -> None:
        """`view` is a descriptor of the process that has the terminal."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours, self.pipe = os.pipe()
        pid = os.fork()
        if not pid:
            _hold(theirs.fileno(), ours, tty, view)
        theirs.close()
        os.close(ours)

    def show(self) -> None:
        """From here on everything is shown, first what was held; this process writes no more into the pipe."""
        os.close(self.pipe)
        self._ask(_SHOW)

    def settle(self) -> None:
        """Waits until all that was written up to now is shown."""
        self._ask(_SETTLE)

    def _ask(self, what: bytes) -> None:
        with contextlib.suppress(OSError):  # somebody killed it
            self._control.send(what)
            self._control.recv(1)


def _hold(control: int, pipe: int, tty: int, view: int) -> None:
    """The life of the process; never returns. The signals of the terminal are blocked in it, as where it was forked."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        keep_only((null, null, null), (control, pipe, tty, view))
        _Passing().run()
    finally:
        os._exit(0)


class _Passing:
    """From the pipe into a file, and from the file and the pipe to the terminal."""

    def __init__(self) -> None:
        self._lost = 0  # bytes for which there was no room
        self._why = ""
        self._shown = False
        self._file = _unnamed()
        self._poll = select.poll()
        for fd in (_CONTROL, _PIPE):
            self._poll.register(fd, select.POLLIN)
        self._open = {_CONTROL, _PIPE}

    def run(self) -> None:
        """Until nobody asks, nor writes, any more."""
        while self._open:
            for fd, _ in self._poll.poll():
                if fd == _PIPE:
                    self._take()
                else:
                    self._answer()
                    break  # that took what was in the pipe, so that a read of it might wait

    def _take(self) -> int:
        """What is in the pipe; how many bytes."""
        data = os.read(_PIPE, _PIECE)
        if not data:
            self._forget(_PIPE)
        elif self._shown:
            _write(data)
        else:
            self._keep(data)
        return len(data)

    def _keep(self, data: bytes) -> None:
        try:
            kept = self._file.write(data)
        except OSError as error:
            kept, self._why = 0, reason_of(error)
        self._lost += len(data) - (kept or 0)

    def _answer(self) -> None:
        asked = os.read(_CONTROL, 1)
        if not asked:
            self._forget(_CONTROL)
        if not asked and not self._shown:  # the run was killed, and its view ends by that
            select.select([_VIEW], [], [], _VIEW_ENDS_WITHIN)
        if asked != _SETTLE and not self._shown:
            self._show()
        if asked:
            left = int.from_bytes(fcntl.ioctl(_PIPE, termios.FIONREAD, bytes(4)), sys.byteorder)
            while left > 0 and _PIPE in self._open:  # no more: who writes without an end is not waited for
                left -= self._take()
            with contextlib.suppress(OSError):
                os.write(_CONTROL, asked)

    def _show(self) -> None:
        self._shown = True
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            _write(piece)
        self._file.close()
        if self._lost:
            _write(f"\nmapfs: {self._lost:,} bytes of the output could not be held back: {self._why}\n".encode())

    def _forget(self, fd: int) -> None:
        self._poll.unregister(fd)
        self._open.remove(fd)


def _unnamed() -> io.FileIO:
    """A file that goes with its descriptor; where no directory has room for one, in memory."""
    try:
        return tempfile.TemporaryFile(buffering=0)
    except OSError:
        return io.FileIO(os.memfd_create("mapfs-held", os.MFD_CLOEXEC), "r+")


def _write(data: bytes) -> None:
    """To the terminal. One that was closed keeps nobody from writing on."""
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(_TERMINAL, data) :]
