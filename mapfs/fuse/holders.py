"""Who keeps a mount busy: processes that map, hold or stand in a file of it, as far as /proc lets one see."""

import contextlib
import os


def holders(st_dev: int) -> list[str]:
    """`command/pid` of each process that uses the filesystem `st_dev`. The mount itself is asked nothing."""
    device = f"{os.major(st_dev):02x}:{os.minor(st_dev):02x}"
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if _uses(name, device, st_dev):
                    with open(f"/proc/{name}/comm", encoding="utf-8", errors="replace") as comm:
                        found.append(f"{comm.read().strip()}/{name}")
    return found


def _uses(pid: str, device: str, st_dev: int) -> bool:
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
        if any(line.split(maxsplit=4)[3] == device for line in maps):
            return True
    mounts = set()
    with open(f"/proc/{pid}/mountinfo", "rb") as lines:
        for line in lines:
            fields = line.split(maxsplit=3)
            if fields[2] == b"%d:%d" % (os.major(st_dev), os.minor(st_dev)):
                mounts.add(fields[0])
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/fdinfo/{fd}", "rb") as info:
            if any(line.startswith(b"mnt_id:") and line.split()[1] in mounts for line in info):
                return True
    return False
