"""The kinds that are objects of this machine, made for the contract tests with the help of another process."""

import contextlib
import json
import os
import random
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from mapfs.units import PAGE_SIZE
from tests.contract import other as other_program
from tests.contract.places import AT_ONCE, CAN_SHRINK, CONTENT, DISK, KINDS, SIZE, WITHIN, Place, Served, spec_of

#: The content as memory has it: whole pages.
PADDED = CONTENT + bytes(-SIZE % PAGE_SIZE)


class Other:
    """Another process (see `other`), ready, which ends with the place. `user`: whose it is, which takes root."""

    def __init__(self, place: Place, user: int | None = None, keep: tuple[int, ...] = ()) -> None:
        program = [sys.executable, other_program.__file__]
        if user is not None:  # the tests' own interpreter and files may lie below root's home
            program = ["/usr/bin/python3", "-c", Path(other_program.__file__).read_text("utf-8")]
        self._run = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, pass_fds=keep,
            user=user, group=user, extra_groups=None if user is None else [], cwd=None if user is None else "/",
        )  # fmt: skip
        self.pid = self._run.pid
        place.stack.callback(self.end)
        self.tell("ready")

    def tell(self, what: str, *arguments: object, answers: bool = True) -> Any:
        """What it answers."""
        assert self._run.stdin is not None and self._run.stdout is not None
        self._run.stdin.write(json.dumps([what, *arguments]).encode() + b"\n")
        return json.loads(self._run.stdout.readline()) if answers else None

    def end(self) -> None:
        """Kills it and waits for it; once is enough."""
        self._run.kill()
        with contextlib.suppress(BrokenPipeError):
            self._run.communicate(timeout=WITHIN)


def new_key() -> int:
    """A key that nobody else has, as good as certain; half of them are negative in C."""
    return random.SystemRandom().randrange(1, 1 << 32)


def segment(place: Place, content: bytes = CONTENT) -> tuple[Other, int, int]:
    """The process, the key and the ID of a System V segment, which is gone in the end."""
    sysv_ipc = pytest.importorskip("sysv_ipc")
    process, key = Other(place), new_key()
    path = place.path / "segment"
    path.write_bytes(content)
    number = process.tell("segment", key, str(path))

    def remove() -> None:
        with contextlib.suppress(sysv_ipc.ExistentialError):
            sysv_ipc.remove_shared_memory(number)

    place.stack.callback(remove)
    return process, key, number


def memory(place: Place) -> tuple[Other, int]:
    """A process with the content in its memory, and the address."""
    process = Other(place)
    return process, process.tell("memory", str(place.file()))


def of_memfd(place: Place) -> Served:
    source = place.open(f"memfd:{SIZE}")
    source.write(0, CONTENT)
    return Served(source, CONTENT, source.resize)


def of_made_shm(place: Place) -> Served:
    name = f"mapfs-test-{uuid.uuid4().hex}"
    source = place.open(f"shm:{name},create,size={SIZE},remove")
    source.write(0, CONTENT)
    return Served(source, CONTENT, lambda size: os.truncate(f"/dev/shm/{name}", size))


def of_writable_shm(place: Place) -> Served:
    name, path = f"mapfs-test-{uuid.uuid4().hex}", place.file()
    place.stack.callback(Path(f"/dev/shm/{name}").unlink, missing_ok=True)
    Other(place).tell("shared", f"/{name}", str(path))
    source = place.open(f"shm:/{name},rw")
    return Served(source, CONTENT, lambda size: os.truncate(f"/dev/shm/{name}", size))


def of_segment_by_key(place: Place) -> Served:
    _, key, _ = segment(place)
    return Served(place.open(f"sysv:{key:#010x}"), CONTENT)


def of_segment_by_id(place: Place) -> Served:
    _, _, number = segment(place)
    return Served(place.open(f"sysv:{number}"), CONTENT)


def of_writable_fd(place: Place) -> Served:
    path = place.file()
    fd = os.open(path, os.O_RDWR)
    try:
        return Served(place.open(f"fd:{fd},rw"), CONTENT, lambda size: os.truncate(path, size))
    finally:
        os.close(fd)


def of_other(place: Place, what: str, options: str = "") -> Served:
    process = Other(place)
    fd = process.tell(what, str(place.file()))
    source = place.open(f"fd:{process.pid}:{fd}{options}")
    return Served(source, CONTENT, lambda size: os.truncate(f"/proc/{process.pid}/fd/{fd}", size))


def of_other_block(place: Place) -> Served:
    process = Other(place)
    fd = process.tell("opened", place.loop(), os.O_RDONLY)
    return Served(place.open(f"fd:{process.pid}:{fd}"), DISK)


def of_addresses(place: Place) -> Served:
    process, at = memory(place)
    return Served(place.open(f"process:{process.pid}:{at:x}-{at + SIZE:#x}"), CONTENT)


def of_mapped_path(place: Place) -> Served:
    process, path = Other(place), place.file("a, b")
    process.tell("mapped", str(path))
    return Served(place.open(spec_of("process", f"{process.pid}:{path}")), PADDED)


def of_mapping(place: Place) -> Served:
    process, path = Other(place), place.file("a, b")
    at = process.tell("mapped", str(path))
    directory = place.directory(f"process:{process.pid}")
    (name,) = [name for name in directory.names(b"") if name.startswith(b"%012x" % at)]
    return Served(directory.open(name), PADDED)


KINDS |= {
    "memfd": of_memfd,
    "shm-made": of_made_shm,
    "shm-rw": of_writable_shm,
    "sysv": of_segment_by_key,
    "sysv-id": of_segment_by_id,
    "fd-rw": of_writable_fd,
    "fd-other-memfd": lambda place: of_other(place, "memfd"),
    "fd-other-deleted": lambda place: of_other(place, "deleted"),
    "fd-other-rw": lambda place: of_other(place, "memfd", ",rw"),
    "fd-other-block": of_other_block,
    "process": of_addresses,
    "process-path": of_mapped_path,
    "process-entry": of_mapping,
}
AT_ONCE |= {"memfd", "shm-made", "shm-rw", "sysv", "sysv-id", "fd-other-memfd", "fd-other-rw"}
CAN_SHRINK += ["memfd", "shm-made", "shm-rw", "fd-rw", "fd-other-memfd", "fd-other-deleted", "fd-other-rw"]
