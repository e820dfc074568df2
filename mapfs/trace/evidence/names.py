"""Who a thread is, for the recorder: what the daemon found out while it waited, else what /proc says, else what the
side band told of a process that is over already.
"""

import time
from collections.abc import Callable

import msgspec

from mapfs.trace.evidence.pages import Process
from mapfs.trace.evidence.sample import EXEC, FORKED, Sample
from mapfs.trace.facts import ThreadFact
from mapfs.trace.processes import read_comm, read_thread

_NONE = 1 << 31  # thread ids from here on are no threads: of one that is dead, or of another pid namespace
FIRST_KEY = 1 << 31  # of the keys that are given here; the daemon counts from 1 on


class Names:
    """`learned` is given each fact of a new key before the key is used."""

    def __init__(self, learned: Callable[[ThreadFact], object]) -> None:
        self._learned = learned
        self._next = FIRST_KEY
        self._threads: dict[int, ThreadFact] = {}  # by tid
        self._processes: dict[int, ThreadFact] = {}  # by pid: what was known last of one of its threads
        self._commands: dict[int, str] = {}  # by pid, as the side band told
        self._owners: dict[int, Process] = {}  # by key
        self._changed: dict[
            int, int
        ] = {}  # by tid: when it became another, or another program, which is to be told yet

    def told(self, fact: ThreadFact) -> None:
        """The daemon knows a thread."""
        self._threads[fact.tid] = self._processes[fact.pid] = fact
        self._owners[fact.key] = (fact.pid, fact.started)
        self._commands.pop(fact.pid, None)

    def changes(self, one: Sample) -> None:
        """A sample of the side band was taken, which is told in its turn: what /proc says is not true of before."""
        if one.kind in (EXEC, FORKED):
            self._changed[one.pid] = self._changed[one.tid] = one.time_ns

    def key(self, pid: int, tid: int, moment: int) -> int:
        """The key of a thread that did something at the `moment`, ns; 0 where the kernel had no number for it here."""
        fact = self._threads.get(tid)
        if fact is not None and fact.pid == pid:
            return fact.key
        return self._resolve(pid, tid, moment).key if 0 < tid < _NONE else 0

    def process(self, key: int) -> Process | None:
        """The process of the thread with this key."""
        return self._owners.get(key)

    def executed(self, one: Sample) -> None:
        """The process is another program now, or has another name."""
        self._told(one)
        if one.tid != one.pid and not one.inode:
            return  # a thread's name is not its process's
        if not self._younger(self._processes, one.pid, one):
            self._commands[one.pid] = one.command
            self._threads.pop(one.tid, None)
            self._threads.pop(one.pid, None)

    def forked(self, one: Sample) -> None:
        """A new thread; of a new process, unless it is its starter's."""
        self._told(one)
        if not self._younger(self._threads, one.tid, one):
            self._threads.pop(one.tid, None)
        if one.pid != one.inode and not self._younger(self._processes, one.pid, one):
            self._processes.pop(one.pid, None)
            before = self._processes.get(one.inode)
            command = self._commands.get(one.inode) or (before.command if before else "")
            if command:
                self._commands[one.pid] = command

    def exited(self, one: Sample) -> Process | None:
        """A thread ended; the process if that has ended with it, and was known."""
        self._threads.pop(one.tid, None)
        if one.pid != one.tid:
            return None
        self._commands.pop(one.pid, None)
        fact = self._processes.pop(one.pid, None)
        return (fact.pid, fact.started) if fact else None

    @staticmethod
    def _younger(facts: dict[int, ThreadFact], number: int, one: Sample) -> bool:
        """Whether what is known was found out after what the sample says."""
        fact = facts.get(number)
        return fact is not None and fact.found_ns > one.time_ns

    def _told(self, one: Sample) -> None:
        for number in {one.pid, one.tid}:
            if self._changed.get(number) == one.time_ns:
                del self._changed[number]

    def _resolve(self, pid: int, tid: int, moment: int) -> ThreadFact:
        key, self._next = self._next, self._next + 1
        found_ns = time.monotonic_ns()
        try:
            if self._changed and max(self._changed.get(pid, 0), self._changed.get(tid, 0)) > moment:
                found_ns = moment
                raise LookupError(tid)
            fact = read_thread(tid, key, read_comm(tid))
            if fact.pid != pid:
                raise LookupError(tid)
        except (OSError, ValueError, LookupError):
            before = self._processes.get(pid)
            command = self._commands.get(pid) or (before.command if before else "?")
            if before is None:
                before = ThreadFact(key, tid, command, pid, 0, command, "", None, 0)
            fact = msgspec.structs.replace(before, key=key, tid=tid, name=command, command=command)
        fact = msgspec.structs.replace(fact, found_ns=found_ns)
        self._learned(fact)
        self._threads[tid] = self._processes[pid] = fact
        self._owners[key] = (fact.pid, fact.started)
        return fact
