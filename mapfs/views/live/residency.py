"""Which pages of a file are in the page cache: a bit a page, and where that takes too much, how many of each group.

A group is some power of two pages. Of a page in it nobody remembers whether it was there; but a page that mapfs was
asked to read was not, and one that left the cache was, so that sums of those are enough. What a process found there
says only that there were as many. So the numbers of groups are lower bounds, exact where a file is only
read.
"""

from collections.abc import Iterator

_BITS = 4096  # pages in a word
_WORD_BYTES, _GROUP_BYTES = 700, 140  # each with its number and its place in a dict


class _Exact:
    """A set of page numbers."""

    def __init__(self) -> None:
        self._words: dict[int, bytearray] = {}
        self.count = 0

    def __len__(self) -> int:
        """Of words."""
        return len(self._words)

    def _spans(self, first: int, count: int) -> "list[tuple[int, int, int]]":
        """Each word that the pages lie in, its first bit of them, and how many."""
        spans = []
        while count > 0:
            word, at = divmod(first, _BITS)
            here = min(count, _BITS - at)
            spans.append((word, at, here))
            first, count = first + here, count - here
        return spans

    def add(self, first: int, count: int = 1) -> None:
        """Adds `count` pages from `first` on."""
        if count == 1:  # as nearly always
            word, at = self._words.get(first // _BITS), first % _BITS
            if word is not None:
                mask = 1 << (at & 7)
                if not word[at >> 3] & mask:
                    word[at >> 3] |= mask
                    self.count += 1
                return
        for number, at, here in self._spans(first, count):
            word = self._words.get(number)
            if word is None:
                word = self._words[number] = bytearray(_BITS // 8)
            before, mask = self._masked(word, at, here)
            self.count += here - (before & mask).bit_count()
            self._put(word, at, here, before | mask)

    def discard(self, first: int, count: int) -> None:
        """Takes them out; pages that are not in it are no error."""
        for number in self._within(first, count):
            low, high = max(first, number * _BITS), min(first + count, (number + 1) * _BITS)
            word = self._words[number]
            before, mask = self._masked(word, low % _BITS, high - low)
            self.count -= (before & mask).bit_count()
            self._put(word, low % _BITS, high - low, before & ~mask)
            if not any(word):
                del self._words[number]

    def within(self, first: int, count: int) -> int:
        """How many of the pages are in it."""
        found = 0
        for number, at, here in self._spans(first, count):
            if (word := self._words.get(number)) is not None:
                before, mask = self._masked(word, at, here)
                found += (before & mask).bit_count()
        return found

    def words(self) -> "Iterator[tuple[int, int]]":
        """Each range of `_BITS` pages by its number, and how many pages of it are in the set."""
        return ((number, int.from_bytes(word, "little").bit_count()) for number, word in self._words.items())

    def _within(self, first: int, count: int) -> list[int]:
        """The words that exist: a file of a terabyte may be dropped as a whole."""
        numbers = range(first // _BITS, (first + count - 1) // _BITS + 1) if count > 0 else range(0)
        if len(numbers) > len(self._words):
            return [number for number in self._words if number in numbers]
        return [number for number in numbers if number in self._words]

    @staticmethod
    def _masked(word: bytearray, at: int, count: int) -> tuple[int, int]:
        """The bytes that the bits lie in, as a number, and the mask of the bits."""
        low, high = at >> 3, (at + count + 7) >> 3
        return int.from_bytes(word[low:high], "little"), ((1 << count) - 1) << (at & 7)

    @staticmethod
    def _put(word: bytearray, at: int, count: int, value: int) -> None:
        low, high = at >> 3, (at + count + 7) >> 3
        word[low:high] = value.to_bytes(high - low, "little")


class _Groups:
    """How many pages there are at least of each 1 << `shift`."""

    def __init__(self, shift: int, counts: dict[int, int]) -> None:
        self.shift = shift
        self.counts = counts
        self.count = sum(counts.values())

    def _spans(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        """The groups that the pages lie in, and how many of them do."""
        end = first + count
        for group in range(first >> self.shift, ((end - 1) >> self.shift) + 1 if count > 0 else 0):
            yield group, min(end, (group + 1) << self.shift) - max(first, group << self.shift)

    def add(self, first: int, count: int, *, absent: bool) -> None:
        for group, here in self._spans(first, count):
            before = self.counts.get(group, 0)
            self._put(group, min(before + here, 1 << self.shift) if absent else max(before, here))

    def discard(self, first: int, count: int) -> None:
        groups = range(first >> self.shift, ((first + count - 1) >> self.shift) + 1 if count > 0 else 0)
        found = self.counts if len(groups) > len(self.counts) else groups  # a terabyte may be dropped as a whole
        for group in [one for one in found if one in self.counts and one in groups]:
            low, high = max(first, group << self.shift), min(first + count, (group + 1) << self.shift)
            self._put(group, max(0, self.counts[group] - (high - low)))

    def within(self, first: int, count: int) -> int:
        return sum(min(self.counts.get(group, 0), here) for group, here in self._spans(first, count))

    def _put(self, group: int, count: int) -> None:
        self.count += count - self.counts.get(group, 0)
        if count:
            self.counts[group] = count
        else:
            self.counts.pop(group, None)

    def coarser(self) -> "_Groups":
        """Each two as one."""
        counts: dict[int, int] = {}
        for group, count in self.counts.items():
            counts[group >> 1] = counts.get(group >> 1, 0) + count
        return _Groups(self.shift + 1, counts)


class Residency:
    """The pages of one file that are in the page cache, as far as is known."""

    def __init__(self) -> None:
        self._pages = _Exact()
        self._groups: _Groups | None = None

    @property
    def pages_a_group(self) -> int:
        """A power of 2. 1: each page is known, and the counts are exact; else they are what there is at least."""
        return 1 if self._groups is None else 1 << self._groups.shift

    @property
    def count(self) -> int:
        """Of pages."""
        return self._pages.count if self._groups is None else self._groups.count

    @property
    def size(self) -> int:
        """Bytes that it takes, roughly."""
        if self._groups is None:
            return len(self._pages) * _WORD_BYTES
        return len(self._groups.counts) * _GROUP_BYTES

    def add(self, first: int, count: int = 1, *, absent: bool = False) -> None:
        """`count` pages from `first` on are there now; `absent`: they were not, before."""
        if self._groups is None:
            self._pages.add(first, count)
        else:
            self._groups.add(first, count, absent=absent)

    def discard(self, first: int, count: int) -> None:
        """They are not; whether they were does not matter."""
        (self._pages if self._groups is None else self._groups).discard(first, count)

    def within(self, first: int, count: int) -> int:
        """How many of the pages are there. They must be whole groups, up to the end of the file."""
        return (self._pages if self._groups is None else self._groups).within(first, count)

    def coarsen(self) -> None:
        """Takes less."""
        if self._groups is None:
            self._groups = _Groups(_BITS.bit_length() - 1, dict(self._pages.words()))
            self._pages = _Exact()
        else:
            self._groups = self._groups.coarser()

    def clear(self) -> None:
        """Forgets all."""
        self._pages, self._groups = _Exact(), None
