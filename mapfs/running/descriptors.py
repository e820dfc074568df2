"""What a process that serves a run holds open: nothing of the program's, such as a pipe that somebody reads to its end,
nor the namespace, which would last as long as it.
"""

import fcntl
import os
from collections.abc import Sequence

_APART = 10  # beyond all that is to be kept


def keep_only(standard: Sequence[int], others: Sequence[int] = ()) -> None:
    """Makes 0, 1 and 2 what `standard` is, and 3, 4, ... what `others` are, not inheritable; closes all else."""
    apart = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _APART) for fd in (*standard, *others)]
    for number, fd in enumerate(apart):
        os.dup2(fd, number, inheritable=number < len(standard))
    os.closerange(len(apart), os.sysconf("SC_OPEN_MAX"))
