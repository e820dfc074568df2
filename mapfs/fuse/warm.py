"""Warming: pages that a plan names are read from their sources and pushed, batch after batch, before they are demanded.

A batch is read by threads of its own: what a source gives at once by the first of them, the rest by several at a time,
since most of that is waiting. Neighbours, and what lies near enough for the source (`Source.gap`), are one read. A push
keeps the rules: never a file that is open for writing, never bytes that were read before the content became another.
"""

import contextlib
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from mapfs.errors import MapfsError, reason_of
from mapfs.fuse.demand import checked
from mapfs.fuse.files import Files
from mapfs.fuse.naming import waiting
from mapfs.fuse.notifier import Notifier
from mapfs.fuse.options import MountOptions
from mapfs.fuse.pressure import memory_is_short
from mapfs.fuse.push import put
from mapfs.sources.base import Buffer
from mapfs.sources.coherency import Coherency
from mapfs.trace.plan import Plan, PlannedFile, Read, difference, reads_of, version_text
from mapfs.tree.filenodes import FileNode
from mapfs.tree.mirrored import MirrorDirectory
from mapfs.units import PAGE_SIZE, page_count

_READERS = 8
_LARGEST = (4 << 20) // PAGE_SIZE  # pages of one read
_MOST_NAMES = 10_000  # of one directory
_SHORT = "memory is short"


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """Pages of one file, by its path in the mount or its inode, as (first, pages); its size and version as planned."""

    file: str | int
    runs: list[tuple[int, int]]
    size: int | None = None
    version: str | None = None


class Outcome(msgspec.Struct):
    """What came of it. `refused`: why the file was not touched at all; `failed`: why some pages were left out."""

    pushed: int = 0
    reads: int = 0
    refused: str | None = None
    failed: str | None = None


@dataclass(eq=False, slots=True)
class _Held:
    """A file while a batch of it is pushed: a handle of our own keeps its source open."""

    node: FileNode
    handle: int
    generation: int
    reads: list[Read]
    outcome: Outcome
    lock: threading.Lock = field(default_factory=threading.Lock)


class Warmer:
    """Pushes what is wanted, in one mount. `find` gives the node of a path or an inode."""

    def __init__(self, files: Files, notifier: Notifier, find: Callable[[str | int], FileNode]) -> None:
        self._files = files
        self._notifier = notifier
        self._find = find
        self.planned = self.pushed = 0  # pages, of the plan that the mount was made with

    async def batch(self, wanted: Sequence[Wanted]) -> list[Outcome]:
        """Pushes all of it, and returns what came of each. Called on the trio thread."""
        outcomes = [Outcome() for _ in wanted]
        held = []
        try:
            for one, outcome in zip(wanted, outcomes, strict=True):
                try:
                    held.append(await self._hold(one, outcome))
                except (MapfsError, OSError) as error:
                    outcome.refused = reason_of(error)
            await waiting(self._push, [one for one in held if one is not None])
        finally:
            for one_held in held:
                if one_held is not None:
                    self._files.release(one_held.handle)
        return outcomes

    async def _hold(self, wanted: Wanted, outcome: Outcome) -> _Held | None:
        """Opens the file for as long as the batch takes; None where it must not be pushed to."""
        node = self._find(wanted.file)
        if not self._notifier.works:
            outcome.refused = "--link=plain cannot push pages"
        elif node.terms.coherency is Coherency.PASSTHROUGH:
            outcome.refused = "with coherency=passthrough its pages are those of its backing"
        elif node.removed:
            outcome.refused = "it was removed"
        if outcome.refused:
            return None
        if node.opened is None and node.slow:
            node.opened_as(await waiting(node.new_source))
        handle, keep = self._files.open(node)
        try:
            if not keep:
                await waiting(self._notifier.drop, node)
            planned = PlannedFile(os.fsdecode(node.path()), wanted.size, wanted.version)
            outcome.refused = difference(planned, node.size, version_text(node.version))
            if outcome.refused:
                self._files.release(handle)
                return None
            assert node.source is not None, "a handle keeps its source open"
            end = page_count(node.size)
            runs = [(first, min(pages, end - first)) for first, pages in wanted.runs if 0 <= first < end and pages > 0]
            reads = reads_of(runs, node.source.gap // PAGE_SIZE, _LARGEST)
        except BaseException:
            self._files.release(handle)
            raise
        return _Held(node, handle, node.generation, reads, outcome)

    # on threads that may wait

    def _push(self, held: Sequence[_Held]) -> None:
        slow: deque[tuple[_Held, Read]] = deque()
        if memory_is_short():
            for one in held:
                one.outcome.failed = _SHORT
            return
        for one in held:
            for read in one.reads:
                with _telling(one), one.node.using() as source:
                    offset, size = _bytes_of(one.node, read)
                    data = source.try_read(offset, size)
                    if data is None:
                        slow.append((one, read))
                    else:
                        self._store(one, read, checked(data, size))
        readers = [
            threading.Thread(target=self._read, args=(slow,), name="warm", daemon=True)
            for _ in range(min(len(slow), _READERS))
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()

    def _read(self, slow: deque[tuple[_Held, Read]]) -> None:
        while slow:
            try:
                one, read = slow.popleft()
            except IndexError:  # another thread took it
                return
            with _telling(one), one.node.using() as source:
                offset, size = _bytes_of(one.node, read)
                time.sleep(source.hold(offset, size))
                self._store(one, read, checked(source.read(offset, size), size))

    def _store(self, one: _Held, read: Read, data: Buffer) -> None:
        """Pushes the runs of `read`, whose bytes are `data`."""
        node, start = one.node, read.first
        view, pushed = memoryview(data), 0
        for first, pages in read.runs:
            piece = view[(first - start) * PAGE_SIZE : (first - start + pages) * PAGE_SIZE]
            offset = first * PAGE_SIZE
            why = put(self._notifier, node, one.generation, offset, piece)
            if why is not None:
                one.outcome.failed = one.outcome.failed or why
                break
            pushed += pages
        with one.lock:
            one.outcome.pushed += pushed
            one.outcome.reads += 1

    # the plan of a mount

    def look_up(self, mountpoint: str, plan: Plan) -> list[int | None]:
        """Has the kernel know the files of `plan`, which it takes no pages for otherwise: the inode of each, None where
        there is no such file. Called on a thread that may wait, while the mount answers.
        """
        inodes: list[int | None] = []
        for file in plan.files:
            try:
                inodes.append(os.stat(os.path.join(mountpoint, file.path), follow_symlinks=False).st_ino)
            except (OSError, ValueError):
                inodes.append(None)
        return inodes

    def directories(self, inodes: Sequence[int | None]) -> list[bytes]:
        """On the way to files of a plan, by path in the mount, those whose names are at hand. On the trio thread."""
        found = set()
        for inode in inodes:
            with contextlib.suppress(MapfsError, OSError):
                node = self._find(inode).parent if inode is not None else None
                while isinstance(node, MirrorDirectory) and node.mirror.prompt is not None:
                    found.add(node.path())
                    node = node.parent
        return sorted(found)

    def list_names(self, mountpoint: str, directories: Sequence[bytes]) -> None:
        """Has the kernel keep what these have in them: a program looks for more there than what it then reads. Called
        on a thread that may wait, while the mount answers.
        """
        paths = [os.path.join(os.fsencode(mountpoint), directory) for directory in directories]
        for path in paths:
            with contextlib.suppress(OSError), os.scandir(path) as names:
                deque(itertools.islice(names, _MOST_NAMES), maxlen=0)
        for path in paths:  # whose access times the kernel takes for unknown now
            with contextlib.suppress(OSError):
                os.stat(path)

    async def run(self, plan: Plan, inodes: Sequence[int | None], warn: Callable[[str], None]) -> None:
        """Pushes all of `plan`, and warns of what cannot be."""
        self.planned = plan.pages
        told: set[int] = set()
        for batch in plan.batches():
            wanted, places = [], []
            for place, runs in batch.items():
                file, inode = plan.files[place], inodes[place]
                if inode is None:
                    if place not in told:
                        told.add(place)
                        warn(f"{file.path} is in the plan, but not in the mount")
                elif place not in told:
                    wanted.append(Wanted(inode, runs, file.size, file.version))
                    places.append(place)
            for place, outcome in zip(places, await self.batch(wanted), strict=True):
                self.pushed += outcome.pushed
                reason = outcome.refused or outcome.failed
                if reason:
                    told.add(place)
                    part = "" if outcome.refused else " to its end"
                    warn(f"{plan.files[place].path} is not warmed{part}: {reason}")
        self.planned = self.pushed


@contextlib.asynccontextmanager
async def warming(
    options: MountOptions, warmer: Warmer, mountpoint: str, warn: Callable[[str], None]
) -> AsyncIterator[None]:
    """Around the moment in which a mount that answers is said to be ready: pushes the plan of `options` after that, or
    before.
    """
    plan = options.warm
    if plan is None:
        yield
        return
    inodes = await waiting(warmer.look_up, mountpoint, plan)
    if not options.warm_first:
        yield
    await warmer.run(plan, inodes, warn)
    # last of all, since the kernel takes names for what they are for a moment only
    await waiting(warmer.list_names, mountpoint, warmer.directories(inodes))
    if options.warm_first:
        yield  # from now on the mount may lose its name (mapfs run)


class _telling(contextlib.AbstractContextManager[None]):  # noqa: N801 -- used as a function
    """Around what a source does: an error is that of this file, and the others go on."""

    def __init__(self, held: _Held) -> None:
        self._held = held

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Exception):
            self._held.outcome.failed = self._held.outcome.failed or reason_of(error)
            return True
        return False


def _bytes_of(node: FileNode, read: Read) -> tuple[int, int]:
    """Offset and size of `read`, as far as the file goes."""
    offset = read.first * PAGE_SIZE
    return offset, max(0, min(read.pages * PAGE_SIZE, node.size - offset))
