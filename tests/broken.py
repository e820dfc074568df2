"""mapfs whose own threads fail on demand: `python -m tests.broken pager|link|session TRIGGER mount MNT ...`.

The named thread raises at the first work it has once the file TRIGGER exists: what a defect of mapfs would do.
"""

import os
import sys
from typing import Any

import pyfuse3

from mapfs.commands import main
from mapfs.fuse.link import Link
from mapfs.fuse.pager import Pagers

if __name__ == "__main__":
    part, trigger, *arguments = sys.argv[1:]
    owner, name = {"pager": (Pagers, "_relay"), "link": (Link, "_write"), "session": (pyfuse3, "init")}[part]
    real = getattr(owner, name)

    def failing(self: Any, *args: Any) -> Any:
        """The real thing, until the trigger."""
        if os.path.exists(trigger):
            raise RuntimeError("on purpose")
        return real(self, *args)

    setattr(owner, name, failing)
    main(arguments)
