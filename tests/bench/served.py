"""The peers while they are measured: each is one process, or two, that serves one file until it is unmounted."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from mapfs.fuse import device
from tests.bench import processes
from tests.bench.mounts import destroy, pin
from tests.bench.plan import PEERS, Peer
from tests.bench.processes import BenchError

_WITHIN = 20.0  # seconds for a mount to appear, and for its processes to be gone
_COMPILE = 60.0
_HERE = Path(__file__).parent


class Served:
    """The peer called `name`, mounted at `path`."""

    def __init__(self, name: str, path: Path, file: Path, scratch: Path) -> None:
        self.path = path
        self._peer = PEERS[name]
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None
        names = {"bin": scratch, "python": sys.executable, "mnt": path, "file": file, "log": scratch / f"{name}.log"}
        self._command = [word.format(**names) for word in self._peer.command]

    @property
    def file(self) -> Path:
        """What the client maps."""
        return self.path / self._peer.file

    def start(self) -> None:
        """Mounts it. Raises BenchError where it does not come."""
        self.path.mkdir()
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=_HERE.parents[1], start_new_session=True,
        )  # fmt: skip
        end = time.monotonic() + _WITHIN
        while device.mounted_at(str(self.path)) is None or not self.file.exists():
            if self._process.poll() is not None:
                raise BenchError(f"the peer {self._name} ended with {self._process.returncode} before it was mounted")
            if time.monotonic() > end:
                raise BenchError(f"the peer {self._name} was not mounted within {_WITHIN:.0f} s")
            time.sleep(0.01)

    def pin(self, cpu: int) -> None:
        """Keeps all of it on `cpu`."""
        assert self._process
        for pid in processes.family(self._process.pid):
            pin(pid, cpu)

    def stop(self) -> None:
        """Unmounts it; one that does not end then is killed."""
        if self._process is None:
            return
        family = processes.family(self._process.pid)
        if device.mounted_at(str(self.path)) is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(
                    ["fusermount3", "-u", "--", str(self.path)], capture_output=True, check=False, timeout=10
                )
        try:
            self._process.wait(_WITHIN if device.mounted_at(str(self.path)) is None else 0)
        except subprocess.TimeoutExpired:
            for pid in reversed(family):
                processes.kill(pid)
            destroy(self.path)
            self._process.wait(_WITHIN)


def compile_c(source: Path, to: Path, *flags: str) -> None:
    """With the machine's C compiler. Raises BenchError."""
    processes.run(["cc", "-O2", "-pthread", "-o", str(to), str(source), *flags], _COMPILE, what="cc")


def missing(name: str, scratch: Path) -> str | None:
    """Why the peer called `name` cannot be measured here; None where it can. Compiles it into `scratch`."""
    peer = PEERS[name]
    if peer.needs[0].endswith(".c"):
        return _compiled(peer, scratch)
    if not peer.command[0].startswith("{"):
        absent = [program for program in peer.needs if shutil.which(program) is None]
        return f"not installed: {', '.join(absent)}" if absent else None
    (module,) = peer.needs
    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False)
    return f"not installed: {done.stderr.strip().splitlines()[-1]}" if done.returncode else None


def _compiled(peer: Peer, scratch: Path) -> str | None:
    source = _HERE / "peers" / peer.needs[0]
    program = scratch / source.stem
    if program.exists():
        return None
    try:
        flags = processes.run(["pkg-config", "--cflags", "--libs", "fuse3"], _COMPILE, what="pkg-config fuse3")
        compile_c(source, program, *flags.split())
    except (BenchError, OSError) as error:
        return f"cannot be compiled: {' '.join(str(error).split())[:200]}"
    assert os.access(program, os.X_OK)
    return None
