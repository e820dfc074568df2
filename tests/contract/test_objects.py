"""What shared memory, memfds, descriptors and devices promise beyond the contract of a source."""

import contextlib
import errno
import fcntl
import mmap
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapfs.errors import SourceError
from mapfs.sources import catalogue
from mapfs.sources.base import Changes, Source
from mapfs.units import PAGE_SIZE
from tests.contract.places import CONTENT, DISK, SIZE, WITHIN, Place
from tests.contract.places_objects import Other, new_key, segment

F_GET_SEALS, F_SEAL_SEAL = 1034, 1  # linux/fcntl.h


@pytest.fixture
def name(place: Place) -> str:
    """Of no shared-memory object, and gone in the end."""
    made = f"mapfs-test-{uuid.uuid4().hex}"
    place.stack.callback(Path(f"/dev/shm/{made}").unlink, missing_ok=True)
    return made


@pytest.fixture
def key() -> Iterator[str]:
    """Of no System V segment, and gone in the end."""
    sysv_ipc = pytest.importorskip("sysv_ipc")
    number = new_key()
    yield f"{number:#x}"
    try:
        sysv_ipc.SharedMemory(number, 0, 0o400).remove()
    except sysv_ipc.ExistentialError:
        return


def attached() -> list[str]:
    """The System V segments that this process has attached, as its maps show them."""
    with open("/proc/self/maps", encoding="utf-8") as lines:
        return [line for line in lines if "/SYSV" in line]


def writes_in_parallel(source: Source) -> None:
    """Eight threads write blocks of their own, of odd sizes, and all of them are there."""
    blocks = [(at, CONTENT[at : at + 4097]) for at in range(0, source.size, 4097)]
    ready = threading.Barrier(8)

    def write(first: int) -> None:
        ready.wait(WITHIN)
        for at, data in blocks[first::8]:
            source.write(at, data[: source.size - at])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN)
    assert bytes(source.read(0, source.size)) == CONTENT[: source.size]


def fails(number: int, call: object, *arguments: object) -> SourceError:
    """`call` raises a SourceError with that errno."""
    assert callable(call)
    with pytest.raises(SourceError) as caught:
        call(*arguments)
    assert caught.value.errno == number
    return caught.value


def test_made_shared_memory_outlives_its_source(place: Place, name: str) -> None:
    path = Path(f"/dev/shm/{name}")
    source = place.open(f"shm:{name},create,size=10000")
    assert (source.size, source.writable, path.stat().st_mode & 0o777) == (10_000, True, 0o600)
    assert source.read(0, 10_000) == bytes(10_000)
    source.write(9_990, b"at its end")
    source.close()
    assert path.read_bytes() == bytes(9_990) + b"at its end"


def test_shared_memory_that_exists_is_kept_and_never_made_shorter(place: Place, name: str) -> None:
    path = Path(f"/dev/shm/{name}")
    path.write_bytes(b"theirs")
    for options, size in (("create", 6), ("create,size=3", 6), ("rw,size=6", 6), ("rw,size=4K", 4096)):
        source = place.open(f"shm:{name},{options}")
        assert source.size == path.stat().st_size == size
        assert source.read(0, 6) == b"theirs"
        source.close()


def test_shared_memory_is_removed_on_request(place: Place, name: str) -> None:
    path = Path(f"/dev/shm/{name}")
    source = place.open(f"shm:{name},create,size=4K,remove")
    assert path.exists()
    source.close()
    assert not path.exists()
    path.write_bytes(b"theirs")
    source = place.open(f"shm:{name},remove")
    assert not source.writable
    path.unlink()
    path.write_bytes(b"another object")
    source.close()
    assert path.read_bytes() == b"another object"


def test_both_sides_of_shared_memory_see_what_is_written(place: Place, name: str) -> None:
    Other(place).tell("shared", f"/{name}", str(place.file()))
    fd = os.open(f"/dev/shm/{name}", os.O_RDWR)
    source = place.open(f"shm:{name},rw")
    with mmap.mmap(fd, SIZE) as theirs:
        theirs[5:9] = b"here"
        assert source.read(5, 4) == b"here" == source.try_read(5, 4)
        source.write(70_000, b"there")
        assert theirs[70_000:70_005] == b"there"
    os.close(fd)
    source.close()


def test_a_memfd_is_zeroes_at_first_and_grows_at_will(place: Place) -> None:
    source = place.open("memfd:10000")
    assert (source.size, source.read(0, 10_000)) == (10_000, bytes(10_000))
    assert (source.entry().mode & 0o777, source.entry().nlink) == (0o600, 1)
    assert source.backing_fd is not None
    assert fcntl.fcntl(source.backing_fd, F_GET_SEALS) == F_SEAL_SEAL, "nothing is sealed, nor can be"
    source.write(20_000, b"beyond")
    assert (source.size, source.read(10_000, 10_006)) == (20_006, bytes(10_000) + b"beyond")
    source.resize(SIZE)
    writes_in_parallel(source)
    source.close()


def test_a_memfd_takes_memory_only_where_it_is_written(place: Place) -> None:
    source = place.open("memfd:1T")
    source.write((1 << 40) - 3, b"end")
    assert source.read((1 << 40) - 5, 5) == b"\0\0end"
    blocks = source.entry().blocks
    assert blocks is not None and blocks * 512 < 1 << 24
    source.close()


def test_a_made_segment_outlives_its_source(place: Place, key: str) -> None:
    before = attached()
    source = place.open(f"sysv:{key},create,size=10001")
    assert (source.size, source.writable, source.entry().mode & 0o777) == (10_001, True, 0o600)
    assert source.read(0, 10_001) == bytes(10_001)
    source.write(9_995, b"theend")
    source.close()
    assert attached() == before
    again = place.open(f"sysv:{key},create,size=5K")
    assert again.size == 10_001, "what exists keeps its size"
    assert again.read(9_990, 11) == bytes(5) + b"theend"
    again.close()


def test_a_segment_is_removed_on_request(place: Place, key: str) -> None:
    source = place.open(f"sysv:{key},create,size=4K,remove")
    other = place.open(f"sysv:{key}")
    source.close()
    assert other.read(0, 4096) == bytes(4096), "it is there as long as somebody has it attached"
    other.close()
    with pytest.raises(SourceError, match="there is no System V segment"):
        place.open(f"sysv:{key}")


def test_a_segment_that_somebody_removed_closes_nonetheless(place: Place, key: str) -> None:
    before = attached()
    source = place.open(f"sysv:{key},create,size=4K,remove")
    place.open(f"sysv:{key},remove").close()
    source.write(0, b"still here")
    assert source.read(0, 10) == b"still here"
    source.close()
    assert attached() == before


def test_both_sides_of_a_segment_see_what_is_written(place: Place) -> None:
    process, key, number = segment(place)
    reading, writing = place.open(f"sysv:{key:#x}"), place.open(f"sysv:{number},rw")
    writing.write(70_000, b"there")
    assert reading.read(70_000, 5) == b"there" == reading.try_read(70_000, 5)
    assert bytes.fromhex(process.tell("segment_bytes", 70_000, 5)) == b"there"
    assert writing.size == SIZE
    reading.close()
    writing.close()


def test_a_segment_that_is_only_read_is_attached_for_reading(place: Place) -> None:
    _, key, number = segment(place)
    for spec in (f"sysv:{key:#x}", f"sysv:{number}"):
        before = attached()
        source = place.open(spec)
        (line,) = set(attached()) - set(before)
        assert line.split()[1] == "r--s"
        fails(errno.EROFS, source.write, 0, b"x")
        source.close()


def test_a_segment_never_changes_its_size(place: Place) -> None:
    _, _, number = segment(place, CONTENT[:100_001])
    source = place.open(f"sysv:{number},rw")
    source.resize(100_001)
    fails(errno.EINVAL, source.resize, 100_000)
    fails(errno.ENOSPC, source.write, 100_000, b"too long")
    fails(errno.ENOSPC, source.write, 100_001, b"x")
    source.write(100_000, b"x")
    assert source.read(100_000, 1) == b"x"
    writes_in_parallel(source)
    source.close()


def test_what_is_written_to_a_descriptor_is_in_its_file(place: Place) -> None:
    path = place.file()
    fd = os.open(path, os.O_RDWR)
    source = place.open(f"fd:{fd},rw")
    source.write(SIZE + 10, b"beyond")
    assert path.read_bytes() == CONTENT + bytes(10) + b"beyond"
    source.resize(5)
    assert path.read_bytes() == CONTENT[:5]
    source.close()
    os.close(fd)


def test_a_descriptor_keeps_the_offset_that_others_share(place: Place) -> None:
    fd = os.open(place.file(), os.O_RDONLY)
    os.lseek(fd, 17, os.SEEK_SET)
    source = place.open(f"fd:{fd}")
    source.read(0, 100)
    source.try_read(0, 100)
    assert (source.seek(5, os.SEEK_DATA), source.seek(5, os.SEEK_HOLE)) == (5, SIZE)
    assert os.lseek(fd, 0, os.SEEK_CUR) == 17
    source.close()
    os.close(fd)


def test_a_descriptor_outlives_its_process(place: Place) -> None:
    process, path = Other(place), place.file()
    fd = process.tell("deleted", str(path))
    source = place.open(f"fd:{process.pid}:{fd},rw")
    assert not path.exists() and source.entry().nlink == 1, "in the mount it has a name"
    process.end()
    source.write(3, b"mine")
    assert source.read(0, 10) == CONTENT[:3] + b"mine" + CONTENT[7:10]
    source.close()


@contextlib.contextmanager
def nobody_at_all() -> Iterator[None]:
    """A user without rights by its real number too, which pidfd_getfd(2) asks for."""
    os.setresgid(65534, 65534, 0)
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)


@pytest.mark.parametrize("flags", [os.O_RDWR, os.O_RDONLY, os.O_RDWR | os.O_APPEND])
def test_a_descriptor_whose_file_may_not_be_opened_is_duplicated(place: Place, flags: int) -> None:
    """A file of root's without any rights, open in a process of a plain user, and mapfs of the same user."""
    if os.geteuid() or not os.path.exists("/usr/bin/python3"):
        pytest.skip("takes root, to be two users, and a Python that both may run")
    path = place.file()
    path.chmod(0)
    fd = os.open(path, flags)
    try:
        process = Other(place, user=65534, keep=(fd,))
    finally:
        os.close(fd)
    spec = f"fd:{process.pid}:{fd}"
    with nobody_at_all():
        with pytest.raises(PermissionError):
            os.open(f"/proc/{process.pid}/fd/{fd}", os.O_RDONLY)
        source = place.open(spec)
        assert source.read(70_000, 5000) == CONTENT[70_000:75_000]
        source.close()
        if flags == os.O_RDWR:
            writing = place.open(f"{spec},rw")
            writing.write(0, b"mine")
            writing.close()
        else:
            with pytest.raises(SourceError, match="not open for reading and writing|opened for appending"):
                place.open(f"{spec},rw")
    assert path.read_bytes()[:4] == (b"mine" if flags == os.O_RDWR else CONTENT[:4])


def test_what_is_written_to_a_block_device_is_on_it(place: Place) -> None:
    device = place.loop()
    source = place.open(f"device:{device},rw")
    assert source.writable and source.entry().mode & 0o222
    source.write(70_001, b"there")
    writes_in_parallel(source)
    source.flush()
    assert (place.path / "disk").read_bytes() == DISK
    source.resize(len(DISK))
    fails(errno.EINVAL, source.resize, 0)
    fails(errno.ENOSPC, source.write, len(DISK) - 2, b"too long")
    fails(errno.EPERM, source.change, Changes(mode=0o600))
    source.change(Changes(mtime_ns=10**18))
    assert source.entry().mtime_ns == 10**18
    assert (source.seek(5, os.SEEK_DATA), source.seek(5, os.SEEK_HOLE)) == (5, len(DISK))
    source.allocate(3, PAGE_SIZE, PAGE_SIZE)  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
    assert source.read(PAGE_SIZE, PAGE_SIZE) == bytes(PAGE_SIZE)
    source.close()


def test_a_block_device_of_another_process_is_written(place: Place) -> None:
    process, device = Other(place), place.loop()
    fd = process.tell("opened", device, os.O_RDWR)
    source = place.open(f"fd:{process.pid}:{fd},rw")
    source.write(5, b"there")
    source.flush()
    assert (place.path / "disk").read_bytes()[:12] == DISK[:5] + b"there" + DISK[10:12]
    source.close()


def test_a_device_that_is_only_read_is_not_open_for_writing(place: Place) -> None:
    for spec in (f"device:{place.loop()}", "device:/dev/zero,size=64K"):
        source = place.open(spec)
        assert not source.writable and not source.entry().mode & 0o222
        with pytest.raises(SourceError, match="it is read-only"):
            source.write(0, b"x")
        assert source.backing_fd is not None
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.pwrite(source.backing_fd, b"x", 0)
        source.close()


def test_a_character_device_is_written_where_it_can_be(place: Place) -> None:
    source = place.open("device:/dev/zero,size=64K,rw")
    source.write(65_530, b"forgot")
    assert source.read(65_530, 6) == bytes(6)
    fails(errno.ENOSPC, source.write, 65_531, b"beyond")
    source.close()
    source = place.open("device:/dev/full,size=64K,rw")
    with pytest.raises(OSError, match="No space left on device"):
        source.write(0, b"x")
    source.close()


def test_a_terminal_has_no_pages_to_write(place: Place) -> None:
    ours, theirs = os.openpty()
    try:
        with pytest.raises(SourceError, match="cannot be read at an offset, so it has no pages to map"):
            catalogue.open_spec(catalogue.parse(f"device:{os.ttyname(theirs)},size=4K,rw"))
    finally:
        os.close(ours)
        os.close(theirs)
