"""Threads that wait for a page: since when, and what became of it."""

from dataclasses import dataclass

from mapfs.trace.evidence.item import Item


@dataclass(slots=True)
class Wait:
    """A thread faulted on a page that the cache had not, or not yet. Times in ns."""

    since: int
    pid: int
    inode: int
    page: int
    item: Item | None = None  # the event of it: its own request, or that it joined another's


class Waits:
    """Of all threads, by their ids."""

    def __init__(self) -> None:
        self._waiting: dict[int, Wait] = {}

    def add(self, tid: int, wait: Wait) -> None:
        """The thread waits from now on."""
        self._waiting[tid] = wait

    def get(self, tid: int) -> Wait | None:
        """What it waits for."""
        return self._waiting.get(tid)

    def remove(self, tid: int) -> Wait | None:
        """It waits no more, for what it did; nothing will be known of its request beyond what is."""
        wait = self._waiting.pop(tid, None)
        if wait is not None and wait.item is not None:
            wait.item.open = False
        return wait

    def others(self, inode: int, span: range, tid: int, since: int, until: int) -> list[tuple[int, Wait]]:
        """The threads but `tid` that began between two moments to wait for one of these pages, and whose waiting is not
        explained.
        """
        if len(self._waiting) <= 1 and (not self._waiting or tid in self._waiting):  # as mostly
            return []
        return [
            (other, wait)
            for other, wait in self._waiting.items()
            if wait.item is None and wait.inode == inode and wait.page in span and since <= wait.since <= until
            if other != tid
        ]

    def clear(self) -> None:
        """Nothing is known any more."""
        for tid in list(self._waiting):
            self.remove(tid)
