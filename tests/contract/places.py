"""What the contract tests are run on: each kind of source, made for real, and what it has to give.

A module beside this one may add to `KINDS`: a name, and a function that makes a `Served` in a `Place`.
"""

import contextlib
import hashlib
import os
import random
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mapfs.sources import catalogue
from mapfs.sources.base import Buffer, DirectorySource, Source
from mapfs.sources.spec import Spec
from mapfs.units import PAGE_SIZE

SIZE = 3 * (1 << 20) + 1234  # no whole number of pages, and more than one of anything
CONTENT = random.Random(1).randbytes(SIZE)
DISK = CONTENT[: 1 << 20]
WITHIN = 30.0  # seconds


def pages_content(size: int) -> bytes:
    """`pages:` from the definition at the head of its module."""
    made = bytearray()
    for number in range(-(-size // PAGE_SIZE)):
        head = number.to_bytes(8, "little") + f"page {number} at {hex(number * PAGE_SIZE)}\n".encode()
        made += head + bytes((i + 31 * number) % 251 for i in range(len(head), PAGE_SIZE))
    return bytes(made[:size])


def random_content(size: int, seed: int) -> bytes:
    """`random:` from the definition at the head of its module."""
    blocks = [
        hashlib.shake_128(seed.to_bytes(8, "little") + number.to_bytes(8, "little")).digest(4096)
        for number in range(-(-size // 4096))
    ]
    return b"".join(blocks)[:size]


@dataclass
class Served:
    """A source, what it has to give, and how to make less of it, where that can be."""

    source: Source
    content: bytes
    shrink: Callable[[int], object] | None = None


class Place:
    """Where sources are made; everything goes with it."""

    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        self.path = path
        self.stack = stack

    def open(self, spec: str) -> Source:
        """Left to the test to close."""
        source = catalogue.open_spec(catalogue.parse(spec))
        assert isinstance(source, Source)
        return source

    def directory(self, spec: str) -> DirectorySource:
        source = catalogue.open_spec(catalogue.parse(spec))
        assert isinstance(source, DirectorySource)
        self.stack.callback(source.close)
        return source

    def file(self, name: str = "a, b") -> Path:
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(CONTENT)
        return path

    def shm(self) -> Path:
        path = Path("/dev/shm") / f"mapfs-test-{uuid.uuid4().hex}"
        self.stack.callback(path.unlink, missing_ok=True)
        path.write_bytes(CONTENT)
        return path

    def loop(self) -> str:
        """A block device with the content of DISK."""
        if os.geteuid() or not shutil.which("losetup"):
            pytest.skip("a loop device takes root and losetup(8)")
        disk = self.path / "disk"
        disk.write_bytes(DISK)
        made = losetup("--find", "--show", str(disk))
        if made.returncode:
            pytest.skip(f"no loop device can be had here: {made.stderr.strip()}")
        device = made.stdout.strip()
        self.stack.callback(losetup, "--detach", device)
        return device

    def shrink_loop(self, device: str, size: int) -> None:
        os.truncate(self.path / "disk", size)
        assert losetup("--set-capacity", device).returncode == 0


def losetup(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["losetup", *args], capture_output=True, text=True, check=False, timeout=WITHIN)


def spec_of(kind: str, arg: object) -> str:
    return str(Spec(kind, str(arg)))


def of_file(place: Place) -> Served:
    path = place.file()
    return Served(place.open(spec_of("file", path)), CONTENT, lambda size: os.truncate(path, size))


def of_fd(place: Place) -> Served:
    path = place.file()
    fd = os.open(path, os.O_RDONLY)
    try:
        return Served(place.open(f"fd:{fd}"), CONTENT, lambda size: os.truncate(path, size))
    finally:
        os.close(fd)


def of_memfd(place: Place) -> Served:
    fd = os.memfd_create("mapfs")
    place.stack.callback(os.close, fd)
    os.write(fd, CONTENT)
    return Served(place.open(f"fd:{fd}"), CONTENT, lambda size: os.ftruncate(fd, size))


def of_block_fd(place: Place) -> Served:
    device = place.loop()
    fd = os.open(device, os.O_RDONLY)
    try:
        return Served(place.open(f"fd:{fd}"), DISK)
    finally:
        os.close(fd)


def of_shm(place: Place) -> Served:
    path = place.shm()
    return Served(place.open(spec_of("shm", path.name)), CONTENT, lambda size: os.truncate(path, size))


def of_shm_with_its_slash(place: Place) -> Served:
    return Served(place.open(f"shm:/{place.shm().name}"), CONTENT)


def of_block_device(place: Place) -> Served:
    device = place.loop()
    return Served(place.open(spec_of("device", device)), DISK, lambda size: place.shrink_loop(device, size))


def of_character_device(place: Place) -> Served:
    return Served(place.open("device:/dev/zero,size=100001B"), bytes(100_001))


def of_dir_entry(place: Place) -> Served:
    path = place.file("sub/a, b")
    directory = place.directory(spec_of("dir", place.path))
    return Served(directory.open(b"sub/a, b"), CONTENT, lambda size: os.truncate(path, size))


def of_shm_entry(place: Place) -> Served:
    path = place.shm()
    source = place.directory("shm:").open(os.fsencode(path.name))
    return Served(source, CONTENT, lambda size: os.truncate(path, size))


def of_device_entry(place: Place) -> Served:
    device = place.loop()
    return Served(place.directory("device:").open(os.fsencode(os.path.basename(device))), DISK)


def of_text(place: Place) -> Served:
    return Served(place.open("text:one,, two\\n\\x00\\xfF\\t\\\\\u00e9"), b"one, two\n\0\xff\t\\\xc3\xa9")


KINDS: dict[str, Callable[[Place], Served]] = {
    "file": of_file,
    "device-block": of_block_device,
    "device-character": of_character_device,
    "shm": of_shm,
    "shm-slash": of_shm_with_its_slash,
    "fd": of_fd,
    "fd-memfd": of_memfd,
    "fd-block": of_block_fd,
    "zero": lambda place: Served(place.open(f"zero:{SIZE}"), bytes(SIZE)),
    "zero-none": lambda place: Served(place.open("zero:0"), b""),
    "pages": lambda place: Served(place.open("pages:300001"), pages_content(300_001)),
    "random": lambda place: Served(place.open("random:300001,seed=7"), random_content(300_001, 7)),
    "random-0": lambda place: Served(place.open("random:64K"), random_content(65536, 0)),
    "random-most": lambda place: Served(place.open(f"random:9K,seed={2**64 - 1}"), random_content(9216, 2**64 - 1)),
    "text": of_text,
    "text-none": lambda place: Served(place.open("text:"), b""),
    "dir-entry": of_dir_entry,
    "shm-entry": of_shm_entry,
    "device-entry": of_device_entry,
}
AT_ONCE = {"shm", "shm-slash", "shm-entry", "zero", "zero-none", "pages", "random", "random-0", "random-most", "text",
           "text-none"}  # fmt: skip
CAN_SHRINK = ["file", "device-block", "shm", "fd", "fd-memfd", "dir-entry", "shm-entry"]


def ranges(size: int, count: int = 60) -> Iterator[tuple[int, int]]:
    """Offsets and sizes: the edges, whole pages, and any."""
    yield from ((0, size), (0, 0), (size, 0), (0, min(1, size)), (max(0, size - 1), min(1, size)))
    for page in range(min(3, size // PAGE_SIZE)):
        yield page * PAGE_SIZE, PAGE_SIZE
    last = size // PAGE_SIZE * PAGE_SIZE
    yield last, size - last
    any_range = random.Random(size)
    for _ in range(count):
        offset = any_range.randint(0, size)
        yield offset, any_range.randint(0, min(size - offset, any_range.choice((100, 5000, size))))


def checked(data: Buffer, size: int) -> bytes:
    """`data`, which is contiguous and as many bytes as its length says."""
    view = memoryview(data)
    assert view.contiguous
    assert view.nbytes == len(data) == size
    return bytes(data)
