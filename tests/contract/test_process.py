"""`process:`: the memory of another process, as it is, and of no other than that process."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mapfs.errors import SourceError
from mapfs.sources.base import DirectorySource, Source
from mapfs.units import PAGE_SIZE
from tests.contract.places import CONTENT, SIZE, Place
from tests.contract.places_objects import PADDED, Other, memory

TRIES = 200
ENDED = "has ended, or runs another program since"


@pytest.fixture
def other(place: Place) -> Other:
    return Other(place)


def maps(pid: int) -> list[list[str]]:
    """The fields of each line: addresses, rights, offset, device, inode, and the name where there is one."""
    return [line.split(maxsplit=5) for line in Path(f"/proc/{pid}/maps").read_text("utf-8").splitlines()]


def addresses(pid: int, name: str) -> tuple[int, int]:
    """The first mapping with that name."""
    text = next(fields[0] for fields in maps(pid) if fields[-1].strip() == name)
    start, end = text.split("-")
    return int(start, 16), int(end, 16)


def fails(source: Source, offset: int, size: int, why: str) -> None:
    with pytest.raises(SourceError, match=why) as caught:
        source.read(offset, size)
    assert caught.value.errno == 5


def test_memory_is_read_as_it_is_now(place: Place) -> None:
    other, at = memory(place)
    source = place.open(f"process:{other.pid}:{at:x}-{at + SIZE:x}")
    assert not source.writable and source.backing_fd is None
    assert source.entry().mode & 0o777 == 0o400, "nobody else's, even with --allow-other"
    assert source.read(70_000, 10) == CONTENT[70_000:70_010]
    other.tell("poke", at + 70_000, "changed it")
    assert source.read(70_000, 10) == b"changed it"
    assert source.try_read(70_000, 10) is None, "its page may be on a disk, or in a mount"
    source.close()


def test_a_hole_is_an_error_and_the_rest_is_served(place: Place) -> None:
    other, at = memory(place)
    source = place.open(f"process:{other.pid}:{at:x}-{at + SIZE:x}")
    other.tell("unmap", at + 2 * PAGE_SIZE, PAGE_SIZE)
    hole = f"process {other.pid} has nothing at {at + 2 * PAGE_SIZE:#x} that can be read"
    fails(source, 0, 4 * PAGE_SIZE, hole)
    fails(source, 2 * PAGE_SIZE - 1, 2, hole)
    fails(source, 3 * PAGE_SIZE - 1, 2, f"has nothing at {at + 3 * PAGE_SIZE - 1:#x} that can be read")
    assert source.read(0, 2 * PAGE_SIZE) == CONTENT[: 2 * PAGE_SIZE]
    assert source.read(3 * PAGE_SIZE, 5000) == CONTENT[3 * PAGE_SIZE :][:5000]
    source.close()


def test_a_path_is_served_from_its_lowest_to_its_highest_address(place: Place, other: Other) -> None:
    path = place.file("a library")
    at = other.tell("mapped", str(path))
    other.tell("unmap", at + PAGE_SIZE, PAGE_SIZE)
    source = place.open(f"process:{other.pid}:{path}")
    assert source.size == len(PADDED)
    assert source.read(2 * PAGE_SIZE, PAGE_SIZE) == PADDED[2 * PAGE_SIZE : 3 * PAGE_SIZE]
    fails(source, 0, 2 * PAGE_SIZE, "has nothing at")
    path.unlink()
    again = place.open(f"process:{other.pid}:{path}")
    assert again.read(0, PAGE_SIZE) == PADDED[:PAGE_SIZE], "deleted since, and called so in the maps"
    source.close()
    again.close()


@pytest.mark.parametrize("name", ["[heap]", "[stack]", "[vdso]"])
def test_the_parts_that_the_kernel_names(place: Place, other: Other, name: str) -> None:
    other.tell("grow", 0)
    source = place.open(f"process:{other.pid}:{name}")
    start, end = addresses(other.pid, name)
    assert source.size == end - start
    with open(f"/proc/{other.pid}/mem", "rb", buffering=0) as direct:
        direct.seek(start)
        assert source.read(0, PAGE_SIZE) == direct.read(PAGE_SIZE)
    source.close()


def test_a_heap_that_grows_is_a_new_size_at_the_next_look(place: Place, other: Other) -> None:
    source = place.open(f"process:{other.pid}:[heap]")
    size, version = source.size, source.version()
    other.tell("grow", 1 << 20)
    assert (source.size, source.version()) == (size, version), "nothing here waits for the other process"
    source.refresh()
    assert source.size == source.entry().size == size + (1 << 20)
    assert source.version() != version
    assert source.read(source.size - PAGE_SIZE, PAGE_SIZE) == bytes(PAGE_SIZE)
    source.close()


def test_what_is_mapped_no_longer_is_a_new_version(place: Place) -> None:
    other, at = memory(place)
    source = place.open(f"process:{other.pid}:{at:x}-{at + SIZE:x}")
    version = source.version()
    source.refresh()
    assert source.version() == version
    other.tell("unmap", at, len(PADDED))
    source.refresh()
    assert source.version() != version and source.size == SIZE
    fails(source, 0, 1, "has nothing at")
    source.close()


def test_the_directory_lists_all_mappings_in_their_order(place: Place, other: Other) -> None:
    path = place.file("a, b (c)")
    other.tell("mapped", str(path))
    directory = place.directory(f"process:{other.pid}")
    names = directory.names(b"")
    lines = maps(other.pid)
    assert len(names) == len(set(names)) == len(lines)
    assert names == sorted(names), "ls sorts them by their addresses"
    for name, fields in zip(names, lines, strict=True):
        assert b"/" not in name
        span, rights, short = name.decode().split(".", 2)
        start, end = (int(text, 16) for text in span.split("-"))
        assert (f"{start:08x}-{end:08x}", rights) == tuple(fields[:2])
        assert short == (os.path.basename(fields[5]) if len(fields) > 5 else "anon")
        assert directory.entry(name).size == end - start
    assert any(name.endswith(b".[stack]") for name in names)
    assert any(name.endswith(b".rw-p.a, b (c)") for name in names)


def test_the_directory_is_live(place: Place, other: Other) -> None:
    directory = place.directory(f"process:{other.pid}")
    before = set(directory.names(b""))
    path = place.file("new")
    at = other.tell("mapped", str(path))
    name = b"%012x-%012x.rw-p.new" % (at, at + len(PADDED))
    assert name in set(directory.names(b"")) - before
    path.unlink()
    with pytest.raises(FileNotFoundError):
        directory.entry(name)
    assert name + b".deleted" in directory.names(b"")
    other.tell("unmap", at, len(PADDED))
    assert name + b".deleted" not in directory.names(b"")
    for gone in (name, b"x", b"../maps", name + b"/x"):
        with pytest.raises(FileNotFoundError):
            directory.open(gone)
    with pytest.raises(NotADirectoryError):
        directory.names(name)


def test_a_file_of_the_directory_has_a_spec_of_its_own(place: Place) -> None:
    other, at = memory(place)
    source = place.open(f"process:{other.pid}/{at:012x}-{at + len(PADDED):012x}.rw-p.anon")
    assert source.read(0, len(PADDED)) == PADDED
    source.close()


@pytest.mark.parametrize("name", [b"[vvar]", b"[vsyscall]"])
def test_what_may_not_be_read_is_listed_and_its_read_fails(place: Place, other: Other, name: bytes) -> None:
    directory = place.directory(f"process:{other.pid}")
    found = [one for one in directory.names(b"") if one.endswith(b"." + name)]
    if not found:
        pytest.skip("this machine has no such mapping")
    source = directory.open(found[0])
    assert source.size == directory.entry(found[0]).size > 0
    fails(source, 0, PAGE_SIZE, "has nothing at 0x[0-9a-f]+ that can be read")
    source.close()


def all_fails(source: Source, directory: DirectorySource) -> None:
    """Neither gives anything of a process that has ended."""
    version = source.version()
    fails(source, 0, PAGE_SIZE, ENDED)
    source.refresh()
    assert source.version() != version, "so that the kernel drops what it has cached"
    assert source.size == SIZE, "a smaller size would be a SIGBUS that nobody explains"
    fails(source, SIZE - 1, 1, ENDED)
    with pytest.raises(ProcessLookupError):
        directory.names(b"")
    with pytest.raises(ProcessLookupError):
        directory.open(b"%012x-%012x.rw-p.anon" % (PAGE_SIZE, 2 * PAGE_SIZE))


def test_after_its_end_nothing_is_read(place: Place) -> None:
    other, at = memory(place)
    source = place.open(f"process:{other.pid}:{at:x}-{at + SIZE:x}")
    directory = place.directory(f"process:{other.pid}")
    other.end()
    all_fails(source, directory)
    source.close()


def test_a_zombie_has_no_memory(place: Place) -> None:
    other, at = memory(place)
    source = place.open(f"process:{other.pid}:{at:x}-{at + SIZE:x}")
    os.kill(other.pid, 9)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    fails(source, 0, PAGE_SIZE, ENDED)
    source.close()
    with pytest.raises(SourceError, match=f"process {other.pid} has (ended|no memory)"):
        place.open(f"process:{other.pid}:[heap]")


def test_another_process_with_the_same_number_is_not_read(place: Place) -> None:
    """The number is given away again, by what checkpoint tools use: /proc/sys/kernel/ns_last_pid (proc(5))."""
    last = Path("/proc/sys/kernel/ns_last_pid")
    if not os.access(last, os.W_OK):
        pytest.skip("takes root, to choose the number of a process")
    other, at = memory(place)
    number = other.pid
    source = place.open(f"process:{number}:{at:x}-{at + SIZE:x}")
    directory = place.directory(f"process:{number}")
    other.end()
    new = again(place, lambda: last.write_text(f"{number - 1}", "ascii"), number)
    assert new.pid == number and maps(number)
    new.tell("memory", str(place.path / "a, b"))
    all_fails(source, directory)
    assert place.directory(f"process:{number}").names(b""), "asked for anew, it is the new one"
    source.close()


def again(place: Place, choose: Callable[[], object], number: int) -> Other:
    """A process with that number; others may start in between and take it."""
    for _ in range(TRIES):
        choose()
        made = Other(place)
        if made.pid == number:
            return made
        made.end()
    pytest.skip("the number cannot be had again")


def test_another_program_in_the_same_process_is_not_read(place: Place) -> None:
    other, at = memory(place)
    source = place.open(f"process:{other.pid}:{at:x}-{at + SIZE:x}")
    directory = place.directory(f"process:{other.pid}")
    before, version = directory.names(b""), source.version()
    other.tell("rebegin", answers=False)
    assert other.tell("memory", str(place.path / "a, b")), "the new program answers"
    fails(source, 0, PAGE_SIZE, ENDED)
    source.refresh()
    assert source.version() != version
    assert directory.names(b"") != before, "the directory is the process's, whatever it runs"
    source.close()
