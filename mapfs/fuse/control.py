"""`.mapfs/ctl`: one JSON line is written, one is read back on the same descriptor (docs/COMMANDS.md).

What a line asks for is done by a task of its own, so that a client that is interrupted or goes leaves nothing half
done; what takes long runs on a thread that may wait. A line that cannot be read, or is refused, changes nothing.
"""

import errno
import os
from collections.abc import Callable
from typing import Any

import msgspec
import trio

from mapfs.errors import MapfsError, SourceError, SpecError, UsageError, reason_of
from mapfs.fuse.files import Files
from mapfs.fuse.naming import refused, waiting
from mapfs.fuse.notifier import Notifier
from mapfs.fuse.warm import Wanted, Warmer
from mapfs.sources.base import DirectorySource
from mapfs.trace.facts import printable
from mapfs.tree import build
from mapfs.tree.filenodes import FileNode
from mapfs.tree.mirrored import MirrorDirectory
from mapfs.tree.nodes import DirectoryNode, FixedDirectory, Node
from mapfs.tree.tree import Tree
from mapfs.units import PAGE_SIZE, page_count

_MOST = 1 << 20  # bytes of a line


class _Request(msgspec.Struct, tag_field="do", forbid_unknown_fields=True):
    """What a line may ask for; a file of the mount is named by its path in it, or by its inode number."""


class Add(_Request, tag="add"):
    """Serve one more file."""

    name: str
    spec: str


class Remove(_Request, tag="remove"):
    """Serve a file no longer."""

    name: str


class Inject(_Request, tag="inject"):
    """Make demands of a file slow, wrong or fail."""

    file: str | int
    rules: list[str] = []
    clear: bool = False


class Drop(_Request, tag="drop"):
    """Take pages out of the page cache; all of them where none are named."""

    file: str | int
    pages: str | None = None


class Warm(_Request, tag="warm"):
    """Push pages before they are demanded."""

    files: list[Wanted]


class Commit(_Request, tag="commit"):
    """Write what a cow overlay holds into the file's source."""

    file: str | int


class Discard(_Request, tag="discard"):
    """Forget what a cow overlay holds."""

    file: str | int


class Hurry(_Request, tag="hurry"):
    """Put nothing off any more: the mount is about to be detached."""


class List(_Request, tag="files"):
    """What is served."""


Request = Add | Remove | Inject | Drop | Warm | Commit | Discard | Hurry | List
_decode = msgspec.json.Decoder(Request).decode
_encode = msgspec.json.Encoder().encode


class ControlSession:
    """One client: takes lines, keeps the answers until they are read."""

    def __init__(self, answer: Callable[[bytes], Any]) -> None:
        self._answer = answer
        self._line = b""
        self._answers = b""

    async def write(self, data: bytes) -> int:
        """Takes a part of a line, or several lines; returns when what they ask for is done."""
        *lines, self._line = (self._line + data).split(b"\n")
        if len(self._line) > _MOST:
            self._line = b""
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        for line in lines:
            if line.strip():
                self._answers += await self._answer(line)
        return len(data)

    async def read(self, offset: int, size: int) -> bytes:
        """What was answered and not read yet; nothing where nothing was asked."""
        taken, self._answers = self._answers[:size], self._answers[size:]
        return taken

    def close(self) -> None:
        """A line without its end is forgotten."""


class Control:
    """Does what the lines ask for, in one mount."""

    def __init__(self, tree: Tree, files: Files, notifier: Notifier, mountpoint: str, hurry: Callable[[], int]) -> None:
        self._tree = tree
        self._hurry = hurry
        self._notifier = notifier
        self.warmer = Warmer(files, notifier, self._file)
        self._mountpoint = mountpoint
        self._st_dev = -1
        self._nursery: trio.Nursery | None = None

    def start(self, nursery: trio.Nursery) -> None:
        """Called on the trio thread before the first client can come."""
        self._nursery = nursery

    def hide(self, st_dev: int) -> None:
        """Lets no mirror show the mount itself."""
        self._st_dev = st_dev
        for mirror in self._tree.mirrors:
            mirror.hide(st_dev)

    async def open(self, now: bool) -> ControlSession:
        """A session for a client that opened the file."""
        return ControlSession(self._answer)

    async def _answer(self, line: bytes) -> bytes:
        """Does what `line` asks for, in a task that goes on if the client is interrupted; the answer, a line."""
        done, answers = trio.Event(), list[dict[str, Any]]()

        async def task() -> None:
            answers.append(await self.execute(line))
            done.set()

        assert self._nursery is not None
        self._nursery.start_soon(task)
        await done.wait()
        return _encode(answers[0]) + b"\n"

    async def execute(self, line: bytes) -> dict[str, Any]:
        """The answer to a line: `ok` and what there is to say, or `error`, a sentence, and `exit`, a code."""
        try:
            try:
                request = _decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise UsageError(f"the line is no request: {reason_of(error)}") from error
            return {"ok": True, **await self._do(request)}
        except MapfsError as error:
            return {"ok": False, "error": reason_of(error), "exit": error.exit_code}
        except Exception as error:
            return {"ok": False, "error": reason_of(error), "exit": 1}

    async def _do(self, request: Request) -> dict[str, Any]:
        match request:
            case Add():
                return await self._add(request)
            case Remove():
                return await self._remove(request.name)
            case Inject():
                return self._inject(request)
            case Drop():
                return await self._drop(request)
            case Warm():
                return {"files": msgspec.to_builtins(await self.warmer.batch(request.files))}
            case Commit():
                return await self._overlay(self._file(request.file), commit=True)
            case Discard():
                return await self._overlay(self._file(request.file), commit=False)
            case Hurry():
                return {"hurried": self._hurry()}
            case List():
                return {"files": [_described(node) for node in self._served(self._tree.root)]}

    # names

    async def _add(self, request: Add) -> dict[str, Any]:
        spec = build.parse_added(request.spec)
        build.check_place(self._tree, request.name)
        source = await waiting(build.open_source, request.name, spec, self._mountpoint)
        try:
            if isinstance(source, DirectorySource):
                source.hide(self._st_dev)
            node = build.attach(self._tree, request.name, spec, source)
        except BaseException:
            source.close()
            raise
        return {"added": _described(node)}

    async def _remove(self, name: str) -> dict[str, Any]:
        node, parent, key = build.detach(self._tree, name)
        node.remove()
        await waiting(self._notifier.drop_name, parent, key)
        return {"removed": printable(name)}

    def _served(self, directory: FixedDirectory) -> list[Node]:
        found: list[Node] = []
        for name, node in directory.children.items():
            if directory is self._tree.root and name == build.CONTROL.encode():
                continue
            found += self._served(node) if isinstance(node, FixedDirectory) else [node]
        return found

    def _file(self, file: str | int) -> FileNode:
        """Raises SpecError where there is no such file."""
        node: Node = self._tree.root
        try:
            if isinstance(file, int):
                node = self._tree[file]
            else:
                for part in os.fsencode(file).split(b"/"):
                    if not isinstance(node, DirectoryNode) or part in (b"", b".", b".."):
                        raise refused(errno.ENOENT)
                    node = node.child(part)
        except OSError as error:
            raise SourceError(f"there is no file {file!r} in {self._mountpoint}") from error
        if not isinstance(node, FileNode):
            raise SpecError(f"{file!r} is no file with pages; mapfs files {self._mountpoint} lists what is served")
        return node

    # pages

    def _inject(self, request: Inject) -> dict[str, Any]:
        node = self._file(request.file)
        if node.passed_through:
            raise SpecError(f"{_named(node)} is passed through while it is open: its pages are not mapfs's")
        return {"rules": node.inject(request.rules, clear=request.clear)}

    async def _drop(self, request: Drop) -> dict[str, Any]:
        node = self._file(request.file)
        if request.pages is None:
            await waiting(self._notifier.drop, node)
            return {"pages": page_count(node.size)}
        count = 0
        for run in node.runs(request.pages):
            await waiting(self._notifier.drop, node, run.start * PAGE_SIZE, len(run) * PAGE_SIZE)
            count += len(run)
        return {"pages": count}

    async def _overlay(self, node: FileNode, *, commit: bool) -> dict[str, Any]:
        overlay = node.overlay
        if overlay is None:
            raise SpecError(f"{_named(node)} has no overlay; serve it with the option cow")

        def settle() -> int:
            self._notifier.drop(node)  # what was stored through mappings comes first
            with node.changing():
                size = overlay.dirty
                if commit:
                    overlay.commit()
                else:
                    overlay.discard()
                node.size = overlay.size
            if not commit:
                self._notifier.drop(node)
            self._notifier.drop_attributes(node)
            return size

        return {"bytes": await waiting(settle)}


def _named(node: Node) -> str:
    """For a sentence, which is one line whatever is in a name."""
    return repr(printable(node.path()))[1:-1]


def _described(node: Node) -> dict[str, Any]:
    entry = node.entry() if not node.slow else None
    told: dict[str, Any] = {
        "name": printable(node.path()),
        "spec": printable(node.spec or ""),
        "size": entry.size if entry is not None else None,
        "mode": None,
        "coherency": None,
        "open": 0,
        "rules": [],
    }
    if isinstance(node, FileNode):
        told.update(
            mode="rw" if node.writable else "ro",
            coherency=node.terms.coherency.value,
            open=node.opens,
            rules=node.rules,
        )
    elif isinstance(node, MirrorDirectory):
        told.update(size=None, mode="rw" if node.writable else "ro", coherency=node.mirror.terms.coherency.value)
    return told
