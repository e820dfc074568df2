"""Copy on write: against a model in memory, from many threads, and with what is around and inside it."""

import errno
import os
import resource
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapfs.errors import SourceError
from mapfs.sources.base import Changes
from mapfs.sources.wrap.cow import CopyOnWrite
from mapfs.sources.wrap.storage import in_memory, unnamed_file
from mapfs.units import PAGE_SIZE
from tests.contract.places import CONTENT, WITHIN, Place, spec_of
from tests.contract.watched import Watched

KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
FEW = 12 * PAGE_SIZE
PLACES = st.integers(0, FEW) | st.integers(0, 12).map(lambda page: page * PAGE_SIZE)
STEPS = st.lists(
    st.tuples(st.just("write"), PLACES, st.binary(max_size=20) | PLACES.map(lambda n: bytes([n % 255 + 1]) * n))
    | st.tuples(st.just("resize"), PLACES, st.none())
    | st.tuples(st.sampled_from(["punch", "zero", "zero-keep"]), PLACES, PLACES.filter(bool))
    | st.tuples(st.sampled_from(["commit", "discard"]), st.none(), st.none()),
    max_size=12,
)


def cow_of(content: bytes, *, writable: bool = True, slow: bool = False) -> tuple[CopyOnWrite, Watched]:
    inner = Watched(content, writable=writable, slow=slow)
    return CopyOnWrite(inner, in_memory("cow")), inner


class Model:
    """The same on a bytearray."""

    def __init__(self, content: bytes) -> None:
        self.inner = bytes(content)
        self.now = bytearray(content)

    def zero(self, offset: int, stop: int) -> None:
        stop = min(stop, len(self.now))
        if offset < stop:
            self.now[offset:stop] = bytes(stop - offset)

    def grow(self, size: int) -> None:
        self.now.extend(bytes(max(0, size - len(self.now))))

    def step(self, what: str, offset: int, size: int) -> None:
        if what == "resize":
            self.grow(offset)
            del self.now[offset:]
        elif what == "commit":
            self.inner = bytes(self.now)
        elif what == "discard":
            self.now = bytearray(self.inner)
        else:
            self.zero(offset, offset + size)
            if what == "zero":
                self.grow(offset + size)

    def write(self, offset: int, data: bytes) -> None:
        if data:
            self.grow(offset + len(data))
            self.now[offset : offset + len(data)] = data

    def data(self, offset: int, whence: int, found: int) -> bool:
        """Whether `found` may be what lseek(2) gives from `offset` on: no byte but zero lies in a hole."""
        return whence == os.SEEK_HOLE or not any(self.now[offset:found])


@given(st.integers(0, FEW), STEPS)
def test_it_is_what_a_file_would_be(size: int, steps: list[tuple[str, int, bytes | int | None]]) -> None:
    content = CONTENT[:size]
    source, inner = cow_of(content)
    try:
        model = Model(content)
        for what, offset, extent in steps:
            version, mtime = source.version(), source.entry().mtime_ns
            before = bytes(model.now)
            if isinstance(extent, bytes):
                source.write(offset, extent)
                model.write(offset, extent)
            else:
                if what == "resize":
                    source.resize(offset)
                elif what == "commit":
                    source.commit()
                elif what == "discard":
                    source.discard()
                else:
                    mode = {"punch": PUNCH_HOLE | KEEP_SIZE, "zero": ZERO_RANGE, "zero-keep": ZERO_RANGE | KEEP_SIZE}
                    source.allocate(mode[what], offset, extent or 0)
                model.step(what, offset, extent or 0)
            if what in ("commit", "discard"):
                assert source.dirty == 0
            assert source.size == source.entry().size == len(model.now)
            assert bytes(source.read(0, source.size)) == model.now
            assert bytes(source.try_read(0, source.size) or b"") == model.now
            assert inner.content == model.inner, "nothing but a commit reaches the source inside"
            if before != model.now:
                assert source.version() != version
                assert source.entry().mtime_ns != mtime
            for at in range(0, source.size, PAGE_SIZE):
                check_seek(source, model, at)
    finally:
        source.close()


def check_seek(source: CopyOnWrite, model: Model, offset: int) -> None:
    try:
        found = source.seek(offset, os.SEEK_DATA)
    except SourceError as error:
        assert error.errno == errno.ENXIO
        found = len(model.now)
    assert offset <= found <= len(model.now)
    assert not any(model.now[offset:found]), "what is no data is zeroes"
    hole = source.seek(offset, os.SEEK_HOLE)
    assert offset <= hole <= len(model.now)


@given(st.data())
def test_any_part_of_it_can_be_read(data: st.DataObject) -> None:
    source, _ = cow_of(CONTENT[:FEW], writable=False)
    try:
        model = Model(CONTENT[:FEW])
        for _ in range(4):
            offset, size = data.draw(PLACES), data.draw(st.integers(0, 3 * PAGE_SIZE))
            source.write(offset, b"w" * size)
            model.write(offset, b"w" * size)
        for _ in range(10):
            offset = data.draw(st.integers(0, len(model.now)))
            size = data.draw(st.integers(0, len(model.now) - offset))
            assert bytes(source.read(offset, size)) == model.now[offset : offset + size]
    finally:
        source.close()


def test_holes_are_found() -> None:
    source, _ = cow_of(CONTENT[: 8 * PAGE_SIZE])
    source.allocate(PUNCH_HOLE | KEEP_SIZE, 2 * PAGE_SIZE, 3 * PAGE_SIZE)
    assert source.seek(0, os.SEEK_HOLE) == 2 * PAGE_SIZE
    assert source.seek(2 * PAGE_SIZE, os.SEEK_DATA) == 5 * PAGE_SIZE
    source.resize(1 << 40)
    assert source.seek(5 * PAGE_SIZE, os.SEEK_HOLE) == 8 * PAGE_SIZE
    with pytest.raises(SourceError) as caught:
        source.seek(8 * PAGE_SIZE, os.SEEK_DATA)
    assert caught.value.errno == errno.ENXIO
    with pytest.raises(SourceError) as caught:
        source.seek(1 << 40, os.SEEK_HOLE)
    assert caught.value.errno == errno.ENXIO
    assert source.dirty == 3 * PAGE_SIZE, "what was added takes nothing"
    with pytest.raises(SourceError) as caught:
        source.allocate(0, 0, PAGE_SIZE)
    assert caught.value.errno == errno.EOPNOTSUPP
    source.close()


def test_a_large_hole_takes_no_time_and_no_space() -> None:
    class Endless(Watched):
        size = 1 << 60

    source = CopyOnWrite(Endless(b""), in_memory("cow"))
    source.allocate(PUNCH_HOLE | KEEP_SIZE, 0, 1 << 50)
    assert source.read((1 << 50) - 5000, 5000) == bytes(5000)
    assert os.fstat(source._overlay.fd).st_blocks == 0
    source.close()


def test_what_it_is_around_stays_as_it_is(place: Place) -> None:
    path = place.file("read-only")
    path.chmod(0o444)
    source = place.open(spec_of("file", path) + ",cow")
    assert isinstance(source, CopyOnWrite)
    assert source.writable and source.backing_fd is None
    entry = source.entry()
    assert (stat.S_IMODE(entry.mode), entry.mtime_ns) == (0o666, path.stat().st_mtime_ns)
    source.write(5, b"five")
    source.change(Changes(mode=0o600, uid=5, mtime_ns=7))
    source.flush()
    assert source.entry().mtime_ns == 7
    assert (stat.S_IMODE(source.entry().mode), source.entry().uid) == (0o600, 5)
    assert stat.S_ISREG(source.entry().mode)
    assert path.read_bytes() == CONTENT
    assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_mtime_ns) == (0o444, entry.mtime_ns)
    with pytest.raises(SourceError, match="the source inside cow= is read-only; open it with rw") as caught:
        source.commit()
    assert caught.value.errno == errno.EROFS
    assert bytes(source.read(0, 10)) == CONTENT[:5] + b"five" + CONTENT[9:10]
    source.discard()
    assert bytes(source.read(0, 10)) == CONTENT[:10]
    assert stat.S_IMODE(source.entry().mode) == 0o666
    source.close()


def test_a_commit_changes_the_file(place: Place) -> None:
    path = place.file()
    source = place.open(spec_of("file", path) + ",rw,cow")
    assert isinstance(source, CopyOnWrite)
    source.resize(100)
    source.resize(10_000)
    source.write(9_990, b"beyond the end")
    version = source.version()
    source.commit()
    wanted = CONTENT[:100] + bytes(9_890) + b"beyond the end"
    assert path.read_bytes() == wanted
    assert bytes(source.read(0, source.size)) == wanted
    assert source.version() != version
    source.write(0, b"again")
    source.commit()
    assert path.read_bytes() == b"again" + wanted[5:]
    source.commit()
    source.close()


def test_a_commit_that_fails_loses_nothing() -> None:
    source, inner = cow_of(CONTENT[:FEW])
    source.write(10, b"kept")
    source.write(5 * PAGE_SIZE, b"kept too")

    def full(offset: int, data: object) -> None:
        raise SourceError("full", errno.ENOSPC)

    inner.write = full  # type: ignore[method-assign]  # fails as a full disk does
    with pytest.raises(SourceError, match="^full$"):
        source.commit()
    assert source.dirty == 2 * PAGE_SIZE
    assert bytes(source.read(10, 4)) == b"kept"
    del inner.write  # the class's own again
    source.commit()
    assert inner.content[10:14] == b"kept"
    assert inner.flushed == 1
    source.close()


def test_what_changes_inside_is_seen_where_nothing_was_written(place: Place) -> None:
    path = place.file()
    source = place.open(spec_of("file", path) + ",cow")
    os.truncate(path, 100_000)
    assert source.size == 100_000, "with no change of its own, it is as large as the file"
    source.write(0, b"mine")
    version = source.version()
    path.write_bytes(b"x" * 200_000)
    assert source.size == 100_000
    assert source.version() != version
    assert bytes(source.read(PAGE_SIZE, PAGE_SIZE)) == b"x" * PAGE_SIZE
    assert bytes(source.read(0, 5)) == b"mine" + CONTENT[4:5]
    os.truncate(path, 50_000)
    with pytest.raises(SourceError, match="it shrank"):
        source.read(60_000, 10)
    source.resize(70_000)
    with pytest.raises(SourceError, match="the copy has no bytes at 70000: it shrank"):
        source.read(69_000, 2000)
    assert source.hold(69_000, 2000) == 0.0
    source.close()


def test_only_what_is_missing_of_a_page_is_read_first() -> None:
    source, inner = cow_of(CONTENT[:FEW])
    source.write(PAGE_SIZE, b"x" * PAGE_SIZE)
    assert not inner.calls
    source.write(3 * PAGE_SIZE + 10, b"x" * (2 * PAGE_SIZE))
    assert inner.asked("read") == {(3 * PAGE_SIZE, 10): 1, (5 * PAGE_SIZE + 10, PAGE_SIZE - 10): 1}
    source.write(3 * PAGE_SIZE + 20, b"y")
    source.read(3 * PAGE_SIZE, 2 * PAGE_SIZE)
    assert inner.asked("read").total() == 2, "it is in the overlay"
    source.close()


def test_a_page_that_cannot_be_read_cannot_be_written_in_part(place: Place) -> None:
    source = place.open("pages:10p,error=EIO@3,cow")
    with pytest.raises(SourceError, match="error=EIO was asked for on page 3"):
        source.write(3 * PAGE_SIZE + 1, b"x")
    source.write(3 * PAGE_SIZE, b"x" * PAGE_SIZE)
    assert source.try_read(3 * PAGE_SIZE, PAGE_SIZE) == b"x" * PAGE_SIZE, "the copy can be read"
    source.close()


def test_a_page_of_the_overlay_waits_for_nothing(place: Place) -> None:
    source = place.open("pages:10p,delay=1s,cow")
    source.write(PAGE_SIZE, b"x" * PAGE_SIZE)
    assert source.try_read(PAGE_SIZE, PAGE_SIZE) == b"x" * PAGE_SIZE
    assert source.hold(PAGE_SIZE, PAGE_SIZE) == 0.0
    assert source.try_read(0, 3 * PAGE_SIZE) is None
    assert source.hold(0, 3 * PAGE_SIZE) == 1.0, "both pieces are put off at once"
    source.close()


def test_eight_threads_write_while_it_is_committed_and_read() -> None:
    """Each page is written whole, by one thread, with ever larger numbers: a reader sees no older one afterwards."""
    pages, rounds = 64, 30
    source, inner = cow_of(bytes(pages * PAGE_SIZE))
    wrong: list[object] = []
    done = threading.Event()

    def write(own: int) -> None:
        for number in range(1, rounds + 1):
            for page in range(own, pages, 8):
                source.write(page * PAGE_SIZE, bytes([number]) * PAGE_SIZE)

    def read() -> None:
        seen = [0] * pages
        while not done.is_set():
            for page in range(pages):
                data = bytes(source.read(page * PAGE_SIZE, PAGE_SIZE))
                if min(data) < seen[page]:
                    wrong.append((page, min(data), seen[page]))
                seen[page] = min(data)

    def commit() -> None:
        while not done.is_set():
            source.commit()

    writers = [threading.Thread(target=write, args=(own,)) for own in range(8)]
    others = [threading.Thread(target=read), threading.Thread(target=read), threading.Thread(target=commit)]
    for thread in (*writers, *others):
        thread.start()
    for thread in writers:
        thread.join(WITHIN)
    done.set()
    for thread in others:
        thread.join(WITHIN)
    assert wrong == []
    source.commit()
    assert inner.content == bytes([rounds]) * (pages * PAGE_SIZE)
    source.close()


def test_an_overlay_that_is_full(tmp_path: Path) -> None:
    """The limit of a file's size stands for the full disk; pwrite(2) fails with EFBIG then."""
    source = CopyOnWrite(Watched(CONTENT[:FEW]), unnamed_file("cow", str(tmp_path)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * PAGE_SIZE, before[1]))
    try:
        source.write(PAGE_SIZE, b"x" * PAGE_SIZE)
        with pytest.raises(
            SourceError, match="cow= cannot keep what was written: File too large; name a place"
        ) as caught:
            source.write(8 * PAGE_SIZE, b"x" * PAGE_SIZE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert bytes(source.read(0, FEW)) == CONTENT[:PAGE_SIZE] + b"x" * PAGE_SIZE + CONTENT[2 * PAGE_SIZE : FEW]
    source.close()


def test_a_full_disk(place: Place) -> None:
    small = place.path / "small"
    small.mkdir()
    if os.geteuid() or os.system(f"mount -t tmpfs -o size=64K mapfs-test {small}"):  # noqa: S605 -- no text of others
        pytest.skip("a small filesystem takes root and the right to mount")
    place.stack.callback(os.system, f"umount {small}")
    source = place.open(f"zero:1M,cow={small}")
    with pytest.raises(SourceError, match="No space left on device; name a place with more room by cow=DIR") as caught:
        source.write(0, b"x" * (1 << 20))
    assert caught.value.errno == errno.ENOSPC
    assert bytes(source.read(0, 1 << 20)) == bytes(1 << 20), "what was not stored is not seen"
    source.write(0, b"y")
    source.close()


def test_an_unnamed_file_leaves_no_name(place: Place) -> None:
    source = place.open(f"zero:1M,cow={place.path}")
    source.write(0, b"x")
    assert os.listdir(place.path) == []
    source.close()
