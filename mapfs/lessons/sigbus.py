"""A page that cannot be fetched: SIGBUS for a mapping, an errno for read(2)."""

import errno

from mapfs.errors import errno_name
from mapfs.lessons.lesson import Lesson, pages_of
from mapfs.lessons.stage import Stage

_BAD = 3
_KILLED, _ZERO, _EIO = "it is killed by SIGBUS", "it reads zeroes", "the load fails with EIO"


def run(stage: Stage) -> None:
    """One page of eight fails."""
    stage.say(
        f"""
        A file of 8 pages, of which page {_BAD} cannot be read: think of a bad sector, or a server that is gone. A
        process maps it all, and touches page 2, page 4, and then page {_BAD}. There is no call that could return an
        error: it is a plain load from memory.
        """
    )
    settle = stage.predict(f"What happens to the process at page {_BAD}?", _EIO, _ZERO, _KILLED)
    with stage.mount({"disk": f"pages:8p,error=EIO@{_BAD}"}) as scene:
        victim, other = scene.client("victim", "disk"), scene.client("other", "disk")
        victim.ask("map shared")
        before = victim.ask("touch 2 4")
        signal = victim.killed_by(f"touch {_BAD}")
        events = scene.news()
        stage.show(events)
        other.ask("map shared")
        after = other.ask("touch 2 4")
        (number,) = other.ask(f"errno {_BAD}")
    settle({"SIGBUS": _KILLED, None: _ZERO}.get(signal))
    stage.say(
        """
        A fault that the kernel cannot serve becomes a signal, SIGBUS, and that kills who has no handler for it. The
        page alone is lost: its neighbours are as good as ever. A program that calls read(2) instead gets an errno, and
        can say something sensible; that is what a mapping costs.
        """
    )
    failed = {page for one in events if one["class"] == "ERROR" for page in pages_of([one])}
    stage.claim("what the mapping got", "SIGBUS", signal or "no signal")
    stage.claim("pages that failed", [_BAD], sorted(failed))
    stage.claim("neighbours, before and after, for two processes", [[2, 4], [2, 4]], [before, after])
    stage.claim("what read(2) got", errno_name(errno.EIO), errno_name(number) if number else "the page")


LESSON = Lesson("sigbus", "a page that cannot be fetched kills who maps it", run)
