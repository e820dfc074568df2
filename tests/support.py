"""What the tests have in common: daemons and clients as processes of their own, every wait with a bound."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mapfs.errors import TraceError
from mapfs.fuse import device
from mapfs.trace.reader import mount_events, mount_stats

WITHIN = 30.0  # seconds that anything may take before a test calls it hung
BEYOND = ("fault", "hit", "evict")  # what events are that no request was
ROOT = Path(__file__).parent.parent
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def mapfs(*args: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "mapfs", *args],
        capture_output=True, text=True, timeout=WITHIN * 2, stdin=subprocess.DEVNULL, check=False, **options,
    )  # fmt: skip
    if check and done.returncode:
        raise AssertionError(f"mapfs {' '.join(args)} ended with {done.returncode}: {done.stderr}")
    return done


def client(*args: str, python: str = sys.executable, within: float = WITHIN, **options: Any) -> dict[str, Any]:
    """Runs a command of tests.client to its end and gives what it said."""
    done = subprocess.run(
        [python, "-m", "tests.client", *args],
        capture_output=True, text=True, timeout=within, cwd=ROOT, stdin=subprocess.DEVNULL, check=False, **options,
    )  # fmt: skip
    if done.returncode:
        raise AssertionError(f"client {args} ended with {done.returncode}: {done.stderr}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def python(code: str, *args: object, within: float = WITHIN, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs Python code as a client of its own, `sys.argv[1:]` being `args`."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
        capture_output=True, text=True, timeout=within, stdin=subprocess.DEVNULL, check=False, cwd=ROOT,
    )  # fmt: skip
    if check and done.returncode:
        raise AssertionError(f"the client ended with {done.returncode}: {done.stderr}")
    return done


class Client:
    """Python code that runs as a client of its own, a line of standard input and output at a time; by `command`, where
    one is given, which gets Python's as its arguments."""

    def __init__(self, code: str, *args: object, command: Sequence[str] = ()) -> None:
        self.process = subprocess.Popen(
            [*command, sys.executable, "-u", "-c", textwrap.dedent(code), *map(str, args)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip

    def ask(self, line: str = "") -> str:
        """Gives it a line, and returns the line that it answers."""
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, self.process.stderr.read()
        return answer.rstrip("\n")

    def end(self) -> int:
        """Ends its input; its exit code."""
        assert self.process.stdin
        self.process.stdin.close()
        return self.process.wait(WITHIN)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(WITHIN)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream and not stream.closed:
                stream.close()


def wait_until(true: Callable[[], bool], what: str, within: float = WITHIN) -> None:
    """Looks until `true()` is; for what can only be looked at. Fails after `within` seconds."""
    end = time.monotonic() + within
    pause = threading.Event()
    while not true():
        assert time.monotonic() < end, f"{what} did not come true within {within} s"
        pause.wait(0.005)


class Holder:
    """A client that keeps a mapping until it is released."""

    def __init__(self, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.client", "hold", *args],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read() if self.process.stderr else ""
        self.said: dict[str, Any] = json.loads(line)

    def release(self) -> dict[str, Any]:
        """Lets it touch its pages again and end; what it said. Empty where it was killed by a signal."""
        out, _ = self.process.communicate("", timeout=WITHIN)
        return json.loads(out) if out else {}

    def __enter__(self) -> "Holder":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=WITHIN)


class Daemon:
    """A `mapfs mount` in the foreground, its standard error read line by line."""

    def __init__(self, path: Path | str, *args: str, command: list[str] | None = None, **options: Any) -> None:
        self.path = str(path)
        command = command or [sys.executable, "-m", "mapfs"]
        self.process = subprocess.Popen(
            [*command, "mount", self.path, *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
            **options,
        )  # fmt: skip
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(_ANSI.sub("", line.rstrip("\n")))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_line(self, part: str) -> str:
        """The first line with `part` in it."""
        with self._changed:
            found = self._changed.wait_for(lambda: self._ended or any(part in line for line in self.lines), WITHIN)
            lines = [line for line in self.lines if part in line]
            assert found and lines, f"no line with {part!r} in {self.lines}"
            return lines[0]

    def wait_ready(self) -> "Daemon":
        """Until the mount answers."""
        self.wait_line(" serves ")
        return self

    def wait_started(self) -> bool:
        """Until the mount answers, or has failed: whether it answers."""
        with self._changed:
            known = self._changed.wait_for(
                lambda: self._ended or any(" serves " in line for line in self.lines), WITHIN
            )
            assert known, "it neither serves nor ends"
            return any(" serves " in line for line in self.lines)

    def wait_mounted(self) -> "Daemon":
        """The same for one that says nothing (-q): its root is another filesystem, and answers."""
        wait_until(lambda: device.mounted_at(self.path) is not None or self._ended, "the mount")
        self.stats()
        return self

    def wait_end(self) -> int:
        """Until daemon and recorder have ended: the exit code."""
        code = self.process.wait(WITHIN)
        self._reader.join(WITHIN)
        assert not self._reader.is_alive(), "the recorder holds standard error open"
        return code

    @property
    def log(self) -> list[str]:
        """The lines of the log that are requests: without mapfs's own sentences, and what evidence beyond them shows."""
        lines = [line for line in self.lines if not line.startswith("mapfs: ")]
        beyond = ("AHEAD", "SHARED", "JOINED", "EVICT")
        return [line for line in lines if line.split()[1] not in beyond and "samples of evidence" not in line]

    def file(self, name: str) -> str:
        """A path in the mount."""
        return os.path.join(self.path, name)

    def events(self) -> list[dict[str, Any]]:
        """The requests that `.mapfs/events` has up to now, and what was lost."""
        return [event for event in self.all_events() if event["op"] not in BEYOND]

    def all_events(self) -> list[dict[str, Any]]:
        """The same with what evidence beyond the requests shows, but for what the machine reclaims by itself."""
        events = mount_events(self.path, follow=False)
        return [event for event in events if event["op"] != "evict" or event["command"] not in ("kdamond.0", "kswapd0")]

    def stats(self) -> dict[str, Any]:
        """What `.mapfs/stats` says."""
        return mount_stats(self.path)

    def counted(self) -> dict[str, Any]:
        """The same once nothing is missing from it, which may take the recorder long if the machine is busy."""
        found: dict[str, Any] = {}

        def complete() -> bool:
            with contextlib.suppress(TraceError):  # nobody answered in time
                found.update(self.stats())
            return found.get("behind") == 0

        wait_until(complete, "the recorder has caught up", within=4 * WITHIN)
        return found

    def demands(self, file: str) -> list[tuple[str, int]]:
        """Class and page of each event of `file`, in order."""
        return [(event["class"], event["page"]) for event in self.events() if event.get("file") == file]

    def umount(self) -> int:
        """The orderly end."""
        done = mapfs("umount", self.path, check=False)
        assert done.returncode == 0, done.stderr
        return self.wait_end()

    def destroy(self) -> None:
        """The end whatever happened; leaves nothing."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(WITHIN)
        self._reader.join(WITHIN)
        if self.process.stderr and not self._reader.is_alive():
            self.process.stderr.close()
        mounted = device.mounted_at(self.path)
        if mounted is not None and mounted.type == device.TYPE:
            subprocess.run(["umount", "-l", self.path], check=False, capture_output=True, timeout=WITHIN)


def pages_of(events: list[dict[str, Any]], file: str) -> Iterator[int]:
    """The pages that the events of `file` ask for."""
    for event in events:
        if event.get("file") == file:
            yield from range(event["page"], event["page"] + event["pages"])
