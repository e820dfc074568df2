"""Mirrored directories, without a mount."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapfs.sources.directory import BackingDirectory
from mapfs.sources.spec import Spec
from mapfs.tree.build import build
from mapfs.tree.mirrored import MirrorDirectory, MirrorFile, MirrorLink, MirrorSpecial
from mapfs.tree.nodes import BRIEFLY
from mapfs.tree.tree import Tree


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / "sub").mkdir(parents=True)
    (tmp_path / "home" / "a").write_bytes(b"first")
    (tmp_path / "home" / "sub" / "b").write_bytes(b"second")
    return tmp_path / "home"


@pytest.fixture
def tree(home: Path) -> Iterator[Tree]:
    before = len(os.listdir("/proc/self/fd"))
    tree = build({"d": Spec("dir", str(home))}, "/nowhere")
    yield tree
    tree.close()
    assert len(os.listdir("/proc/self/fd")) == before, "a descriptor is left open"


@pytest.fixture
def root(tree: Tree) -> MirrorDirectory:
    node = tree.root.child(b"d")
    assert isinstance(node, MirrorDirectory)
    return node


def file(directory: MirrorDirectory, name: bytes) -> MirrorFile:
    node = directory.child(name)
    assert isinstance(node, MirrorFile)
    return node


def directory(parent: MirrorDirectory, name: bytes) -> MirrorDirectory:
    node = parent.child(name)
    assert isinstance(node, MirrorDirectory)
    return node


def test_a_look_up_finds_the_same_node_again(tree: Tree, root: MirrorDirectory, home: Path) -> None:
    assert sorted(root.names()) == [b"a", b"sub"]
    node = file(root, b"a")
    assert root.child(b"a") is node
    assert tree[node.inode] is node
    assert (node.path(), node.spec, node.timeout) == (b"d/a", f"dir:{home}/a", BRIEFLY)
    sub = directory(root, b"sub")
    assert root.child(b"sub") is sub
    below = file(sub, b"b")
    assert (below.path(), below.backing_path(), below.spec) == (b"d/sub/b", b"sub/b", f"dir:{home}/sub/b")
    assert below.entry().size == below.size == 6


@pytest.mark.parametrize("name", [b"nothing", b"x" * 300])
def test_what_is_not_there_is_not_found(root: MirrorDirectory, name: bytes) -> None:
    with pytest.raises(OSError) as caught:
        root.child(name)
    assert caught.value.errno == (errno.ENOENT if name == b"nothing" else errno.ENAMETOOLONG)


def test_names_that_are_not_utf8_or_hold_a_comma(root: MirrorDirectory, home: Path) -> None:
    (home / os.fsdecode(b"\xff,b")).write_bytes(b"x")
    assert b"\xff,b" in root.names()
    assert file(root, b"\xff,b").spec == f"dir:{home}/" + os.fsdecode(b"\xff,,b")


def test_hard_links_share_a_node(root: MirrorDirectory, home: Path) -> None:
    os.link(home / "a", home / "sub" / "other")
    node = file(root, b"a")
    assert directory(root, b"sub").child(b"other") is node
    assert node.path() == b"d/sub/other"
    assert node.entry().nlink == 2
    assert root.child(b"a") is node
    assert node.path() == b"d/a"


def test_a_symbolic_link_is_shown_as_one(root: MirrorDirectory, home: Path) -> None:
    (home / "link").symlink_to("/etc/passwd")
    node = root.child(b"link")
    assert isinstance(node, MirrorLink)
    assert node.target() == b"/etc/passwd"
    assert stat.S_ISLNK(node.entry().mode)


def test_a_fifo_is_shown_and_not_opened(root: MirrorDirectory, home: Path) -> None:
    os.mkfifo(home / "fifo")
    node = root.child(b"fifo")
    assert isinstance(node, MirrorSpecial)
    assert stat.S_ISFIFO(node.entry().mode)
    with pytest.raises(OSError) as caught:
        node.mirror.source.open(b"fifo")
    assert caught.value.errno == errno.EINVAL


def test_a_file_that_replaces_another_is_a_new_node(root: MirrorDirectory, home: Path) -> None:
    old = file(root, b"a")
    source = old.acquire()
    (home / "new").write_bytes(b"replaced")
    (home / "new").rename(home / "a")
    new = file(root, b"a")
    assert new is not old and new.inode != old.inode
    assert new.entry().size == 8
    assert bytes(source.read(0, old.entry().size)) == b"first"
    old.release()


def test_a_file_that_was_replaced_after_its_look_up_is_stale(root: MirrorDirectory, home: Path) -> None:
    node = file(root, b"a")
    (home / "new").write_bytes(b"replaced")
    (home / "new").rename(home / "a")
    with pytest.raises(OSError) as caught:
        node.acquire()
    assert caught.value.errno == errno.ESTALE
    assert vars(node)["source"] is None


def test_a_change_of_the_content_is_a_new_generation(root: MirrorDirectory, home: Path) -> None:
    node = file(root, b"a")
    node.entry()
    node.entry()
    assert (node.generation, node.size) == (1, 5)
    (home / "a").write_bytes(b"longer than before")
    node.entry()
    assert (node.generation, node.size) == (2, 18)
    os.utime(home / "a", ns=(1, 1))  # the same size, another time
    node.entry()
    node.entry()
    assert node.generation == 3
    os.chmod(home / "a", 0o600)
    node.entry()
    assert node.generation == 3, "the mode is not the content"


def test_the_source_is_open_while_a_handle_is(root: MirrorDirectory, home: Path) -> None:
    node = file(root, b"a")
    source = node.acquire()
    assert node.acquire() is source
    node.release()
    assert node.source is source
    os.unlink(home / "a")
    assert node.entry().nlink == 0, "the open file answers, the name is gone"
    assert bytes(source.read(0, 5)) == b"first"
    node.release()
    assert vars(node)["source"] is None
    with pytest.raises(FileNotFoundError):
        node.entry()


def test_a_file_that_is_open_in_the_end_is_closed_with_the_tree(root: MirrorDirectory) -> None:
    assert file(root, b"a").acquire() is not None  # the fixture counts descriptors


def test_what_the_kernel_forgets_is_gone(tree: Tree, root: MirrorDirectory) -> None:
    node, sub = file(root, b"a"), directory(root, b"sub")
    below = file(sub, b"b")
    for forgotten in (below, sub, node):
        forgotten.forget()
        with pytest.raises(OSError) as caught:
            tree[forgotten.inode]
        assert caught.value.errno == errno.ESTALE
    assert not root.mirror.alive
    assert file(root, b"a").inode > below.inode, "numbers are not used again"


def test_the_root_of_a_mirror_is_never_forgotten(tree: Tree, root: MirrorDirectory) -> None:
    root.forget()
    assert tree[root.inode] is root


def test_a_renamed_directory_is_another_node(root: MirrorDirectory, home: Path) -> None:
    old = directory(root, b"sub")
    (home / "sub").rename(home / "moved")
    new = directory(root, b"moved")
    assert new is not old
    assert file(new, b"b").backing_path() == b"moved/b"
    with pytest.raises(FileNotFoundError):
        old.entry()


def test_a_hidden_filesystem_is_not_there() -> None:
    source = BackingDirectory("/")
    try:
        assert source.entry(b"proc/version").size == 0
        source.hide(os.stat("/proc").st_dev)
        for path in (b"proc", b"proc/version"):
            with pytest.raises(FileNotFoundError):
                source.entry(path)
        assert stat.S_ISDIR(source.entry(b"").mode)
    finally:
        source.close()


def test_the_block_devices_keep_their_versions() -> None:
    tree = build({"dev": Spec("device", "")}, "/nowhere")
    try:
        root = tree.root.child(b"dev")
        assert isinstance(root, MirrorDirectory)
        names = root.names()
        if not names:
            pytest.skip("no block device that this user may read")
        node = file(root, names[0])
        assert node.entry() == node.entry()
        assert node.generation == 1
        assert stat.S_ISREG(node.entry().mode)
    finally:
        tree.close()
