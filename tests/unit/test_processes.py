"""Who a thread is."""

import contextlib
import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mapfs.trace import processes
from mapfs.trace.facts import ThreadFact, printable
from mapfs.trace.processes import Threads, container_of, kill_pending, read_thread

WITHIN = 20.0  # seconds
NS_LAST_PID = "/proc/sys/kernel/ns_last_pid"
TRIES = 300


class Known(Threads):
    """Threads, and the facts that they told."""

    def __init__(self) -> None:
        self.facts: list[ThreadFact] = []
        super().__init__(self.facts.append)
        self._now = 0

    def ask(self, tid: int) -> int:
        """Its key, a second after it was last asked for."""
        self._now += 10**9
        return self.key(tid, self._now)


@pytest.fixture
def known() -> Iterator[Known]:
    known = Known()
    yield known
    known.close()
    assert not any(target.endswith("/comm") for target in open_files()), "a comm file is left open"


def open_files() -> list[str]:
    """What the descriptors of this process refer to. Other tests' garbage may be closed meanwhile."""
    targets = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            targets.append(os.readlink(f"/proc/self/fd/{fd}"))
    return targets


class Thread:
    """A thread that does nothing until it is ended."""

    def __init__(self) -> None:
        self.tid = 0
        self._started, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._started.wait(WITHIN)

    def _run(self) -> None:
        self.tid = threading.get_native_id()
        self._started.set()
        self._end.wait(WITHIN)

    def end(self) -> None:
        """Ends it; its id is free then."""
        self._end.set()
        self._thread.join(WITHIN)

    def __enter__(self) -> "Thread":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Process:
    """A forked process that does nothing until it is ended."""

    def __init__(self) -> None:
        reading, self._end = os.pipe()
        self.tid = os.fork()
        if not self.tid:
            os.close(self._end)
            os.read(reading, 1)
            os._exit(0)
        os.close(reading)

    def end(self) -> None:
        """Ends it; its id is free then."""
        os.close(self._end)
        os.waitpid(self.tid, 0)


def gone(tid: int) -> None:
    """Waits for the kernel to let go of a thread that was joined."""
    for _ in range(100_000):
        if not os.path.exists(f"/proc/{tid}"):
            return
        os.sched_yield()
    raise AssertionError(f"thread {tid} does not go")


def test_the_same_thread_has_the_same_key(known: Known) -> None:
    key = known.ask(os.getpid())
    assert key == 1
    assert [known.ask(os.getpid()) for _ in range(3)] == [key] * 3
    assert len(known.facts) == 1


def test_what_is_said_of_a_thread(known: Known) -> None:
    before = time.monotonic_ns()
    with Thread() as thread:
        known.ask(thread.tid)
        Path(f"/proc/self/task/{thread.tid}/comm").write_text("worker")
        key = known.ask(thread.tid)
    fact = known.facts[-1]
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    assert fact == ThreadFact(
        key=key,
        tid=thread.tid,
        name="worker",
        pid=os.getpid(),
        started=int(stat[19]),
        command=Path("/proc/self/comm").read_text().strip(),
        cmdline=Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(),
        container=container_of(os.getpid()),
        uid=os.geteuid(),
        found_ns=fact.found_ns,
    )
    assert before <= fact.found_ns <= time.monotonic_ns()


def test_threads_of_one_process_have_keys_of_their_own(known: Known) -> None:
    with Thread() as one, Thread() as other:
        keys = [known.ask(tid) for tid in (os.getpid(), one.tid, other.tid, one.tid, os.getpid())]
    assert keys == [1, 2, 3, 2, 1]
    assert {fact.pid for fact in known.facts} == {os.getpid()}


def test_no_thread_has_no_key(known: Known) -> None:
    assert known.ask(0) == 0
    assert known.facts == []


def test_a_thread_that_is_gone_has_no_key(known: Known) -> None:
    with Thread() as thread:
        assert known.ask(thread.tid) == 1
    gone(thread.tid)
    assert known.ask(thread.tid) == 0
    assert known.ask(1 << 30) == 0
    assert len(known.facts) == 1


def test_a_new_name_is_a_new_fact(known: Known) -> None:
    with Thread() as thread:
        first = known.ask(thread.tid)
        Path(f"/proc/self/task/{thread.tid}/comm").write_text("renamed")
        second = known.ask(thread.tid)
        assert known.ask(thread.tid) == second != first
    assert [fact.key for fact in known.facts] == [first, second]
    assert known.facts[1].name == "renamed"


def test_a_thread_is_looked_at_again_before_it_can_be_another(known: Known) -> None:
    now = time.monotonic_ns()
    with Thread() as thread:
        known.key(thread.tid, now)
        first = known.key(thread.tid, now)
        Path(f"/proc/self/task/{thread.tid}/comm").write_text("renamed")
        assert known.key(thread.tid, now + 49_000) == first, "no look was needed yet"
        known.recheck(thread.tid)
        second = known.key(thread.tid, now + 49_000)
        assert second != first, "it may have become another program"
        known.key(thread.tid, now + 49_000)
        Path(f"/proc/self/task/{thread.tid}/comm").write_text("again")
        assert known.key(thread.tid, now + 100_000) > second
    assert [fact.name for fact in known.facts[1:]] == ["renamed", "again"]


def test_a_name_that_is_no_text(known: Known) -> None:
    libc = ctypes.CDLL(None)
    done = threading.Event()

    def run() -> None:
        libc.prctl(15, b"\xff\n)(", 0, 0, 0)  # PR_SET_NAME
        known.ask(threading.get_native_id())
        done.set()

    threading.Thread(target=run).start()
    assert done.wait(WITHIN)
    assert known.facts[0].name == "\\xff\n)("


def test_a_program_that_replaced_itself_is_noticed_when_it_is_asked_for(known: Known) -> None:
    script = "echo one; read x; exec sh -c 'echo two; read y; :'"
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin and child.stdout
        assert child.stdout.readline() == b"one\n"
        first = known.ask(child.pid)
        known.recheck(child.pid)
        assert known.ask(child.pid) == first, "it is the same program still"
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"two\n"
        known.recheck(child.pid)
        second = known.ask(child.pid)
        assert known.ask(child.pid) == second != first
        child.stdin.write(b"\n")
    assert [fact.pid for fact in known.facts] == [child.pid] * 2
    assert "one" in known.facts[0].cmdline
    assert known.facts[1].cmdline == "sh -c echo two; read y; :"
    known.recheck(child.pid)
    assert known.ask(child.pid) == 0


@pytest.mark.parametrize("kind", [Thread, Process])
def test_a_thread_id_that_is_used_again_gets_a_new_key(known: Known, kind: Callable[[], Thread | Process]) -> None:
    """Even where nothing but the moment tells the two apart: the same name, process and command line."""
    if not os.access(NS_LAST_PID, os.W_OK) or os.geteuid():
        pytest.skip(f"only root may choose the next thread id ({NS_LAST_PID})")
    for _ in range(TRIES):
        one = kind()
        first = known.ask(one.tid)
        one.end()
        gone(one.tid)
        Path(NS_LAST_PID).write_text(str(one.tid - 1))
        other = kind()
        try:
            if other.tid == one.tid:
                second = known.ask(other.tid)
                assert known.ask(other.tid) == second
                assert second > first
                assert known.facts[-1].key == second
                return
        finally:
            other.end()
    pytest.skip(f"other programs took the thread id {TRIES} times")


def test_few_comm_files_are_held_open(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_KNOWN", 2)
    threads = [Thread() for _ in range(4)]
    before = len(os.listdir("/proc/self/fd"))
    for thread in threads * 2:
        assert known.ask(thread.tid) > 0
    assert len(os.listdir("/proc/self/fd")) == before + 2
    for thread in threads:
        thread.end()


def test_many_threads_ask_at_once(known: Known) -> None:
    with Thread() as one, Thread() as other:
        keys: dict[int, set[int]] = {one.tid: set(), other.tid: set()}

        def ask(tid: int) -> None:
            for _ in range(50):
                keys[tid].add(known.ask(tid))

        askers = [threading.Thread(target=ask, args=(tid,)) for tid in list(keys) * 4]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
    assert sorted(len(found) for found in keys.values()) == [1, 1]
    assert len(known.facts) == 2


HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("groups", "container"),
    [
        ("0::/\n", None),
        ("0::/user.slice/user-1000.slice/session-1.scope\n", None),
        (f"0::/system.slice/docker-{HEX}.scope\n", HEX),
        (f"12:memory:/docker/{HEX}\n0::/\n", HEX),
        (f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{HEX}.scope\n", HEX),
        (f"0::/machine.slice/libpod-{HEX}.scope/container\n", HEX),
        ("0::/machine.slice/libpod-name.scope/container\n", "name"),
        ("0::/lxc.payload.box/init.scope\n", "box"),
        ("0::/machine.slice/machine-deb\\x2d12.scope/payload\n", "deb\\x2d12"),
        (f"0::/x/{HEX[:63]}\n", None),
    ],
)
def test_containers(monkeypatch: pytest.MonkeyPatch, groups: str, container: str | None) -> None:
    monkeypatch.setattr(processes, "_text", {"/proc/7/cgroup": groups}.__getitem__)
    assert container_of(7) == container


def test_a_process_that_is_gone_is_in_no_container() -> None:
    assert container_of(1 << 30) is None


@pytest.mark.parametrize(
    ("status", "killed"),
    [
        ("SigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n", False),
        ("SigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\n", True),
        ("SigPnd:\t0000000000000000\nShdPnd:\t0000000000004100\n", True),
        ("SigPnd:\t0000000000004002\nShdPnd:\t0000000000004002\nSigBlk:\t0000000000000100\n", False),
    ],
)
def test_only_a_pending_kill_is_one(monkeypatch: pytest.MonkeyPatch, status: str, killed: bool) -> None:
    monkeypatch.setattr(processes, "_text", {"/proc/7/status": status}.__getitem__)
    assert kill_pending(7) == killed


def test_who_is_gone_was_killed_and_who_lives_was_not() -> None:
    assert kill_pending(1 << 30)
    assert not kill_pending(os.getpid())


def test_a_thread_of_which_proc_says_nothing() -> None:
    with pytest.raises(OSError):
        read_thread(1 << 30, 1, b"x")


def test_printable() -> None:
    assert printable("é".encode()) == "é"
    assert printable(b"a\xff\xc3") == "a\\xff\\xc3"
    assert printable(sys.executable.encode()) == sys.executable
