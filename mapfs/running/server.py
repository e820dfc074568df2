"""The daemon of a run: a process of its own, in a session of its own, which no key of the terminal reaches.

It is forked, mounts on a directory that only this user can enter, and answers. Once the namespace of the program has
the mount, its name is taken away here (`detach`); it goes on until the namespace ends, and then ends by itself.
"""

import contextlib
import os
import select
import shutil
import signal
import tempfile
from dataclasses import replace

from mapfs.errors import MapfsError, MountError, UsageError
from mapfs.fuse.device import mounted_at, unmount
from mapfs.fuse.finishing import await_end
from mapfs.fuse.options import MountOptions
from mapfs.running.descriptors import keep_only

_READY, _FAILED = b"ready", b"failed "
_END_WITHIN = 30.0  # seconds for a daemon that is told to end, but for those that its trace takes
_END_ALONE_WITHIN = 5.0  # seconds for one whose mount ended: a signal would cut its end short
_ANSWER = 3


class Server:
    """A daemon that answers. Raises UsageError or MapfsError with its sentence where it does not come to that."""

    def __init__(self, options: MountOptions) -> None:
        """Mounts on a directory of its own; without a trace in `options` it records one there, which goes with it."""
        self.directory = tempfile.mkdtemp(prefix="mapfs-run-")
        self.mountpoint = os.path.join(self.directory, "mount")
        self.trace = options.trace or os.path.join(self.directory, "trace.db")
        self._said = os.memfd_create("mapfs-said", os.MFD_CLOEXEC)
        self._ended = self._detached = False
        try:
            self.pid = self._fork(replace(options, mountpoint=self.mountpoint, trace=self.trace))
            self._pidfd = os.pidfd_open(self.pid)
        except BaseException:
            os.close(self._said)
            shutil.rmtree(self.directory, ignore_errors=True)
            raise

    def _fork(self, options: MountOptions) -> int:
        ours, theirs = os.pipe()
        pid = os.fork()
        if not pid:
            _serve(options, theirs, self._said)
        os.close(theirs)
        with os.fdopen(ours, "rb") as pipe:
            answer = pipe.read()
        if answer == _READY:
            return pid
        os.waitpid(pid, 0)
        if not answer.startswith(_FAILED):
            raise MountError("; ".join(self.sentences()) or "the daemon ended before it answered")
        code, _, sentence = answer.removeprefix(_FAILED).partition(b" ")
        failed = UsageError if code == b"%d" % UsageError.exit_code else MapfsError
        raise failed(sentence.decode(errors="replace"))

    def detach(self) -> None:
        """Takes the mount's name away: it lasts as long as a namespace has it. Raises MountError."""
        unmount(self.mountpoint, lazy=True)
        self._detached = True
        with contextlib.suppress(OSError):
            os.rmdir(self.mountpoint)  # takes it out of the program's namespace, too

    @property
    def ended(self) -> bool:
        """Whether the daemon has ended, its trace complete, or never to be."""
        if not self._ended and select.select([self._pidfd], [], [], 0)[0]:
            os.waitpid(self.pid, 0)
            self._ended = True
        return self._ended

    def sentences(self) -> list[str]:
        """What it had to say up to now, to be shown when the program is over."""
        size = os.fstat(self._said).st_size
        lines = os.pread(self._said, size, 0).decode("utf-8", "replace").splitlines()
        return [line.removeprefix("mapfs: ") for line in lines]

    def close(self, *, leave: bool = False) -> None:
        """Ends the daemon, unless it is to be left to those who still use the mount."""
        if not leave and self._detached:
            await_end(self._pidfd, self.trace, _END_ALONE_WITHIN)
        if not self.ended and not leave:
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)
            if not await_end(self._pidfd, self.trace, _END_WITHIN):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            if mounted_at(self.mountpoint) is not None:
                with contextlib.suppress(MapfsError):
                    unmount(self.mountpoint, lazy=True)
        os.close(self._pidfd)
        os.close(self._said)
        shutil.rmtree(self.directory, ignore_errors=True)


def _serve(options: MountOptions, answer: int, said: int) -> None:
    """The daemon's life; never returns."""
    code, told = 0, False

    def ready(_: object) -> None:
        nonlocal told
        told = True
        os.write(_ANSWER, _READY)
        os.close(_ANSWER)

    def warn(sentence: str) -> None:
        with contextlib.suppress(OSError):
            os.write(2, f"mapfs: {sentence}\n".encode(errors="backslashreplace"))

    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whoever runs a program waits for them
        null = os.open(os.devnull, os.O_RDWR)
        keep_only((null, null, said), (answer,))
        os.chdir("/")
        from mapfs.fuse.daemon import Mount  # pyfuse3 and trio are for those who serve

        mount = Mount(options, ready=ready, warn=warn)
        mount.run()
        if not mount.complete:
            warn("the trace is not complete")
    except BaseException as error:
        code = error.exit_code if isinstance(error, MapfsError) else 1
        text = str(error) or type(error).__name__
        if told:
            warn(text)
        else:
            _write(_ANSWER, _FAILED + f"{code} {text}".encode(errors="backslashreplace"))
    os._exit(code)


def _write(fd: int, data: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(fd, data)
