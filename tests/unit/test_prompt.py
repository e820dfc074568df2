"""Names that are at hand: what is answered at once, what is left to libfuse, and that the answers are those of stat(2)."""

import errno
import itertools
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapfs.fuse import wire
from mapfs.fuse.files import Files
from mapfs.fuse.listing import Listings
from mapfs.fuse.prompt import Prompt
from mapfs.headroom import Headroom
from mapfs.sources.backing import in_memory
from mapfs.sources.directory import BackingDirectory
from mapfs.sources.spec import Spec
from mapfs.tree.build import build
from mapfs.tree.filenodes import FileNode
from mapfs.tree.mirrored import MirrorDirectory, MirrorFile

ROOT = 1
KEEP, CACHE = wire.OPEN_KEEP_CACHE, wire.OPEN_CACHE_DIR


class FakeTurn:
    free = True
    held = 0

    def take(self) -> bool:
        self.held += self.free
        return self.free

    def give_back(self) -> None:
        self.held -= 1


class FakeHandles:
    def __init__(self, files: Files) -> None:
        self.told: list[str] = []
        self.listings = Listings(files.new_handle)

    def opening(self, tid: int) -> None:
        self.told.append(f"opening {tid}")

    def opened(self, node: FileNode) -> None:
        self.told.append(f"opened {os.fsdecode(node.path())}")

    def released(self, node: FileNode) -> None:
        self.told.append(f"released {os.fsdecode(node.path())}")


class Asked:
    """A mount of `specs` without a kernel: each call is a request of the thread 5."""

    def __init__(self, **specs: Spec) -> None:
        self.tree = build(dict(specs), "/nowhere")
        self.files = Files(lambda _: None)
        self.turn, self.handles = FakeTurn(), FakeHandles(self.files)
        self.prompt = Prompt(self.turn, self.tree, self.files, self.handles, lambda tid: tid == 5)  # type: ignore[arg-type] # no trio here

    def ask(self, opcode: int, nodeid: int, body: bytes) -> tuple[bytes, int] | None:
        message = wire.REQUEST.pack(wire.REQUEST.size + len(body), opcode, 9, nodeid, 0, 0, 5, 0) + body
        answer = self.prompt.answer(memoryview(message), opcode)
        assert not self.turn.held
        return answer

    def look_up(self, nodeid: int, name: str) -> tuple[bytes, int] | None:
        return self.ask(wire.LOOKUP, nodeid, os.fsencode(name) + b"\0")

    def node(self, path: str) -> int:
        """The inode of `path`, which must be at hand."""
        nodeid = ROOT
        for name in path.split("/"):
            answer = self.look_up(nodeid, name)
            assert answer is not None and not answer[1], (path, answer)
            nodeid = wire.TIMEOUTS.unpack_from(answer[0])[0]
        return nodeid

    def open(self, path: str, flags: int = os.O_RDONLY) -> tuple[bytes, int] | None:
        return self.ask(wire.OPEN, self.node(path), wire.OPEN_IN.pack(flags, 0))

    def open_directory(self, path: str) -> int:
        """Its flags."""
        answer = self.ask(wire.OPENDIR, self.node(path), wire.OPEN_IN.pack(os.O_RDONLY | os.O_DIRECTORY, 0))
        assert answer is not None and not answer[1]
        handle, flags, _ = wire.OPEN_OUT.unpack(answer[0])
        assert self.handles.listings[handle].names is None
        return int(flags)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    (home / "d").mkdir(parents=True)
    (home / "d" / "f").write_bytes(b"x" * 5000)
    (home / "d" / "l").symlink_to("f")
    os.mkfifo(home / "d" / "p", 0o640)
    os.utime(home / "d" / "f", ns=(1_000_000_007, 2_500_000_009))
    return home


@pytest.fixture
def asked(home: Path) -> Iterator[Asked]:
    asked = Asked(m=Spec("dir", str(home), {}))
    yield asked
    asked.tree.close()


@pytest.mark.parametrize("name", ["d", "d/f", "d/l", "d/p"])
def test_attributes_are_those_of_stat(asked: Asked, home: Path, name: str) -> None:
    nodeid, status = asked.node(f"m/{name}"), os.lstat(home / name)
    parent, _, last = f"m/{name}".rpartition("/")
    entry = asked.look_up(asked.node(parent), last)
    alone = asked.ask(wire.GETATTR, nodeid, bytes(16))
    assert entry is not None and alone is not None
    assert wire.TIMEOUTS.unpack_from(entry[0]) == (nodeid, 0, 1, 1, 0, 0)
    assert wire.ATTR_TIMEOUT.unpack_from(alone[0]) == (1, 0, 0)
    assert entry[0][wire.TIMEOUTS.size :] == alone[0][wire.ATTR_TIMEOUT.size :]
    assert (len(entry[0]), len(alone[0])) == (128, 104)  # fuse_entry_out, fuse_attr_out
    assert wire.ATTR.unpack(alone[0][wire.ATTR_TIMEOUT.size :]) == (
        nodeid, status.st_size, status.st_blocks,
        status.st_atime_ns // 10**9, status.st_mtime_ns // 10**9, status.st_ctime_ns // 10**9,
        status.st_atime_ns % 10**9, status.st_mtime_ns % 10**9, status.st_ctime_ns % 10**9,
        status.st_mode, status.st_nlink, status.st_uid, status.st_gid, status.st_rdev, 4096, 0,
    )  # fmt: skip


def test_times_before_1970_are_told(asked: Asked, home: Path) -> None:
    os.utime(home / "d/f", ns=(-1, -1_500_000_000))
    answer = asked.ask(wire.GETATTR, asked.node("m/d/f"), bytes(16))
    assert answer is not None
    seconds = struct.unpack_from("=qq", answer[0], wire.ATTR_TIMEOUT.size + 24)
    ns = struct.unpack_from("=II", answer[0], wire.ATTR_TIMEOUT.size + 48)
    assert (seconds, ns) == ((-1, -2), (999_999_999, 500_000_000))


def test_each_answer_to_a_lookup_counts_until_it_is_forgotten(asked: Asked) -> None:
    nodeid = asked.node("m/d/f")
    for _ in range(2):
        assert asked.node("m/d/f") == nodeid
    assert asked.tree[nodeid].lookups == 3


def test_a_missing_name_is_told_once_the_kernel_knows_that_it_is_missing(asked: Asked, home: Path) -> None:
    directory = asked.node("m/d")
    assert asked.look_up(directory, "nothing") is None
    assert not (home / "d" / "nothing").exists()
    fd = os.open(home, os.O_RDONLY)
    known = None if in_memory(fd) else (b"", errno.ENOENT)  # tmpfs keeps no names that are missing
    os.close(fd)
    assert asked.look_up(directory, "nothing") == known


def test_links_are_read(asked: Asked) -> None:
    assert asked.ask(wire.READLINK, asked.node("m/d/l"), b"") == (b"f", 0)
    assert asked.ask(wire.READLINK, asked.node("m/d/f"), b"") is None


def test_a_file_is_opened_and_released_and_that_is_told(asked: Asked, home: Path) -> None:
    opened = asked.open("m/d/f")
    assert opened is not None
    handle, flags, _ = wire.OPEN_OUT.unpack(opened[0])
    assert flags == KEEP
    source = asked.files.handles[handle].node.source
    assert source is not None and source.read(0, 3) == b"xxx"
    assert asked.ask(wire.RELEASE, asked.node("m/d/f"), struct.pack("=QIIQ", handle, 0, 0, 0)) == (b"", 0)
    assert handle not in asked.files.handles
    assert asked.handles.told == ["opening 5", "opened m/d/f", "released m/d/f"]
    assert asked.ask(wire.RELEASE, asked.node("m/d/f"), struct.pack("=QIIQ", handle, 0, 0, 0)) is None


def test_pages_of_another_content_are_dropped_by_whom_may_wait(asked: Asked, home: Path) -> None:
    directory, file = asked.node("m/d"), asked.node("m/d/f")
    assert asked.open("m/d/f") is not None
    (home / "d" / "f").write_bytes(b"another")
    lookups = asked.tree[file].lookups
    assert asked.look_up(directory, "f") is None
    assert asked.ask(wire.GETATTR, file, bytes(16)) is None
    assert asked.tree[file].lookups == lookups


def test_what_was_opened_the_long_way_goes_on_that_way(asked: Asked) -> None:
    """It may lie on a server, below a directory that does not, or have something around it."""
    file = asked.tree[asked.node("m/d/f")]
    assert isinstance(file, MirrorFile)
    handle, _ = asked.files.open(file)
    assert asked.look_up(asked.node("m/d"), "f") is not None  # which asks the directory
    assert asked.ask(wire.GETATTR, file.inode, bytes(16)) is None
    assert asked.open("m/d/f") is None
    assert asked.ask(wire.RELEASE, file.inode, struct.pack("=QIIQ", handle, 0, 0, 0)) is None
    asked.files.release(handle)
    assert asked.open("m/d/f") is not None


def test_the_last_handle_of_what_takes_long_to_close_goes_the_long_way(asked: Asked, home: Path) -> None:
    handles = []
    for _ in range(2):
        opened = asked.open("m/d/f")
        assert opened is not None
        handles.append(struct.pack("=QIIQ", wire.OPEN_OUT.unpack(opened[0])[0], 0, 0, 0))
    file = asked.node("m/d/f")
    (home / "d" / "f").unlink()
    assert asked.ask(wire.RELEASE, file, handles[0]) == (b"", 0)
    assert asked.ask(wire.RELEASE, file, handles[1]) is None


def test_a_thread_of_which_something_is_to_be_found_out_goes_the_long_way(asked: Asked) -> None:
    file, body = asked.node("m/d/f"), wire.OPEN_IN.pack(os.O_RDONLY, 0)
    message = wire.REQUEST.pack(wire.REQUEST.size + len(body), wire.OPEN, 9, file, 0, 0, 6, 0) + body
    assert asked.prompt.answer(memoryview(message), wire.OPEN) is None
    assert not asked.files.handles and not asked.handles.told


def test_the_kernel_does_not_keep_pieces_of_two_listings_or_one_that_lacks_a_name(asked: Asked) -> None:
    directory = asked.tree[asked.node("m/d")]
    assert isinstance(directory, MirrorDirectory)
    node = directory
    node.listed = "first"

    def kept() -> object:
        return node.listed

    listings = Listings(itertools.count().__next__)
    one, other = (listings[listings.add(directory)] for _ in range(2))
    for listing in (one, other):
        assert listing.due(0)
        listing.read([b"a", b"b"])
        listing.given()
    assert kept() == "first"
    assert not one.due(1)
    assert one.due(0), "it is rewound"
    directory.listed = "second"
    one.given()
    assert kept() is None
    directory.listed = "third"
    other.incomplete()
    assert kept() is None


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC])
def test_what_is_opened_to_be_changed_goes_the_long_way(asked: Asked, flags: int) -> None:
    assert asked.open("m/d/f", flags) is None
    assert not asked.files.handles
    assert not asked.handles.told


@pytest.mark.parametrize("options", [{"coherency": "live"}, {"coherency": "passthrough"}, {"delay": "1ms"}])
def test_what_takes_time_to_open_goes_the_long_way_and_its_names_do_not(
    home: Path, options: dict[str, str | None]
) -> None:
    asked = Asked(m=Spec("dir", str(home), options))
    assert asked.open("m/d/f") is None
    asked.tree.close()


@pytest.mark.parametrize("spec", [Spec("dir", "/proc", {}), Spec("dir", "/sys", {})])
def test_what_may_have_to_be_asked_is_not_at_hand(spec: Spec) -> None:
    asked = Asked(m=spec)
    assert asked.look_up(ROOT, "m") is None
    asked.tree.close()


def test_while_the_trio_thread_is_at_work_all_goes_the_long_way(asked: Asked) -> None:
    directory = asked.node("m/d")
    asked.turn.free = False
    assert asked.look_up(directory, "f") is None
    assert asked.ask(wire.GETATTR, directory, bytes(16)) is None


def test_what_is_removed_is_not_at_hand(asked: Asked) -> None:
    file, directory = asked.node("m/d/f"), asked.node("m/d")
    node = asked.tree[directory]
    assert isinstance(node, MirrorDirectory)
    node.remove()
    assert asked.look_up(directory, "f") is None
    assert asked.ask(wire.OPEN, file, wire.OPEN_IN.pack(os.O_RDONLY, 0)) is None
    assert asked.ask(wire.OPENDIR, directory, wire.OPEN_IN.pack(os.O_RDONLY, 0)) is None


def test_the_kernel_keeps_names_of_a_directory_that_is_what_it_was(
    asked: Asked, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = os.stat(home / "d").st_ctime_ns
    monkeypatch.setattr(time, "time_ns", lambda: changed + 1_999_000_000)
    assert [asked.open_directory("m/d") for _ in range(2)] == [0, 0]  # it may change with the same time again
    monkeypatch.setattr(time, "time_ns", lambda: changed - 10**9)
    assert [asked.open_directory("m/d") for _ in range(2)] == [0, 0]  # a clock that was set
    monkeypatch.setattr(time, "time_ns", lambda: time.monotonic_ns() + changed + 3 * 10**9)
    assert [asked.open_directory("m/d") for _ in range(3)] == [CACHE, CACHE | KEEP, CACHE | KEEP]
    (home / "d" / "new").touch()
    assert asked.open_directory("m/d") == CACHE
    assert asked.ask(wire.RELEASEDIR, asked.node("m/d"), struct.pack("=QIIQ", 1, 0, 0, 0)) == (b"", 0)
    assert asked.ask(wire.RELEASEDIR, asked.node("m/d"), struct.pack("=QIIQ", 1, 0, 0, 0)) is None


def test_a_prompt_directory_never_looks_at_the_disk_and_stays_in_its_mount(home: Path) -> None:
    directory = BackingDirectory(str(home))
    at_hand = directory.prompt()
    assert at_hand is not None
    with pytest.raises(BlockingIOError):
        at_hand.entry(b"d/never")
    with pytest.raises(FileNotFoundError):
        directory.entry(b"d/never")
    assert at_hand.entry(b"d/f") == directory.entry(b"d/f")
    for path in (b"..", b"d/../../x", b"/etc/passwd"):
        with pytest.raises(OSError, match="File exists|temporarily|Invalid cross-device|Too many levels"):
            at_hand.entry(path)
    directory.close()
    above = BackingDirectory("/")
    there = above.prompt()
    if there is not None:  # else / is on another machine
        with pytest.raises(BlockingIOError):
            there.entry(b"proc/self")
    above.close()


def test_where_memory_is_short_nothing_is_opened_and_nothing_is_left_open(
    asked: Asked, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The long way says so."""
    for number in range(20):
        (home / "d" / f"{number}").touch()
    for path in [*(f"m/d/{number}" for number in range(20)), "m/d"]:
        asked.node(path)
    directory = asked.tree[asked.node("m/d")]
    assert isinstance(directory, MirrorDirectory)
    before = sorted(os.listdir("/proc/self/fd")), directory.listed

    def no_more(_: Headroom) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(Headroom, "need", no_more)
    for number in range(20):
        assert asked.open(f"m/d/{number}") is None
    assert asked.ask(wire.OPENDIR, directory.inode, wire.OPEN_IN.pack(os.O_RDONLY | os.O_DIRECTORY, 0)) is None
    assert (sorted(os.listdir("/proc/self/fd")), directory.listed) == before
    assert not asked.files.handles and not asked.files.opened()
    monkeypatch.undo()
    answer = asked.open("m/d/7")
    assert answer is not None and not answer[1]
