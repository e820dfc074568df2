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
    """Of all threads, by their ids, and by what they wait for."""

    def __init__(self) -> None:
        self._waiting: dict[int, Wait] = {}
        self._wanted: dict[tuple[int, int], set[int]] = {}  # inode and page: tids

    def add(self, tid: int, wait: Wait) -> None:
        """The thread waits from now on."""
        self._waiting[tid] = wait
        self._wanted.setdefault((wait.inode, wait.page), set()).add(tid)

    def get(self, tid: int) -> Wait | None:
        """What it waits for."""
        return self._waiting.get(tid)

    def remove(self, tid: int) -> Wait | None:
        """It waits no more, for what it did; nothing will be known of its request beyond what is."""
        wait = self._waiting.pop(tid, None)
        if wait is None:
            return None
        tids = self._wanted[wait.inode, wait.page]
        tids.discard(tid)
        if not tids:
            del self._wanted[wait.inode, wait.page]
        if wait.item is not None:
            wait.item.open = False
        return wait

    def others(self, inode: int, span: range, tid: int, since: int, until: int) -> list[tuple[int, Wait]]:
        """The threads but `tid` that began between two moments to wait for one of these pages, and whose waiting is not
        explained.
        """
        if len(self._waiting) == 1 and tid in self._waiting:
            return []
        keys = [(inode, page) for page in span] if len(span) <= len(self._wanted) else list(self._wanted)
        found = list[tuple[int, Wait]]()
        for key in keys:
            if key[0] == inode and key[1] in span:
                waiting = [(other, self._waiting[other]) for other in self._wanted.get(key, ()) if other != tid]
                found += [
                    (other, wait) for other, wait in waiting if wait.item is None and since <= wait.since <= until
                ]
        return found

    def clear(self) -> None:
        """Nothing is known any more."""
        for tid in list(self._waiting):
            self.remove(tid)
