"""The kinds of marks: what happened to pages, in the words of the log, each with the number that the page uses."""

from mapfs.trace.events import AHEAD, DROP, ERROR, JOINED, PUSH, REFAULT, SHARED, WRITE

COLD_, REFAULT_, WRITE_, ERROR_, READ_AHEAD, PUSH_, DROP_, DIRECT, UNKNOWN = range(9)
USED, SHARED_, JOINED_, FOUND, EVICT_ = range(9, 14)

#: Name and meaning of each, by its number.
KINDS: tuple[tuple[str, str], ...] = (
    ("COLD", "asked for, for the first time"),
    ("REFAULT", "asked for again: it had left the page cache"),
    ("WRITE", "stored"),
    ("ERROR", "the source failed"),
    ("READ-AHEAD", "brought in ahead: no thread waited for it"),
    ("PUSH", "put into the page cache by mapfs"),
    ("DROP", "taken out of the page cache by mapfs"),
    ("DIRECT", "through a descriptor with O_DIRECT"),
    ("?", "asked for; nobody can tell whether for the first time"),
    ("AHEAD", "found in the page cache: own read-ahead, or a push, had brought it"),
    ("SHARED", "found in the page cache: another process had brought it"),
    ("JOINED", "waited for another thread's request"),
    ("FOUND", "found in the page cache; nobody knows who had brought it"),
    ("EVICT", "left the page cache"),
)
GOT = frozenset((USED, SHARED_, JOINED_, FOUND))  # without a request of their own
BROUGHT = frozenset((COLD_, REFAULT_, READ_AHEAD, UNKNOWN))  # reads that succeeded, through the page cache


def kind_of(op: int, cls: str | None, errno: int, direct: int) -> int:
    """Of a request."""
    if op == PUSH:
        return PUSH_
    if op == DROP:
        return DROP_
    if errno or cls == ERROR:
        return ERROR_
    if op == WRITE:
        return WRITE_
    if direct:
        return DIRECT
    return {"COLD": COLD_, REFAULT: REFAULT_, AHEAD: READ_AHEAD}.get(cls or "", UNKNOWN)


def kind_got(cls: str | None) -> int:
    """Of pages that a process got from the page cache."""
    return {AHEAD: USED, SHARED: SHARED_, JOINED: JOINED_}.get(cls or "", FOUND)
