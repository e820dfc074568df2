"""Children that ask: what comes of each, in bounded time, and nothing of the parent's that they hold on to."""

import errno

from tests.support import python


def test_each_question_has_its_own_outcome() -> None:
    said = python(
        """
        import errno, os, time
        from mapfs.fuse.asking import outcomes

        def refuse():
            raise OSError(errno.ENOTCONN, "on purpose")

        print(outcomes([lambda: None, refuse, lambda: time.sleep(600), lambda: 1 / 0], 4.0))
        """
    ).stdout
    assert said == f"[0, {errno.ENOTCONN}, None, 255]\n"


def test_a_child_that_never_ends_keeps_no_descriptor_of_its_parent() -> None:
    said = python(
        """
        import os
        from mapfs.fuse.asking import outcomes

        ours, theirs = os.pipe()
        print(outcomes([lambda fd=fd: os.fstat(fd) for fd in (0, 1, 2, ours, theirs)], 20.0))
        """
    ).stdout
    assert said == f"{[errno.EBADF] * 5}\n"
