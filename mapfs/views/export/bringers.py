"""Which request brought a page in, for every page of every file: twelve bytes a page, in blocks of 512 pages."""

from array import array
from collections import Counter
from collections.abc import Iterable

_BLOCK = 512  # pages
_ABSENT = -1


class Bringers:
    """The newest request for each page: when it began, and a number of the caller's."""

    def __init__(self) -> None:
        self._blocks: dict[tuple[str, int], tuple[array[int], array[int]]] = {}
        self._counts: Counter[str] = Counter()

    def bring(self, file: str, pages: Iterable[int], time_ns: int, number: int) -> None:
        """A request that began at `time_ns` brought `pages` of `file` in."""
        for page in pages:
            block, at = divmod(page, _BLOCK)
            found = self._blocks.get((file, block))
            if found is None:
                found = self._blocks[file, block] = (array("q", [_ABSENT]) * _BLOCK, array("i", [0]) * _BLOCK)
            times, numbers = found
            self._counts[file] += times[at] == _ABSENT
            times[at], numbers[at] = time_ns, number

    def leave(self, file: str, pages: range) -> None:
        """`pages` of `file` are in the page cache no more; those that are not known to be there stay as they are."""
        for block in range(pages.start // _BLOCK, (pages.stop - 1) // _BLOCK + 1):
            found = self._blocks.get((file, block))
            if found is None:
                continue
            times, start = found[0], block * _BLOCK
            for at in range(max(pages.start - start, 0), min(pages.stop - start, _BLOCK)):
                self._counts[file] -= times[at] != _ABSENT
                times[at] = _ABSENT

    def who(self, file: str, page: int) -> tuple[int, int] | None:
        """When the request that brought `page` in began, and its number; None where there was none."""
        block, at = divmod(page, _BLOCK)
        found = self._blocks.get((file, block))
        return None if found is None or found[0][at] == _ABSENT else (found[0][at], found[1][at])

    def count(self, file: str) -> int:
        """How many pages of `file` were brought in and have not left."""
        return self._counts[file]
