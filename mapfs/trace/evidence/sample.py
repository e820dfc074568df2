"""What every tier of evidence delivers: frozen samples of what a thread, or the kernel, did with pages of a file."""

from typing import NamedTuple

#: The kinds of a Sample.
FAULT = 1  #: a thread faults on a page that it finds nothing mapped for; it may have to wait
MAPPED = 2  #: the kernel mapped, for a fault, what the page cache has of these pages
TAKEN = 3  #: read(2), or the like, has these pages now
EVICTED = 4  #: the page cache lost these pages
TOUCHED_MINOR = 5  #: a fault on this page is over, and nobody waited for a disk
TOUCHED_MAJOR = 6  #: the same, and somebody did
EXEC, FORKED, EXITED = 7, 8, 9  #: tasks: `inode` and `first` are then the parent's pid and tid


class Sample(NamedTuple):
    """`time_ns` of CLOCK_MONOTONIC; the process and the thread; the inode of the mount, the first and the last page."""

    time_ns: int
    kind: int
    pid: int
    tid: int
    inode: int
    first: int
    last: int
    command: str = ""  # of EXEC: the new name
