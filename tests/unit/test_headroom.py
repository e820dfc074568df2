"""Memory that must be left: a limit, set on a process of its own."""

import subprocess
import sys

import pytest

from tests.support import WITHIN

CODE = """
import errno, resource, sys
from mapfs.headroom import Headroom
limit, field = {"AS": (resource.RLIMIT_AS, "VmSize:"), "DATA": (resource.RLIMIT_DATA, "VmData:")}[sys.argv[1]]
has = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(field))
resource.setrlimit(limit, (has + int(sys.argv[2]), resource.RLIM_INFINITY))
room, had = Headroom(), 0
try:
    for had in range(100):
        room.need()
except OSError as error:
    assert error.errno == errno.ENOMEM
    print("refused", had)
    resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    room.need()
else:
    print("had")
"""


def _with(limit: str, more: int) -> str:
    command = [sys.executable, "-c", CODE, limit, str(more)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=WITHIN).stdout.strip()


@pytest.mark.parametrize("limit", ["AS", "DATA"])
def test_it_is_refused_where_too_little_is_left_until_there_is_more(limit: str) -> None:
    assert _with(limit, 64 << 20) == "had"
    assert _with(limit, 1 << 20) == "refused 0"
