"""What the page cache has of a file, who brought each page in, and which processes have it: as far as it was seen.

Pages are bits of integers, so that a window of many pages costs as much as one.
"""

from array import array
from collections.abc import Iterable, Iterator

DEMANDED, AHEAD, PUSHED, WRITTEN, UNKNOWN, UNTOLD = 1, 2, 3, 4, 5, 6  # why a page was brought in
_WORD = 512  # pages in one integer
_PUSHED_WORDS = 4096  # of a file, in which it is remembered what was pushed
_KINDS = 8  # an origin is the key of a thread times this, and why

Process = tuple[int, int]  # its pid, and when it started


def _words(first: int, last: int) -> Iterable[tuple[int, int]]:
    """The words of the pages from `first` to `last`, and which bits of them."""
    word = first // _WORD
    if last // _WORD == word:  # as nearly always
        return ((word, ((1 << (last - first + 1)) - 1) << first % _WORD),)
    return _many_words(first, last)


def _many_words(first: int, last: int) -> Iterator[tuple[int, int]]:
    for word in range(first // _WORD, last // _WORD + 1):
        low = max(first - word * _WORD, 0)
        high = min(last - word * _WORD, _WORD - 1)
        yield word, ((1 << (high - low + 1)) - 1) << low


def _bits(word: int, mask: int) -> list[int]:
    """The pages whose bits are set."""
    pages, base = [], word * _WORD - 1
    while mask:
        low = mask & -mask
        pages.append(base + low.bit_length())
        mask ^= low
    return pages


class Pages:
    """Of one file, known to the trace as `file`."""

    def __init__(self, file: int) -> None:
        self.file = file
        self._resident: dict[int, int] = {}
        self._origins: dict[int, array[int]] = {}
        self._got: dict[int, dict[Process, int]] = {}  # by word: who has which of its pages
        self._pushed: dict[int, int] = {}  # pages that came by a push, and
        self._untouched: dict[int, int] = {}  # those of them that nobody touched yet, also if they have left

    def has(self, page: int) -> bool:
        """Whether it is in the page cache."""
        return bool(self._resident.get(page // _WORD, 0) >> page % _WORD & 1)

    def bring(self, first: int, last: int, thread: int, kind: int, *, anew: bool = False) -> None:
        """The pages are in the cache now, by `thread`. Those that were there keep their origin, unless they came
        `anew`: then they had left it unseen.
        """
        for word, mask in _words(first, last):
            there = self._resident.get(word, 0)
            if anew and there & mask:
                self._forget(word, there & mask)
                there &= ~mask
            self._resident[word] = there | mask
            if kind == PUSHED:
                self._push(word, mask & ~there)
            elif self._pushed:
                self._unpush(word, mask & ~there)
            for page in _bits(word, mask & ~there):
                self.becomes(page, thread, kind)

    def demanded(self, page: int, thread: int, process: Process | None) -> None:
        """What is most frequent, at once: `thread`, of `process`, demanded this page, came by it anew, and has it."""
        word, at = page // _WORD, page % _WORD
        bit, there = 1 << at, self._resident.get(word, 0)
        if there & bit:
            self._forget(word, bit)
        else:
            self._resident[word] = there | bit
        if self._pushed:
            self._unpush(word, bit)
        origins = self._origins.get(word)
        if origins is None:
            origins = self._origins[word] = array("Q", bytes(8 * _WORD))
        origins[at] = thread * _KINDS + DEMANDED
        if process is not None:
            got = self._got.get(word)
            if got is None:
                got = self._got[word] = {}
            got[process] = got.get(process, 0) | bit

    def becomes(self, page: int, thread: int, kind: int) -> None:
        """More is known of why it was brought in."""
        origins = self._origins.get(page // _WORD)
        if origins is None:
            origins = self._origins[page // _WORD] = array("Q", bytes(8 * _WORD))
        origins[page % _WORD] = thread * _KINDS + kind

    def demanded_untold(self, first: int, last: int, thread: int) -> None:
        """What looked as if `thread` had read it ahead was demanded, as was seen too late."""
        for page in range(first, last + 1):
            if self.has(page) and self.origin(page) == (thread, AHEAD):
                self.becomes(page, thread, UNTOLD)

    def origin(self, page: int) -> tuple[int, int]:
        """The thread that brought it in, and why."""
        return divmod(self._origins[page // _WORD][page % _WORD], _KINDS)

    def get(self, process: Process | None, first: int, last: int) -> list[int]:
        """The process has what the cache has of these pages; those that it did not have before."""
        if process is None:
            return []
        new: list[int] = []
        for word, mask in _words(first, last):
            fresh = self._resident.get(word, 0) & mask
            if fresh:
                got = self._got.get(word)
                if got is None:
                    got = self._got[word] = {}
                had = got.get(process, 0)
                if fresh & had != fresh:
                    got[process] = had | fresh
                    new += _bits(word, fresh & ~had)
        return new

    # what was pushed

    @property
    def pushes(self) -> bool:
        """Whether something was pushed of which it may be known whether it was touched."""
        return bool(self._pushed)

    def was_pushed(self, page: int) -> bool:
        """Whether it came by a push, as far as that is remembered."""
        return bool(self._pushed.get(page // _WORD, 0) >> page % _WORD & 1)

    def touch(self, first: int, last: int) -> None:
        """Somebody has what the cache has of these pages."""
        if not self._untouched:
            return
        for word, mask in _words(first, last):
            untouched = self._untouched.get(word, 0)
            if untouched & mask:
                self._untouched[word] = untouched & ~mask

    def passed(self, span: range) -> tuple[int, int]:
        """How many of these pages were pushed, and how many of those nobody touched."""
        pushed = untouched = 0
        for word, mask in _words(span.start, span.stop - 1):
            pushed += (self._pushed.get(word, 0) & mask).bit_count()
            untouched += (self._untouched.get(word, 0) & mask).bit_count()
        return pushed, untouched

    def doubt(self, first: int, last: int) -> None:
        """Whether somebody touched what was pushed there, nobody can tell."""
        for word, mask in _words(first, last):
            self._unpush(word, mask)

    def doubt_all(self) -> None:
        """The same of all pages."""
        self._pushed.clear()
        self._untouched.clear()

    def _push(self, word: int, mask: int) -> None:
        if word not in self._pushed and len(self._pushed) >= _PUSHED_WORDS:
            oldest = next(iter(self._pushed))
            del self._pushed[oldest], self._untouched[oldest]
        self._pushed[word] = self._pushed.get(word, 0) | mask
        self._untouched[word] = self._untouched.get(word, 0) | mask

    def _unpush(self, word: int, mask: int) -> None:
        if word in self._pushed:
            self._pushed[word] &= ~mask
            self._untouched[word] &= ~mask

    # what leaves

    def together(self, first: int, last: int) -> int:
        """The last page up to which all from `first` on are in the cache, `last` at most; `first` - 1 if it is not."""
        for word, mask in _words(first, last):
            absent = mask & ~self._resident.get(word, 0)
            if absent:
                return word * _WORD + (absent & -absent).bit_length() - 2
        return last

    def evict(self, first: int, last: int) -> None:
        """They left the cache, and with it every process."""
        for word, mask in _words(first, last):
            there = self._resident.get(word, 0)
            if there & mask:
                self._forget(word, there & mask)
                if there & ~mask:
                    self._resident[word] = there & ~mask
                else:
                    del self._resident[word]
                    del self._origins[word]

    def gone(self, process: Process) -> None:
        """It ended."""
        for word in [word for word, got in self._got.items() if got.pop(process, None) is not None and not got]:
            del self._got[word]

    def clear(self) -> None:
        """Nothing is known any more."""
        self._resident.clear()
        self._origins.clear()
        self._got.clear()
        self.doubt_all()

    def _forget(self, word: int, mask: int) -> None:
        got = self._got.get(word)
        if got is not None:
            left = {process: pages & ~mask for process, pages in got.items() if pages & ~mask}
            if left:
                self._got[word] = left
            else:
                del self._got[word]
