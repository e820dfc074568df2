"""Who a thread is: resolved while it waits for its page, so /proc/TID is certain to be there.

A thread is known by a key that is never reused, its thread id is. What is known of a thread id stays valid
as long as the `comm` file that was opened with it answers with the same name: the descriptor belongs to that
very thread, and gives ESRCH once it is gone, whoever has its number by then (proc(5)). A program that
replaced itself (execve) mostly has another name, and opens files: `recheck` is called for that.

Who demands page after page is not asked each time: within a few tens of microseconds no thread can end and its number
come round again, and none can have become another program, for execve(2) alone takes longer (281 us at the least for a
static program without libraries, of 2,000 on the machine of docs/BENCHMARKS.md).
"""

import contextlib
import os
import re
import resource
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from mapfs.trace.facts import ThreadFact, printable

_KNOWN = 512  # threads whose comm file is held open
_SURELY = 50_000  # ns for which a thread is what it was
_SHARE = 8  # one of so many descriptors that this process may have is such a file at most
_CMDLINE = 4096
_ID = re.compile(r"[0-9a-f]{64}")
_NAMED = re.compile(r"lxc\.payload\.([^/]+)|machine-([^/]+)\.scope|libpod-([^/]+)\.scope")


@dataclass(slots=True)
class _Known:
    comm_fd: int
    comm: bytes
    until: int  # CLOCK_MONOTONIC, ns: till then it needs no look; 0: the program may be another one
    key: int
    fact: ThreadFact


class Threads:
    """Thread id -> key. `learned` is given the fact of a new key before the key is returned; `failed` is told where a
    thread cannot be looked at, and why.
    """

    def __init__(
        self,
        learned: Callable[[ThreadFact], object],
        failed: Callable[[str, BaseException], object] | None = None,
    ) -> None:
        self._learned = learned
        self._failed = failed
        self._share = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE
        self._lock = threading.Lock()
        self._known: OrderedDict[int, _Known] = OrderedDict()
        self._last = 0

    def key(self, tid: int, now: int) -> int:
        """The key of the thread `tid`, which waits for an answer since `now` (ns of CLOCK_MONOTONIC); 0 where nobody
        can tell who it is.
        """
        known = self._known.get(tid)
        if known is not None and now < known.until:
            return known.key
        if not tid:
            return 0  # written back by the kernel, or a client that this process's pid namespace lacks
        with self._lock:
            known = self._known.get(tid)
            if known is not None:
                try:
                    if os.pread(known.comm_fd, 64, 0) == known.comm and known.until:
                        known.until = now + _SURELY
                        return known.key
                except OSError:  # it is gone: whoever has its number now is another thread, alike as it may be
                    self._drop(tid)
                    known = None
            return self._resolve(tid, known)

    def process(self, tid: int) -> tuple[int, int] | None:
        """The process of the thread `tid`, which waits for an answer now: its pid, and when it started; None where
        nobody can tell. Cheap where the thread is known, whatever program it runs.
        """
        with self._lock:
            known = self._known.get(tid)
            if known is not None:
                with contextlib.suppress(OSError):
                    os.pread(known.comm_fd, 1, 0)
                    return known.fact.pid, known.fact.started
            if not tid or not self._resolve(tid, None):
                return None
            fact = self._known[tid].fact
            return fact.pid, fact.started

    def seen(self, tid: int) -> tuple[int, int] | None:
        """As `process`, where the thread is known already. Looks at nothing."""
        known = self._known.get(tid)
        return None if known is None else (known.fact.pid, known.fact.started)

    def recheck(self, tid: int) -> None:
        """The program that runs in `tid` may be another one since."""
        known = self._known.get(tid)
        if known is not None:
            known.until = 0

    def close(self) -> None:
        """Closes the comm files."""
        with self._lock:
            while self._known:
                os.close(self._known.popitem()[1].comm_fd)

    def _resolve(self, tid: int, before: _Known | None) -> int:
        self._drop(tid)
        key = before.fact.key if before else self._last + 1
        try:
            comm_fd = os.open(f"/proc/{tid}/comm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self._cannot_look(error)
            return 0
        try:
            comm = os.pread(comm_fd, 64, 0)
            fact = read_thread(tid, key, comm)
        except (OSError, ValueError, LookupError) as error:
            os.close(comm_fd)
            self._cannot_look(error)
            return 0
        if before is None or fact != before.fact:
            self._last += 1
            fact = msgspec.structs.replace(fact, key=self._last)
            self._learned(msgspec.structs.replace(fact, found_ns=time.monotonic_ns()))
        self._known[tid] = _Known(comm_fd, comm, 1, fact.key, fact)
        while len(self._known) > min(_KNOWN, self._share):
            self._drop(next(iter(self._known)))
        return fact.key

    def _cannot_look(self, error: BaseException) -> None:
        if self._failed is not None:
            self._failed("finding out which thread demands a page", error)

    def _drop(self, tid: int) -> None:
        known = self._known.pop(tid, None)
        if known is not None:
            os.close(known.comm_fd)


def read_thread(tid: int, key: int, comm: bytes) -> ThreadFact:
    """What /proc says of the thread `tid`. Raises OSError, ValueError or LookupError where it says nothing."""
    status = dict(
        line.split(":", 1) for line in _text(f"/proc/{tid}/status").splitlines() if line.startswith(("Tgid:", "Uid:"))
    )
    pid = int(status["Tgid"])
    name = printable(comm.rstrip(b"\n"))
    stat = _text(f"/proc/{pid}/stat")
    cmdline = ""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        cmdline = printable(file.read(_CMDLINE).rstrip(b"\0").replace(b"\0", b" "))
    command = name if pid == tid else printable(_bytes(f"/proc/{pid}/comm").rstrip(b"\n"))
    return ThreadFact(
        key=key,
        tid=tid,
        name=name,
        pid=pid,
        started=int(stat.rpartition(")")[2].split()[19]),
        command=command,
        cmdline=cmdline,
        container=container_of(pid),
        uid=int(status["Uid"].split()[1]),
    )


def read_comm(tid: int) -> bytes:
    """/proc/TID/comm. Raises OSError."""
    return _bytes(f"/proc/{tid}/comm")


def container_of(pid: int) -> str | None:
    """The container that `pid` runs in, as its runtime names it in the cgroup path; None where none shows."""
    try:
        groups = _text(f"/proc/{pid}/cgroup")
    except OSError:
        return None
    if match := _ID.search(groups):  # docker, containerd, CRI-O, podman and kubernetes
        return match[0]
    if match := _NAMED.search(groups):  # LXC, systemd-nspawn, named podman scopes
        return next(group for group in match.groups() if group)
    return None


def kill_pending(tid: int) -> bool:
    """Whether the thread is being killed: it will never look at its page, and an error cannot harm it."""
    if not tid:
        return False  # of another pid namespace: nothing can be known
    try:
        lines = _text(f"/proc/{tid}/status").splitlines()
    except OSError:  # gone, or hidden (proc(5), hidepid)
        try:
            os.kill(tid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass
        return False
    pending = [int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd:", "ShdPnd:"))]
    return any(mask >> 8 & 1 for mask in pending)  # SIGKILL is signal 9, bit 8


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _text(path: str) -> str:
    return printable(_bytes(path))
