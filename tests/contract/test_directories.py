"""Directory sources: what they list, and what they refuse."""

import os
import stat

import pytest

from tests.contract.places import DISK, SIZE, Place, spec_of


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
