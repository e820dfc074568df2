"""What the kernel is told unasked, where the device does not take it: a refusal is an error, an end is none."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mapfs.errors import SourceError
from mapfs.fuse.notifier import Notifier
from mapfs.fuse.splice import Splicer
from mapfs.sources.coherency import Coherency, Terms
from mapfs.sources.pages import PagesSource
from mapfs.trace.ring import Ring
from mapfs.tree.filenodes import FixedFile
from mapfs.tree.tree import Tree
from mapfs.units import PAGE_SIZE


@pytest.fixture
def node() -> FixedFile:
    tree = Tree()
    return FixedFile(tree.new_inode(), tree.root, b"p", "pages:4p", PagesSource(4 * PAGE_SIZE), Terms(Coherency.FIXED))


@pytest.fixture
def content(tmp_path: Path) -> Iterator[int]:
    """A descriptor of a file of 32 pages."""
    path = tmp_path / "content"
    path.write_bytes(bytes(32 * PAGE_SIZE))
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_without_the_own_link_nothing_can_be_told(node: FixedFile, content: int) -> None:
    notifier = Notifier(Ring())
    assert not notifier.works
    assert not notifier.drop(node)
    assert not notifier.store(node, 0, bytes(PAGE_SIZE))
    assert not notifier.store_from(Splicer(), node, 0, PAGE_SIZE, content)


def test_what_the_kernel_refuses_is_an_error(node: FixedFile, content: int) -> None:
    notifier = Notifier(Ring())
    device = os.open("/dev/full", os.O_WRONLY)  # its errors are none that a kernel gives for a notification
    try:
        notifier.open(device)
        tells: list[Callable[[], bool]] = [
            lambda: notifier.drop(node),
            lambda: notifier.drop_attributes(node),
            lambda: notifier.drop_name(node, b"p"),
            lambda: notifier.store(node, 0, bytes(PAGE_SIZE)),
            lambda: notifier.store_from(Splicer(), node, 0, PAGE_SIZE, content),
        ]
        for tell in tells:
            with pytest.raises(SourceError, match="the kernel refused a notification: "):
                tell()
    finally:
        os.close(device)


def test_what_is_told_when_the_mount_is_over_is_not_done(node: FixedFile, content: int) -> None:
    notifier = Notifier(Ring())
    device = os.open("/dev/null", os.O_WRONLY)
    notifier.open(device)
    assert notifier.drop(node)
    assert notifier.store_from(Splicer(), node, 0, PAGE_SIZE, content)
    os.close(device)
    assert not notifier.drop(node)
    assert not notifier.store(node, 0, bytes(PAGE_SIZE))
    assert not notifier.store_from(Splicer(), node, 0, PAGE_SIZE, content)


def test_a_file_that_became_shorter_is_not_spliced_and_the_next_is(
    node: FixedFile, content: int, tmp_path: Path
) -> None:
    """Nothing of the message that was begun may come before the next one."""
    device = os.open(tmp_path / "device", os.O_RDWR | os.O_CREAT)
    try:
        notifier, splicer = Notifier(Ring()), Splicer()
        notifier.open(device)
        assert not notifier.store_from(splicer, node, 24 * PAGE_SIZE, 16 * PAGE_SIZE, content)
        assert os.fstat(device).st_size == 0
        assert notifier.store_from(splicer, node, 24 * PAGE_SIZE, 8 * PAGE_SIZE, content)
        written = os.pread(device, 64 * PAGE_SIZE, 0)
        assert int.from_bytes(written[:4], "little") == len(written)
        assert written.endswith(bytes(8 * PAGE_SIZE))
        assert 0 < len(written) - 8 * PAGE_SIZE < 100  # one head, no more
    finally:
        os.close(device)
