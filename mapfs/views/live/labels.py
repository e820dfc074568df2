"""What pages hold, in the words of the labels that events carry: of the pages that had one last."""

from collections.abc import Iterable
from typing import Any

_MOST = 20_000  # pages
_MOST_OF_ONE = 64  # pages of an event that keep its label


class PageLabels:
    """The newest label of each page; those that were told of longest ago are forgotten."""

    def __init__(self) -> None:
        self._labels: dict[tuple[str, int], str] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "PageLabels":
        made = PageLabels()
        made._labels = dict(self._labels)
        return made

    def tell(self, file: str, first: int, count: int, label: str) -> None:
        """`count` pages of `file` from `first` on hold this."""
        labels = self._labels
        for page in range(first, first + min(count, _MOST_OF_ONE)):
            labels.pop((file, page), None)
            labels[file, page] = label
        while len(labels) > _MOST:
            del labels[next(iter(labels))]

    def of(self, file: str, pages: Iterable[int]) -> list[str]:
        """The different ones of some pages, in their order."""
        found = (self._labels.get((file, page)) for page in pages)
        return list(dict.fromkeys(label for label in found if label is not None))
