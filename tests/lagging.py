"""mapfs whose recorder makes no event of what it takes until a file exists, and keeps little of it in memory:
`MAPFS_GATE=FILE python -m tests.lagging mount MNT ...`.
"""

import os
import sys

from mapfs.commands import main
from mapfs.trace import spool
from mapfs.trace.recorder import Recorder
from mapfs.trace.rounds import Round

_join = Recorder._join


def _held_back(recorder: Recorder, last: Round | None = None, *, final: bool = False) -> int:
    return _join(recorder, last, final=final) if os.path.exists(os.environ["MAPFS_GATE"]) else 0


if __name__ == "__main__":
    setattr(Recorder, "_join", _held_back)  # noqa: B010 -- it has the type of a method
    spool.MEMORY = 1 << 20
    sys.exit(main())
