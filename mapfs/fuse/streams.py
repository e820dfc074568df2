"""How one thread goes through a file, as far as its demands tell, and what evidence beyond them says of its windows.

Demands alone cannot tell whether what was pushed between two of them was wanted: whoever demands the page that is left
out between two windows, and nothing else, looks like a reader. Where the evidence sees that most of what such a thread
passed by was touched by nobody, it is held back: nothing is pushed until its demands are for one page after the other,
without a gap, which shows by itself that it wants them all; then windows begin small.
"""

from dataclasses import dataclass

_RUN, _LONGEST_RUN = 4, 64  # demands in a row before something is pushed: at first, and after much that was in vain
_NEAR = 32  # pages by which a demand may lie behind the last one, or its window, and still be the next


@dataclass(slots=True)
class Stream:
    """In pages. `last` is where the last demand ended."""

    last: int
    next: int  # the page whose demand is waited for: all before it were demanded, pushed, or are being pushed
    end: int = 0  # where the window behind that page ends; not behind it: there is none
    window: int = 0  # the size of the last one, 0: none
    began: int = 0  # where the first window lies of those that followed each other
    run: int = 0
    needed: int = _RUN
    near: int = _NEAR

    def demands(self, first: int, end: int) -> bool:
        """It demands the pages from `first` to before `end`. Whether it has come to where something is to be pushed."""
        if self.last <= first <= self.next + self.near:
            self.run += 1
            if self.window and first >= self.next:  # else its pages are not there yet
                self.needed = max(_RUN, self.needed // 2)
                self.near = _NEAR if self.needed == _RUN else self.near
        else:
            if self.window:  # it did not get to the end of what was pushed
                self.needed = min(_LONGEST_RUN, self.needed * 2)
            self.run = self.window = self.next = self.end = 0
        self.last = end
        if end <= self.next:
            return False
        self.next = max(end, self.end)
        return self.run >= self.needed

    def grow(self, start: int, first: int, most: int) -> int:
        """The size of the next window, which lies at `start`: `first` of the first one, `most` at most."""
        if not self.window:
            self.began = start
        self.window = min(most, self.window * 2 or first)
        return self.window

    def hold_back(self, first: int) -> bool:
        """Most of what was pushed was not wanted, from the page `first` on. False: of pushes that were over before."""
        if not self.window or not self.began <= first < self.last:
            return False
        self.run = self.window = self.near = 0
        self.needed = min(_LONGEST_RUN, self.needed * 2)
        return True
