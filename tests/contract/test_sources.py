"""The contract of a source (sources/base.py), held by every kind; and what each kind says when it cannot be opened."""

import contextlib
import hashlib
import os
import random
import shutil
import stat
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mapfs.errors import MapfsError, SourceError, SpecError
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


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        yield Place(tmp_path, stack)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def served(place: Place, kind: str) -> Iterator[Served]:
    served = KINDS[kind](place)
    yield served
    served.source.close()


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


def test_its_size_is_that_of_its_content(served: Served) -> None:
    assert served.source.size == len(served.content)
    entry = served.source.entry()
    assert entry.size == len(served.content)
    assert stat.S_ISREG(entry.mode), "only a regular file can be mapped"


def test_a_read_is_exactly_what_was_asked_for(served: Served) -> None:
    for offset, size in ranges(len(served.content)):
        assert checked(served.source.read(offset, size), size) == served.content[offset : offset + size]


def test_a_read_that_does_not_wait_gives_the_same_or_nothing(served: Served, kind: str) -> None:
    for offset, size in ranges(len(served.content)):
        data = served.source.try_read(offset, size)
        assert data is not None or kind not in AT_ONCE, "what is in memory needs no waiting thread"
        if data is not None:
            assert checked(data, size) == served.content[offset : offset + size]


@pytest.mark.parametrize("kind", ["device-block", "device-character", "fd-block", "device-entry"], indirect=True)
def test_a_device_is_waited_for_only_by_a_read(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its node lies in memory, on devtmpfs; its bytes do not."""

    def waits(*_: object) -> bytes:
        raise AssertionError("try_read waits")

    monkeypatch.setattr(os, "pread", waits)
    assert served.source.try_read(0, PAGE_SIZE) in (None, served.content[:PAGE_SIZE])


def test_eight_threads_read_at_once(served: Served) -> None:
    wrong: list[tuple[int, int]] = []
    ready = threading.Barrier(8)

    def read(seed: int) -> None:
        wanted = list(ranges(len(served.content), 25))
        random.Random(seed).shuffle(wanted)
        ready.wait(WITHIN)
        for offset, size in wanted:
            expected = served.content[offset : offset + size]
            quick = served.source.try_read(offset, size)
            if bytes(served.source.read(offset, size)) != expected or (quick is not None and bytes(quick) != expected):
                wrong.append((offset, size))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN)
    assert wrong == []


def test_what_does_not_change_says_so(served: Served) -> None:
    assert served.source.version() == served.source.version()
    hash(served.source.version())
    before = served.source.entry()
    assert served.source.entry() == before, "a new mtime would make the kernel drop the cached pages"


def test_a_backing_descriptor_gives_the_same_bytes(served: Served) -> None:
    fd = served.source.backing_fd
    if fd is None:
        return
    assert not os.get_inheritable(fd)
    for offset, size in ranges(len(served.content), 10):
        assert os.pread(fd, size, offset) == served.content[offset : offset + size]


def test_closing_leaves_nothing_open(place: Place, kind: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    served = KINDS[kind](place)
    if served.content:
        served.source.read(0, 1)
    served.source.close()
    place.stack.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("kind", CAN_SHRINK, indirect=True)
def test_a_backing_that_shrank_is_an_error_and_no_short_read(served: Served, kind: str) -> None:
    assert served.shrink is not None
    size, left = served.source.size, 64 * PAGE_SIZE
    served.source.read(0, size)
    served.shrink(left)
    for offset, wanted in (
        (left, PAGE_SIZE),
        (left - 10, 20),
        (0, size),
        (size - 1, 1),
        (left - PAGE_SIZE, 2 * PAGE_SIZE),
    ):
        with pytest.raises(SourceError, match=f"has no bytes at {max(left, offset)}: it shrank") as caught:
            served.source.read(offset, wanted)
        assert str(caught.value).endswith("or is shorter than its size says")
        with contextlib.suppress(SourceError):
            assert served.source.try_read(offset, wanted) is None
    assert bytes(served.source.read(left - 10, 10)) == served.content[left - 10 : left]
    assert served.source.size == left


@pytest.mark.parametrize("kind", ["file", "shm", "fd", "dir-entry"], indirect=True)
def test_a_change_of_the_content_is_a_new_version(served: Served) -> None:
    before = served.source.version()
    assert served.shrink is not None
    served.shrink(PAGE_SIZE)
    assert served.source.version() != before
    assert served.source.entry().size == PAGE_SIZE


def test_generated_content_reaches_as_far_as_a_file_can(place: Place) -> None:
    most = (1 << 63) - 1
    for spec in ("zero", "pages", "random"):
        source = place.open(f"{spec}:{most}")
        assert source.size == most
        end = source.read(most - 5000, 5000)
        assert checked(end, 5000)[-1000:] == bytes(source.read(most - 1000, 1000))
        source.close()
    number = most // PAGE_SIZE
    pages = place.open(f"pages:{most}")
    assert bytes(pages.read(number * PAGE_SIZE, 8)) == number.to_bytes(8, "little")


def test_seeds_differ(place: Place) -> None:
    assert len({bytes(place.open(f"random:4K,seed={seed}").read(0, 4096)) for seed in range(5)}) == 5


def test_a_disk_of_which_nothing_is_cached_is_read_by_waiting(place: Place) -> None:
    served = of_file(place)
    fd = served.source.backing_fd
    assert fd is not None
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    served.source.try_read(SIZE // 2, PAGE_SIZE)  # None, but who knows what the machine has cached
    assert bytes(served.source.read(SIZE // 2, PAGE_SIZE)) == CONTENT[SIZE // 2 : SIZE // 2 + PAGE_SIZE]
    assert served.source.try_read(SIZE // 2, PAGE_SIZE) == CONTENT[SIZE // 2 : SIZE // 2 + PAGE_SIZE]
    served.source.close()


def test_a_device_without_bytes_is_an_error_and_no_short_read(place: Place) -> None:
    source = place.open("device:/dev/null,size=4K")
    assert source.try_read(0, 4096) is None
    with pytest.raises(SourceError, match="device '/dev/null' has no bytes at 0"):
        source.read(0, 4096)
    source.close()


# opening


@pytest.fixture
def odd(place: Place) -> dict[str, str]:
    """Things that are no source of some kind, by the name that stands for them in a spec."""
    os.mkfifo(place.path / "fifo")
    place.file("file")
    shm = place.shm()
    link, folder = shm.with_name(shm.name + "-link"), shm.with_name(shm.name + "-dir")
    link.symlink_to(shm)
    folder.mkdir()
    place.stack.callback(link.unlink)
    place.stack.callback(folder.rmdir)
    reading, writing = os.pipe()
    only_write = os.open(place.path / "file", os.O_WRONLY)
    only_path = os.open(place.path / "file", os.O_PATH)
    folder_fd = os.open(place.path, os.O_RDONLY)
    closed = os.dup(reading)
    os.close(closed)
    for fd in (reading, writing, only_write, only_path, folder_fd):
        place.stack.callback(os.close, fd)
    return {
        "HOME": str(place.path),
        "SHM-LINK": link.name,
        "SHM-DIR": folder.name,
        "FD-PIPE": str(reading),
        "FD-WRITE": str(only_write),
        "FD-PATH": str(only_path),
        "FD-DIR": str(folder_fd),
        "FD-CLOSED": str(closed),
    }


MISSING = "No such file or directory; check the path"
REFUSED: list[tuple[str, type[MapfsError], str]] = [
    ("file:", SourceError, f"cannot open file '': {MISSING}"),
    ("file:HOME/missing", SourceError, f"cannot open file 'HOME/missing': {MISSING}"),
    ("file:HOME/file/x", SourceError, "cannot open file 'HOME/file/x': Not a directory"),
    ("file:HOME", SourceError, "'HOME' is a directory; mirror it with dir:HOME"),
    ("file:HOME/fifo", SourceError, "'HOME/fifo' is not a regular file, so it has no pages to map"),
    ("file:/dev/zero", SourceError, "'/dev/zero' is a device; write device:/dev/zero"),
    ("dir:", SourceError, f"cannot open directory '': {MISSING}"),
    ("dir:HOME/missing", SourceError, f"cannot open directory 'HOME/missing': {MISSING}"),
    ("dir:HOME/file", SourceError, "'HOME/file' is not a directory; write file:HOME/file"),
    ("dir:HOME/fifo", SourceError, "'HOME/fifo' is not a directory; write file:HOME/fifo"),
    ("device:/dev/missing", SourceError, f"cannot open device '/dev/missing': {MISSING}"),
    ("device:HOME/file", SourceError, "device 'HOME/file' is no device; write file: for a file and dir: for a directory"),
    ("device:HOME", SourceError, "device 'HOME' is no device; write file: for a file and dir: for a directory"),
    ("device:HOME/fifo", SourceError, "device 'HOME/fifo' is no device; write file: for a file and dir: for a directory"),
    (
        "device:/dev/zero",
        SpecError,
        "device '/dev/zero' is a character device, which has no size of its own; add size=, as in size=64K",
    ),
    (
        "device:/dev/zero,size",
        SpecError,
        "device '/dev/zero' is a character device, which has no size of its own; add size=, as in size=64K",
    ),
    ("device:/dev/zero,size=x", SpecError, "'x' is not a size; write 4096, 64K, 1.5G or 3p (pages)"),
    ("device:,size=4K", SpecError, "device: without a path lists the block devices and takes no size="),
    ("shm:missing-mapfs-test", SourceError, "cannot open shared memory 'missing-mapfs-test': No such file or directory; ls /dev/shm lists what there is"),
    ("shm:a/b", SpecError, "'a/b' is no shm name; it has no slash but a leading one (shm_overview(7))"),
    ("shm://a", SpecError, "'//a' is no shm name; it has no slash but a leading one (shm_overview(7))"),
    ("shm:..", SpecError, "'..' is no shm name; it has no slash but a leading one (shm_overview(7))"),
    ("shm:/.", SpecError, "'/.' is no shm name; it has no slash but a leading one (shm_overview(7))"),
    ("shm:SHM-LINK", SourceError, "cannot open shared memory 'SHM-LINK': Too many levels of symbolic links"),
    ("shm:SHM-DIR", SourceError, "shared memory 'SHM-DIR' is not a shared-memory object"),
    ("fd:", SpecError, "'' is not the number of a descriptor; write fd:3 and start mapfs with 3<FILE"),
    ("fd:x", SpecError, "'x' is not the number of a descriptor; write fd:3 and start mapfs with 3<FILE"),
    ("fd:-1", SpecError, "'-1' is not the number of a descriptor; write fd:3 and start mapfs with 3<FILE"),
    ("fd:\u0663", SpecError, "'\u0663' is not the number of a descriptor; write fd:3 and start mapfs with 3<FILE"),
    ("fd:9999999999", SpecError, "'9999999999' is not the number of a descriptor; write fd:3 and start mapfs with 3<FILE"),
    ("fd:999999999", SourceError, "descriptor 999999999 is not open; start mapfs with 999999999<FILE"),
    ("fd:FD-CLOSED", SourceError, "descriptor FD-CLOSED is not open; start mapfs with FD-CLOSED<FILE"),
    ("fd:FD-WRITE", SourceError, "descriptor FD-WRITE cannot be read: it was opened for writing only"),
    ("fd:FD-PIPE", SourceError, "descriptor FD-PIPE is neither a file nor a block device, so it has no pages to map"),
    ("fd:FD-DIR", SourceError, "descriptor FD-DIR is neither a file nor a block device, so it has no pages to map"),
    ("zero:", SpecError, "'' is not a size; write 4096, 64K, 1.5G or 3p (pages)"),
    ("pages:many", SpecError, "'many' is not a size; write 4096, 64K, 1.5G or 3p (pages)"),
    ("random:-1", SpecError, "'-1' is not a size; write 4096, 64K, 1.5G or 3p (pages)"),
    ("random:1K,seed=x", SpecError, "'x' is not a seed; write a number from 0 to 2^64-1, as in seed=42"),
    ("random:1K,seed=-1", SpecError, "'-1' is not a seed; write a number from 0 to 2^64-1, as in seed=42"),
    ("random:1K,seed=", SpecError, "seed= needs a number, as in seed=42"),
    ("random:1K,seed", SpecError, "seed= needs a number, as in seed=42"),
    (
        f"random:1K,seed={2**64}",
        SpecError,
        f"'{2**64}' is not a seed; write a number from 0 to 2^64-1, as in seed=42",
    ),
    ("text:a\\q", SpecError, r"'\\q' is not an escape of text:; write \n, \t, \\ or \xHH"),
    ("text:a\\", SpecError, r"'\\' is not an escape of text:; write \n, \t, \\ or \xHH"),
    ("text:\\x1", SpecError, r"'\\x' is not an escape of text:; write \n, \t, \\ or \xHH"),
    ("text:\\\n", SpecError, r"'\\\n' is not an escape of text:; write \n, \t, \\ or \xHH"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "error", "sentence"), REFUSED, ids=[spec for spec, _, _ in REFUSED])
def test_what_cannot_be_opened_says_why_in_one_sentence(
    odd: dict[str, str], spec: str, error: type[MapfsError], sentence: str
) -> None:
    for name, value in odd.items():
        spec, sentence = spec.replace(name, value), sentence.replace(name, value)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(error) as caught:
        catalogue.open_spec(catalogue.parse(spec))
    assert type(caught.value) is error
    assert str(caught.value) == sentence
    assert "\n" not in sentence
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_descriptor_that_can_do_nothing(odd: dict[str, str]) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        catalogue.open_spec(catalogue.parse(f"fd:{odd['FD-PATH']}"))


def test_an_escape_that_is_no_ascii() -> None:
    with pytest.raises(SpecError, match="is not an escape of text:"):
        catalogue.open_spec(catalogue.parse("text:\\\u00e9"))


def test_a_terminal_has_no_pages() -> None:
    ours, theirs = os.openpty()
    try:
        with pytest.raises(SourceError, match="cannot be read at an offset, so it has no pages to map"):
            catalogue.open_spec(catalogue.parse(f"device:{os.ttyname(theirs)},size=4K"))
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_block_device_knows_its_size(place: Place) -> None:
    with pytest.raises(SpecError, match="is a block device and knows its own size; leave size= out"):
        catalogue.open_spec(catalogue.parse(f"device:{place.loop()},size=4K"))


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """A user without rights, where this is root."""
    before = os.geteuid()
    if not before:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("spec", ["file:HOME/secret", "dir:HOME/closed"])
def test_what_may_not_be_read(place: Place, spec: str) -> None:
    secret, closed = place.file("secret"), place.path / "closed"
    secret.chmod(0)
    closed.mkdir(mode=0)
    with nobody(), pytest.raises(SourceError, match="Permission denied; run as a user who may read it") as caught:
        catalogue.open_spec(catalogue.parse(spec.replace("HOME", str(place.path))))
    assert caught.value.errno == 13


# directories


@pytest.mark.parametrize("spec", ["dir:HOME", "shm:", "device:"])
def test_directories(place: Place, spec: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    place.file("sub/file")
    directory = place.directory(spec.replace("HOME", str(place.path)))
    assert stat.S_ISDIR(directory.entry(b"").mode)
    names = directory.names(b"")
    assert all(isinstance(name, bytes) and b"/" not in name for name in names)
    assert not {b"", b".", b".."} & set(names)
    for missing in (b"missing-mapfs-test", b"missing-mapfs-test/x"):
        with pytest.raises(FileNotFoundError):
            directory.entry(missing)
        with pytest.raises(FileNotFoundError):
            directory.open(missing)
        with pytest.raises(OSError):
            directory.names(missing)
        with pytest.raises(FileNotFoundError):
            directory.readlink(missing)
    place.stack.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_a_mirrored_directory_tells(place: Place) -> None:
    path = place.file("sub/file")
    (place.path / "link").symlink_to("sub/file")
    os.link(path, place.path / "other")
    directory = place.directory(spec_of("dir", place.path))
    assert sorted(directory.names(b"")) == [b"link", b"other", b"sub"]
    assert directory.names(b"sub") == [b"file"]
    assert directory.readlink(b"link") == b"sub/file"
    entry, status = directory.entry(b"sub/file"), path.stat()
    assert (entry.mode, entry.size, entry.nlink) == (status.st_mode, SIZE, 2)
    assert (entry.uid, entry.mtime_ns, entry.blocks) == (status.st_uid, status.st_mtime_ns, status.st_blocks)
    assert entry.identity == directory.entry(b"other").identity != directory.entry(b"link").identity
    with pytest.raises(NotADirectoryError):
        directory.names(b"other")
    with pytest.raises(OSError):
        directory.open(b"sub")
    with pytest.raises(OSError):
        directory.open(b"link")


def test_block_devices_and_nothing_else_are_listed(place: Place) -> None:
    loop = os.fsencode(os.path.basename(place.loop()))
    directory = place.directory("device:")
    assert loop in directory.names(b"")
    assert b"zero" not in directory.names(b"")
    assert directory.entry(loop).size == len(DISK)
    assert directory.entry(loop) == directory.entry(loop)
    assert directory.entry(loop).mtime_ns == os.stat(b"/dev/" + loop).st_mtime_ns, "the node's own times"
    for path in (b"zero", b"../dev/" + loop, b"./" + loop):
        with pytest.raises(FileNotFoundError):
            directory.open(path)
    with pytest.raises(NotADirectoryError):
        directory.names(loop)
