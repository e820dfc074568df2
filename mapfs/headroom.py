"""Memory that must be there before mapfs takes on more: trio, libfuse and whoever says that it is short need some too.

Where the last of it were taken for a name or a handle, nothing could be answered any more, and nothing be ended.
"""

import mmap

_KEPT = 3 << 19  # bytes: an arena of CPython (1 MiB), and half as much
_EACH = 32  # things that are taken on between two looks, of about 1 KiB each


class Headroom:
    """Looks by a mapping that it never touches (setrlimit(2): RLIMIT_AS, RLIMIT_DATA). What a cgroup allows, it
    cannot see: there the kernel ends processes, and fails none of their calls.
    """

    def __init__(self) -> None:
        self._left = 0

    def need(self) -> None:
        """Something more is about to be kept for long. Raises OSError (ENOMEM) where too little would be left."""
        if not self._left:
            mmap.mmap(-1, _KEPT, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
            self._left = _EACH
        self._left -= 1
