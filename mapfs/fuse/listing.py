"""Open directories: the names that their readers get, and whether the kernel may keep them."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from mapfs.tree.mirrored import MirrorDirectory
from mapfs.tree.nodes import DirectoryNode


@dataclass(slots=True)
class Listing:
    """An open directory; `names` as they were read when it was opened, or when it was rewound. None: not yet."""

    directory: DirectoryNode
    names: list[bytes] | None
    _version: Hashable = None  # of the directory, when they were read
    _begun: bool = False

    def due(self, start: int) -> bool:
        """Whether the names are to be read before those from `start` on are given: at first, or after rewinddir(3)."""
        return self.names is None or (self._begun and not start)

    def read(self, names: list[bytes]) -> None:
        """They were."""
        self.names = names
        if isinstance(self.directory, MirrorDirectory):
            self._version = self.directory.listed

    def given(self) -> None:
        """Some of them are given to a reader."""
        self._begun = True
        if isinstance(self.directory, MirrorDirectory) and self._version != self.directory.listed:
            self.incomplete()  # the kernel would put pieces of two listings together

    def incomplete(self) -> None:
        """What the kernel has of the names is not all: whoever opens the directory next gets them anew."""
        if isinstance(self.directory, MirrorDirectory):
            self.directory.listed = None


class Listings:
    """Those of one mount, by handle."""

    def __init__(self, new_handle: Callable[[], int]) -> None:
        self._new_handle = new_handle
        self._open: dict[int, Listing] = {}

    def add(self, directory: DirectoryNode, names: list[bytes] | None = None) -> int:
        """The handle of a directory that was opened. Without `names` they are read when they are asked for."""
        handle = self._new_handle()
        self._open[handle] = Listing(directory, names)
        return handle

    def __getitem__(self, handle: int) -> Listing:
        return self._open[handle]

    def remove(self, handle: int) -> bool:
        """The handle goes. False: there is none."""
        return self._open.pop(handle, None) is not None
