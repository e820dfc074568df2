"""When the recorder runs: when nobody else wants the CPU, until there is something that cannot wait."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from mapfs.trace.pace import may_return
from tests.conftest import Mounter
from tests.mount.test_places import needs_root
from tests.support import WITHIN, python, wait_until


@contextmanager
def busy() -> Iterator[None]:
    """Every CPU has something to do, for a while at most."""
    with ExitStack() as stack:
        for cpu in os.sched_getaffinity(0):
            code = f"import os, time\nos.sched_setaffinity(0, [{cpu}])\nend = time.monotonic() + {WITHIN}\n"
            code += "while time.monotonic() < end: pass"
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", code]))
            stack.callback(process.kill)
        yield


@needs_root
def test_the_recorder_waits_for_an_idle_cpu_until_a_ring_fills(mount: Mounter, fast: str) -> None:
    pages = 60_000
    daemon = mount(f"a=pages:{16 * pages}p", "-q", "--evidence", "kernel", wait=False).wait_mounted()
    recorder = daemon.stats()["recorder_pid"]

    def policies() -> set[int]:
        return {os.sched_getscheduler(int(tid)) for tid in os.listdir(f"/proc/{recorder}/task")}

    with busy():
        wait_until(lambda: policies() == {os.SCHED_IDLE}, "the recorder waits for an idle CPU")
        touching = subprocess.Popen([fast, daemon.file("a"), str(16 * pages), "0"], stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: policies() == {os.SCHED_OTHER}, "the recorder competes for a CPU")
            assert touching.wait(WITHIN) == 0
        finally:
            touching.kill()
            touching.wait()
    stats = daemon.counted()
    assert stats["requests"] + stats["lost"] == pages
    assert stats["classes"]["COLD"] + stats["classes"]["?"] + stats["lost"] == pages, "nothing was read ahead"
    wait_until(lambda: policies() == {os.SCHED_IDLE}, "the recorder waits for an idle CPU again")


@needs_root
def test_root_may_let_a_thread_wait_for_an_idle_cpu_and_compete_again() -> None:
    assert may_return()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


AWAITED = """
import os, time
from mapfs.trace.pace import Pace
pace, before = Pace(), os.sched_getscheduler(0)
pace.round(0, 0, awaited=True)
awaited, end = os.sched_getscheduler(0), time.monotonic() + 10
while os.sched_getscheduler(0) != os.SCHED_IDLE and time.monotonic() < end:
    time.sleep(0.01)
    pace.round(0, 0, awaited=False)
print([before, awaited, os.sched_getscheduler(0)] == [os.SCHED_IDLE, os.SCHED_OTHER, os.SCHED_IDLE])
"""


@needs_root
def test_who_is_waited_for_competes_though_it_had_just_gone_back() -> None:
    """The daemon makes it compete before it asks: perhaps a moment before it lets go by itself."""
    assert python(AWAITED).stdout == "True\n"
