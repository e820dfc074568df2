"""From NAME=SPEC to a tree."""

import os

from mapfs.errors import MapfsError, SourceError, SpecError, of_path
from mapfs.sources import catalogue
from mapfs.sources.base import DirectorySource
from mapfs.sources.spec import Spec
from mapfs.tree.mirror import Mirror, MirrorDirectory
from mapfs.tree.nodes import FixedDirectory, FixedFile, Node, Tree

CONTROL = ".mapfs"

_README = """\
This is a mapfs mount. Every file here can be mapped (mmap), and mapfs writes a line for each page that a
thread had to wait for. Map a file, touch a page, and look at the terminal of `mapfs mount`.

  README.txt  this text: 5 KiB, so that the second of its pages holds little and wastes the rest
  pages       each page begins with its own number
  zero        nothing but zero bytes
  random      random bytes, the same at every mount
  shm/        the POSIX shared-memory objects of this machine, live
  dev/        the block devices that you may read

A second program that maps the same pages makes no line: the kernel's page cache has them already.

"""
_README_SIZE = 5 << 10


def default_files() -> dict[str, Spec]:
    """The tree that shows every kind at once: what is served where no NAME=SPEC is given."""
    filler = "The rest of this file is here to reach into its second page.\n"
    text = _README + filler * (-(-(_README_SIZE - len(_README)) // len(filler)))
    return {
        "README.txt": Spec("text", text[: _README_SIZE - 1].replace("\\", "\\\\") + "\n"),
        "pages": Spec("pages", "1M"),
        "zero": Spec("zero", "1M"),
        "random": Spec("random", "1M", {"seed": "42"}),
        "shm": Spec("shm", ""),
        "dev": Spec("device", ""),
    }


def parse_name(text: str) -> list[str]:
    """The parts of a NAME. Raises SpecError for what cannot be a path in the mount."""
    parts = text.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise SpecError(f"{text!r} is not a name; write a/b/c, without an empty part, '.' or '..'")
    if any(len(os.fsencode(part)) > 255 for part in parts) or "\0" in text:
        raise SpecError(f"{text[:40]!r}... is not a name; a part has at most 255 bytes, none of them NUL")
    if parts[0] == CONTROL:
        raise SpecError(f"{text!r} cannot be used: {CONTROL} is the control directory")
    return parts


def build(files: dict[str, Spec], outside: str) -> Tree:
    """The tree of `files`, every source open. `outside` is the mount point, which no source may lie in.

    Raises SpecError for names that clash, SourceError where a source cannot be opened; then none stays open.
    """
    tree = Tree()
    try:
        for name, spec in files.items():
            _refuse_inside(name, spec, outside)
            parent = _directory(tree, name)
            _attach(tree, parent, name, spec)
    except BaseException:
        tree.close()
        raise
    return tree


def _refuse_inside(name: str, spec: Spec, outside: str) -> None:
    if spec.kind in ("file", "dir", "device") and spec.arg:
        there, mount = os.path.realpath(spec.arg), os.path.realpath(outside)
        if there == mount or there.startswith(mount + os.sep):
            raise SourceError(
                f"{name}={spec} lies inside the mount point {outside}, so reading it would wait for itself; "
                "mount elsewhere"
            )


def _directory(tree: Tree, name: str) -> FixedDirectory:
    node = tree.root
    for part in parse_name(name)[:-1]:
        key = os.fsencode(part)
        child = node.children.get(key)
        if child is None:
            child = FixedDirectory(tree.new_inode(), node, key)
            node.children[key] = child
            tree.add(child)
        if not isinstance(child, FixedDirectory):
            raise SpecError(f"{name!r} needs {part!r} to be a directory, but it is a source of its own")
        node = child
    return node


def _attach(tree: Tree, parent: FixedDirectory, name: str, spec: Spec) -> None:
    key = os.fsencode(name.rpartition("/")[2])
    if key in parent.children:
        raise SpecError(f"the name {name!r} is given twice")
    try:
        source = catalogue.open_spec(spec)
    except MapfsError as error:
        raise type(error)(f"{name}: {error}") from error
    except OSError as error:
        raise of_path(error, f"{name}={spec}") from error
    node: Node
    if isinstance(source, DirectorySource):
        tree.mirrors.append(source)
        node = MirrorDirectory(Mirror(tree, source, spec.kind, spec.arg), parent, key)
    else:
        node = FixedFile(tree.new_inode(), parent, key, str(spec), source)
    parent.children[key] = node
    tree.add(node)
