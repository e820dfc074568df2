"""Who may have mapfs do things: whoever could do them without it."""

import contextlib
import os


def may_command(uid: int, tid: int) -> bool:
    """Whether a client, the thread `tid` of the user `uid`, may write to `.mapfs/ctl`: the user of mapfs, or root, with
    all capabilities that mapfs has, in its user namespace (capabilities(7), user_namespaces(7)). A container's root has
    fewer, or another namespace. Who is not in mapfs's pid namespace has the thread 0, of which only the user is known.
    """
    if uid not in (0, os.getuid()):
        return False
    own = _capabilities("self")
    if not own or not tid:
        return True
    with contextlib.suppress(OSError, ValueError, StopIteration):  # it ended
        there, here = os.stat(f"/proc/{tid}/ns/user"), os.stat("/proc/self/ns/user")
        return there.st_ino == here.st_ino and own & ~_capabilities(str(tid)) == 0
    return False


def _capabilities(process: str) -> int:
    """The effective ones (proc_pid_status(5), CapEff)."""
    with open(f"/proc/{process}/status") as lines:
        return int(next(line for line in lines if line.startswith("CapEff:")).split()[1], 16)
