"""Memory that must be left: a limit of addresses, set on a process of its own."""

import subprocess
import sys

from tests.support import WITHIN

CODE = """
import errno, resource, sys
from mapfs.headroom import Headroom
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + int(sys.argv[1]), resource.RLIM_INFINITY))
room, had = Headroom(), 0
try:
    for had in range(100):
        room.need()
except OSError as error:
    assert error.errno == errno.ENOMEM
    print("refused", had)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    room.need()
else:
    print("had")
"""


def _with(more: int) -> str:
    command = [sys.executable, "-c", CODE, str(more)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=WITHIN).stdout.strip()


def test_it_is_refused_where_too_little_is_left_until_there_is_more() -> None:
    assert _with(64 << 20) == "had"
    assert _with(1 << 20) == "refused 0"
