"""From NAME=SPEC to a tree."""

import os
from collections.abc import Mapping

from mapfs.errors import MapfsError, SourceError, SpecError, of_path
from mapfs.sources import catalogue
from mapfs.sources.base import DirectorySource, Source
from mapfs.sources.redact import shown_spec
from mapfs.sources.spec import Spec
from mapfs.tree.filenodes import FixedFile
from mapfs.tree.mirror import Mirror
from mapfs.tree.mirrored import MirrorDirectory
from mapfs.tree.nodes import FixedDirectory, Node
from mapfs.tree.tree import Tree

#: What a file of the mount is given as: a spec, or an open source.
Given = Spec | Source | DirectorySource

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


def build(files: Mapping[str, Given], outside: str) -> Tree:
    """The tree of `files`, every source open. `outside` is the mount point, which no source may lie in.

    Raises SpecError for names that clash, SourceError where a source cannot be opened; then none stays open.
    """
    tree = Tree()
    try:
        for name, given in files.items():
            check_place(tree, name)
            if isinstance(given, Spec):
                attach(tree, name, given, open_source(name, given, outside))
            else:
                attach(tree, name, Spec("object", type(given).__name__), given)
    except BaseException:
        tree.close()
        raise
    return tree


def parse_added(text: str) -> Spec:
    """The spec of a file that is added to a running mount. Raises SpecError for what can be given only when it is made:
    what names code to run, and descriptors that mapfs inherited.
    """
    spec = catalogue.parse(text)
    if "warm" in spec.options:
        raise SpecError("warm= can be given only when the mount is made; push into a running one with mapfs warm")
    if catalogue.runs_code(spec):
        raise SpecError(f"{spec.kind}: names code to run, so it can be given only when the mount is made")
    if any(one.kind == "fd" and ":" not in one.arg for one in catalogue.within(spec)):
        raise SpecError("fd:N is a descriptor that mapfs inherited, so it can be given only when the mount is made")
    return spec


def open_source(name: str, spec: Spec, outside: str) -> Source | DirectorySource:
    """What `spec` names, open; may take its time. Raises SpecError or SourceError, its sentence about `name`."""
    _refuse_inside(name, spec, outside)
    try:
        return catalogue.open_spec(spec)
    except MapfsError as error:
        named = type(error)(f"{name}: {error}")
        if isinstance(named, SourceError) and isinstance(error, SourceError):
            named.errno = error.errno
        raise named from error
    except OSError as error:
        raise of_path(error, f"{name}={shown_spec(spec)}") from error


def check_place(tree: Tree, name: str) -> None:
    """Raises SpecError where there can be no new file called `name`."""
    node: Node = tree.root
    *above, last = parse_name(name)
    for part in above:
        if not isinstance(node, FixedDirectory):
            raise _no_directory(name, node)
        child = node.children.get(os.fsencode(part))
        if child is None:
            return
        node = child
    if not isinstance(node, FixedDirectory):
        raise _no_directory(name, node)
    if os.fsencode(last) in node.children:
        raise SpecError(f"the name {name!r} is given twice")


def _no_directory(name: str, node: Node) -> SpecError:
    part = os.fsdecode(node.name)
    return SpecError(f"{name!r} needs {part!r} to be a directory, but it is a source of its own")


def attach(tree: Tree, name: str, spec: Spec, source: Source | DirectorySource) -> Node:
    """Puts `source` into the tree as `name`, in directories that are made as needed. Raises as `check_place`."""
    check_place(tree, name)
    parent = tree.root
    *above, last = (os.fsencode(part) for part in parse_name(name))
    for key in above:
        child = parent.children.get(key)
        if child is None:
            child = FixedDirectory(tree.new_inode(), parent, key)
            parent.put(child)
            tree.add(child)
        assert isinstance(child, FixedDirectory), "checked"
        parent = child
    terms = catalogue.terms(spec)
    node: Node
    if isinstance(source, DirectorySource):
        tree.mirrors.append(source)
        node = MirrorDirectory(Mirror(tree, source, spec, terms), parent, last)
    else:
        node = FixedFile(tree.new_inode(), parent, last, str(shown_spec(spec)), source, terms)
    parent.put(node)
    tree.add(node)
    return node


def _refuse_inside(name: str, spec: Spec, outside: str) -> None:
    for one in catalogue.within(spec):
        if one.kind not in ("file", "dir", "device") or not one.arg:
            continue
        there, mount = os.path.realpath(one.arg), os.path.realpath(outside)
        if there == mount or there.startswith(mount + os.sep):
            raise SourceError(
                f"{name}={spec} lies inside the mount point {outside}, so reading it would wait for itself; "
                "mount elsewhere"
            )


def detach(tree: Tree, name: str) -> tuple[Node, FixedDirectory, bytes]:
    """Takes `name`, which was given or added, out of the tree, and the directories that only it needed.

    Returns its node, which lives on while the kernel knows it or it is open; and where the topmost name that is gone
    was: its directory and the name in it. Raises SpecError where `name` is none that was given or added.
    """
    way, node = [tree.root], None
    parts = [os.fsencode(part) for part in parse_name(name)]
    for part in parts:
        node = way[-1].children.get(part)
        if isinstance(node, FixedDirectory):
            way.append(node)
        elif part is not parts[-1]:
            node = None
            break
    if node is None or isinstance(node, FixedDirectory):
        raise SpecError(f"{name!r} is no file that was given or added; mapfs files lists those")
    gone: Node = node
    for parent, part in zip(reversed(way), reversed(parts), strict=True):
        parent.take_out(part)
        tree.detached(gone)
        if parent.children or parent is tree.root:
            break
        gone = parent
    return node, parent, part
