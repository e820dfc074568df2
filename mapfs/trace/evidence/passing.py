"""Pages that were pushed and passed by: their thread went on behind them, and nobody had touched one.

A thread that demands a page has passed by what was pushed between that page and the one that it had demanded before.
How much of that was left untouched is looked at only when it has passed by the next as well, so that other threads,
which may share the work, have had time; and only where evidence saw by which way the thread got its pages, so that what
it touches is seen. Of the tier kernel alone: a page that a process has mapped, or that read(2) took, is touched; as the
kernel maps up to 16 pages around a fault, some that were not count as touched, and none that was as untouched.
"""

from collections import deque

from mapfs.trace.evidence.pages import Pages
from mapfs.trace.facts import PassedBy

_TOGETHER = 2  # gaps that are looked at together
_LEAST = 16  # pages that were pushed in them
_LONGEST = 1 << 19  # pages of a gap; `prefetch=1G` pushes half as many
_TRAILS = 1024  # threads, each in one file, that are followed
_TOLD = 64  # that are kept for whoever takes them


class _Trail:
    """Where a thread's last demand ended, and the gaps before its last demands in which there are pushed pages."""

    __slots__ = ("gaps", "stop")

    def __init__(self, stop: int) -> None:
        self.stop = stop
        self.gaps: deque[range] = deque(maxlen=_TOGETHER + 1)


class Passing:
    """Follows the threads that demand pages of files to which something was pushed."""

    def __init__(self) -> None:
        self._trails: dict[tuple[int, int], _Trail] = {}  # by thread and inode
        self._found: list[PassedBy] = []

    def demanded(self, tid: int, inode: int, span: range, pages: Pages) -> None:
        """The thread demands the pages of `span`, and it was seen how."""
        trail = self._trails.pop((tid, inode), None)
        if trail is None or span.start < trail.stop:
            trail = _Trail(span.stop)
            if len(self._trails) >= _TRAILS:
                self._trails.pop(next(iter(self._trails)))  # the one that was silent for longest
        self._trails[tid, inode] = trail
        gap = range(trail.stop, span.start)
        trail.stop = span.stop
        if 0 < len(gap) < _LONGEST and pages.was_pushed(gap.start):  # a window lies right behind a demand
            trail.gaps.append(gap)
            self._judge(tid, inode, trail, pages)

    def _judge(self, tid: int, inode: int, trail: _Trail, pages: Pages) -> None:
        looked_at = [trail.gaps[number] for number in range(len(trail.gaps) - 1)]
        counts = [pages.passed(gap) for gap in looked_at]
        pushed, untouched = sum(one[0] for one in counts), sum(one[1] for one in counts)
        if pushed >= _LEAST and untouched * 2 > pushed and len(self._found) < _TOLD:
            self._found.append(PassedBy(inode, tid, looked_at[0].start, pushed, untouched))
            newest = trail.gaps[-1]
            trail.gaps.clear()
            trail.gaps.append(newest)

    def take(self) -> list[PassedBy]:
        """Where more than half was left untouched, since this was asked last."""
        found, self._found = self._found, []
        return found

    def clear(self) -> None:
        """Samples are missing: who touched what is not known any more."""
        self._trails.clear()
        self._found.clear()
