"""Whether the machine has memory to spare for pages that nobody asked for yet."""

import contextlib

_STALLED = 10.0  # percent of the last 10 s in which some task waited for memory
_SPARE = 1 / 16  # of all memory


def memory_is_short() -> bool:
    """By /proc/pressure/memory (Documentation/accounting/psi.rst), where the kernel has it, and by /proc/meminfo."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open("/proc/pressure/memory", encoding="ascii") as file:
            some = file.readline().split()
        if float(some[1].removeprefix("avg10=")) > _STALLED:
            return True
    with contextlib.suppress(OSError, ValueError, KeyError), open("/proc/meminfo", encoding="ascii") as file:
        sizes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in file)}
        return sizes["MemAvailable"] < sizes["MemTotal"] * _SPARE
    return False
