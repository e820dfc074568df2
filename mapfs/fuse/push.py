"""One push by the rules: never into a file that somebody has open for writing (what was stored and not yet
written back would be overwritten), never bytes that were read before the content became another, never past the end.
"""

from collections.abc import Callable

from mapfs.fuse.notifier import Notifier
from mapfs.sources.base import Buffer
from mapfs.tree.filenodes import FileNode

BUSY = "somebody has it open for writing, or its content became another meanwhile"
GONE = "the kernel does not have it in memory any more"


def put(notifier: Notifier, node: FileNode, generation: int, offset: int, data: Buffer) -> str | None:
    """Pushes `data`, which was read when the node had this `generation`; why it was not, in words. May wait."""
    return put_by(notifier, node, generation, offset, len(data), lambda: notifier.store(node, offset, data))


def put_by(
    notifier: Notifier, node: FileNode, generation: int, offset: int, size: int, store: Callable[[], bool]
) -> str | None:
    """The same, where `store` does it."""
    with node.pushing:
        if node.writers or node.generation != generation or not size or offset + size > node.size:
            return BUSY
        if not store():
            return GONE
    if node.generation != generation:  # it became another while it was pushed
        notifier.drop(node, offset, size)
        return BUSY
    return None
