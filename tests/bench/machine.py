"""What the numbers were measured on, without names and paths, and which CPUs to use."""

import ctypes
import datetime
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from mapfs.fuse.device import mount_points
from tests.bench.plan import Placement


def describe(disk: Path) -> dict[str, str]:
    """The machine in words; `disk` is where the file on the disk lies."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^(?:model name|Model|cpu model|uarch)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    virtual = re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE)
    usable = len(os.sched_getaffinity(0))
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": (model[1].strip() if model else platform.machine()) + (", a virtual machine" if virtual else ""),
        "cores": f"{usable} usable of {os.cpu_count()}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / (1 << 30):.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "filesystem of the disk": _filesystem(disk),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libfuse": _libfuse(),
        "pyfuse3": version("pyfuse3"),
        "trio": version("trio"),
        "mapfs": version("mapfs"),
    }


def _filesystem(path: Path) -> str:
    device = path.stat().st_dev
    return next((mount.type for mount in mount_points() if mount.device == device), "not known")


def _libfuse() -> str:
    """The version of the library that pyfuse3 has loaded."""
    import pyfuse3  # noqa: F401 -- it brings libfuse into this process

    loaded = re.search(r"(/\S*libfuse3\.so\S*)", Path("/proc/self/maps").read_text())
    if loaded is None:
        return "not known"
    tell = ctypes.CDLL(loaded[1]).fuse_pkgversion
    tell.restype = ctypes.c_char_p
    return str(tell().decode())


def placements() -> dict[Placement, tuple[int, int]]:
    """(daemon's, client's) CPU of each placement that is possible here."""
    cpus = sorted(os.sched_getaffinity(0))
    server = cpus[-1]
    others = [cpu for cpu in cpus if cpu != server]
    apart = [cpu for cpu in others if cpu not in _siblings(server)] or others
    return {Placement.ONE: (server, server)} | ({Placement.TWO: (server, apart[0])} if apart else {})


def _siblings(cpu: int) -> set[int]:
    """The hardware threads of the same core."""
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return {cpu}
    found = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
