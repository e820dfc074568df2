"""From NAME=SPEC to a tree."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mapfs.errors import SourceError, SpecError
from mapfs.sources import catalogue
from mapfs.sources.base import Source
from mapfs.sources.spec import Spec
from mapfs.tree.build import build, default_files, parse_name
from mapfs.tree.filenodes import FixedFile
from mapfs.tree.mirrored import MirrorDirectory
from mapfs.tree.nodes import FixedDirectory, Node
from mapfs.tree.tree import Tree

ZERO = Spec("zero", "1p")


@contextmanager
def built(files: dict[str, Spec], outside: str = "/nowhere") -> Iterator[Tree]:
    tree = build(files, outside)
    try:
        yield tree
    finally:
        tree.close()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("name", ["", ".", "..", "a//b", "/a", "a/", "a/./b", "a/../b", "../a", "a/.."])
def test_no_name_has_an_empty_part_or_dots(name: str) -> None:
    with pytest.raises(SpecError, match="is not a name; write a/b/c"):
        build({name: ZERO}, "/nowhere")


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128, "a\0b", "a/" + "x" * 256])
def test_no_part_is_too_long_or_has_a_nul(name: str) -> None:
    with pytest.raises(SpecError, match="at most 255 bytes, none of them NUL"):
        parse_name(name)


def test_names_that_are_fine() -> None:
    assert parse_name("a/b c/é" + "x" * 253) == ["a", "b c", "é" + "x" * 253]
    assert parse_name("a/.mapfs") == ["a", ".mapfs"]
    assert parse_name("...") == ["..."]


@pytest.mark.parametrize("name", [".mapfs", ".mapfs/x"])
def test_the_control_directory_is_taken(name: str) -> None:
    with pytest.raises(SpecError, match="is the control directory"):
        build({name: ZERO}, "/nowhere")


def test_nested_names_make_directories() -> None:
    with built({"a/b/c": ZERO, "a/b/d": Spec("text", "x"), "e": ZERO}) as tree:
        assert tree.root.names() == [b"a", b"e"]
        a = tree.root.child(b"a")
        assert isinstance(a, FixedDirectory)
        b = a.child(b"b")
        assert isinstance(b, FixedDirectory)
        assert b.names() == [b"c", b"d"]
        leaf = b.child(b"d")
        assert isinstance(leaf, FixedFile)
        assert leaf.path() == b"a/b/d"
        assert leaf.spec == "text:x"
        assert leaf.entry().size == leaf.size == 1
        assert stat.S_ISDIR(b.entry().mode)
        assert tree[leaf.inode] is leaf
        inodes = [node.inode for node in tree]
        assert len(set(inodes)) == len(inodes) == 6
        assert (tree.totals().files, tree.totals().bytes) == (6, 2 * leaf_size(tree) + 1)
        with pytest.raises(FileNotFoundError):
            b.child(b"nothing")
        with pytest.raises(FileNotFoundError):
            tree[99]


def leaf_size(tree: Tree) -> int:
    return tree.root.child(b"e").entry().size


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"a": ZERO, "a/b": ZERO}, "'a/b' needs 'a' to be a directory, but it is a source of its own"),
        ({"d": Spec("dir", "/"), "d/b": ZERO}, "'d/b' needs 'd' to be a directory"),
        ({"a/b": ZERO, "a": ZERO}, "the name 'a' is given twice"),
    ],
)
def test_names_that_clash(files: dict[str, Spec], sentence: str) -> None:
    before = open_descriptors()
    with pytest.raises(SpecError, match=sentence):
        build(files, "/nowhere")
    assert open_descriptors() == before


def test_a_source_that_fails_names_its_file_and_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"x")
    before = open_descriptors()
    with pytest.raises(SourceError, match=r"^b: cannot open file '/no/such': No such file or directory; check the"):
        build({"a": Spec("file", str(tmp_path / "there")), "b": Spec("file", "/no/such")}, "/nowhere")
    with pytest.raises(SpecError, match=r"^z: 'many' is not a size"):
        build({"d": Spec("dir", str(tmp_path)), "z": Spec("zero", "many")}, "/nowhere")
    assert open_descriptors() == before


@pytest.mark.parametrize("kind", ["file", "dir", "device"])
@pytest.mark.parametrize("where", ["", "/x", "/../mnt/x", "/link/x"])
def test_a_source_inside_the_mount_point_is_refused(tmp_path: Path, kind: str, where: str) -> None:
    mount = tmp_path / "mnt"
    mount.mkdir()
    (mount / "link").symlink_to(mount)
    with pytest.raises(SourceError, match="inside the mount point .*, so reading it would wait for itself"):
        build({"a": Spec(kind, f"{mount}{where}")}, str(mount))


def test_a_source_beside_the_mount_point_is_not(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    (tmp_path / "mnt2").write_bytes(b"x")
    with built({"a": Spec("file", str(tmp_path / "mnt2"))}, str(tmp_path / "mnt")) as tree:
        assert tree.root.names() == [b"a"]


def test_the_readme_of_the_default_tree_is_exactly_5120_bytes() -> None:
    source = catalogue.open_spec(default_files()["README.txt"])
    assert isinstance(source, Source)
    text = bytes(source.read(0, source.size))
    assert source.size == len(text) == 5120
    assert text.startswith(b"This is a mapfs mount.") and text.endswith(b"\n") and text.isascii()
    source.close()


def test_the_default_tree_shows_every_kind() -> None:
    with built(default_files()) as tree:
        assert tree.root.names() == [b"README.txt", b"pages", b"zero", b"random", b"shm", b"dev"]
        kinds: dict[bytes, type[Node]] = {name: type(tree.root.child(name)) for name in tree.root.names()}
        assert [name for name, kind in kinds.items() if kind is MirrorDirectory] == [b"shm", b"dev"]
        assert [name for name, kind in kinds.items() if kind is FixedFile] == [
            b"README.txt",
            b"pages",
            b"zero",
            b"random",
        ]


def test_a_fixed_file_stays_open_without_handles() -> None:
    with built({"a": Spec("text", "x")}) as tree:
        node = tree.root.child(b"a")
        assert isinstance(node, FixedFile)
        source = node.acquire()
        node.acquire()
        node.release()
        node.release()
        assert node.source is source
        node.entry()
        node.entry()
        assert node.generation == 1
