"""The client process from the other end: it is given an order, and every wait for its answer has a bound."""

import contextlib
import json
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from mapfs.errors import MapfsError
from mapfs.measuring.plan import Case

_SLACK = 30.0  # seconds for an answer beyond those that it was given: a page may be slow, and is waited for


@dataclass(frozen=True, slots=True)
class Pass:
    """So many pages in so much time."""

    pages: int
    ns: int


class Worker:
    """Runs mapfs.measuring.client; its orders are described there."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mapfs.measuring.client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C is for the benchmark, which ends it
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # of an order that it never took
                    stream.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it waits for a page: it goes with the mount
            self._process.wait(1)

    def cold(self, path: str, case: Case, pages: int, seconds: float, seed: int) -> Pass:
        """The first `pages` pages of what is at `path`, or as many as there is time for."""
        return self._pass(do="cold", path=path, way=case.way, order=case.order, pages=pages, seconds=seconds, seed=seed)

    def resident(self, seconds: float) -> Pass:
        """The same pages again; the median of several passes."""
        return self._pass(do="resident", seconds=seconds)

    def floor(self, case: Case, pages: int, seconds: float) -> Pass:
        """What a pass over nothing takes."""
        return self._pass(do="floor", way=case.way, order=case.order, pages=pages, seconds=seconds, seed=0)

    def close(self) -> None:
        """Has it unmap and close everything."""
        self._ask(do="close")

    def _pass(self, **order: Any) -> Pass:
        return Pass(**self._ask(**order))

    def _ask(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
            if not select.select([self._process.stdout], [], [], order.get("seconds", 0) + _SLACK)[0]:
                raise MapfsError(f"a page did not come within {_SLACK:.0f} s; look at the disk, or at dmesg")
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise MapfsError(self._end())
        answer: dict[str, Any] = json.loads(line)
        if error := answer.get("error"):
            raise MapfsError(f"the file cannot be measured: {error}; did it become shorter?")
        return answer

    def _end(self) -> str:
        code = self._process.wait(_SLACK)
        if code == -signal.SIGBUS:
            return "the file cannot be measured: a page of it cannot be read (SIGBUS); did it become shorter?"
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"the process that touches pages ended by {name}"
