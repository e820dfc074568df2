"""A process of a lesson, from the lesson's side: it is given orders, and every wait for it has a bound."""

import contextlib
import select
import signal
import subprocess
import sys

from mapfs.errors import MapfsError

WITHIN = 20.0  # seconds for an answer, or for an end


class Client:
    """Runs mapfs.lessons.toucher under `name`, on the file at `path`. Its orders are described there."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mapfs.lessons.toucher", name, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C is for the lesson, which ends it
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, order: str) -> list[int]:
        """The numbers that it answers. Raises MapfsError where it ends instead, or is too late."""
        self._tell(order)
        assert self._process.stdout
        self._wait_for(self._process.stdout.fileno())
        line = self._process.stdout.readline()
        if not line:
            raise MapfsError(f"the process {self.name!r} of this lesson ended by {self._end()} at {order!r}")
        return [int(word) for word in line.split()]

    def killed_by(self, order: str) -> str | None:
        """The name of the signal that kills it over `order`; None where it answers."""
        self._tell(order)
        assert self._process.stdout
        self._wait_for(self._process.stdout.fileno())
        return None if self._process.stdout.readline() else self._end()

    def _tell(self, order: str) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(order.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise MapfsError(f"the process {self.name!r} of this lesson is gone") from error

    def _wait_for(self, fd: int) -> None:
        if not select.select([fd], [], [], WITHIN)[0]:
            raise MapfsError(f"the process {self.name!r} of this lesson did not answer within {WITHIN:.0f} s")

    def _end(self) -> str:
        code = self._process.wait(WITHIN)
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def close(self) -> None:
        """Ends it, whatever it does."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # of an order that it never took
                    stream.close()
        self._process.wait(WITHIN)
