"""Who uses the files of a mount: processes that map or hold them, as far as /proc lets this user see.

/proc/PID/maps and smaps tell what is mapped, with device and inode number; /proc/PID/fdinfo what is open, by the
mount's id and (from Linux 5.14 on) the inode number. The mount itself is asked nothing, so one that hangs can be
looked at too. Processes of other users are closed to this one: they are counted, and nothing is claimed of them.
"""

import contextlib
import os
from dataclasses import dataclass, field

from mapfs.trace.processes import container_of
from mapfs.units import PAGE_SIZE, page_count

_KIB = {"Rss", "Pss", "Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty"}


@dataclass(frozen=True, slots=True)
class Mapping:
    """A part of a file that a process maps. Pages are of the file, sizes are bytes of physical memory."""

    inode: int
    path: str
    first_page: int
    pages: int
    writable: bool
    shared: bool  # MAP_SHARED; else stores stay in the process
    rss: int
    pss: int
    shared_bytes: int
    private_bytes: int


@dataclass(slots=True)
class User:
    """A process that uses the mount. `held` are the inode numbers of its open files."""

    pid: int
    uid: int
    command: str
    container: str | None
    mappings: list[Mapping] = field(default_factory=list)
    held: set[int] = field(default_factory=set)

    @property
    def name(self) -> str:
        """`command/pid`."""
        return f"{self.command}/{self.pid}"


@dataclass(frozen=True, slots=True)
class Users:
    """Those that could be seen, and how many processes could not be looked into."""

    users: list[User]
    closed: int


def users_of(st_dev: int) -> Users:
    """The processes that map or hold files of the filesystem `st_dev`."""
    found, closed = [], 0
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            user = _user(int(name), st_dev)
        except PermissionError:
            closed += 1
        except (OSError, ValueError, IndexError):
            continue  # it has ended
        else:
            if user is not None:
                found.append(user)
    return Users(sorted(found, key=lambda one: one.pid), closed)


def _user(pid: int, st_dev: int) -> User | None:
    """Raises OSError where it is gone, PermissionError where it is closed to this user."""
    device = f"{os.major(st_dev):02x}:{os.minor(st_dev):02x}"
    with open(f"/proc/{pid}/maps", "rb") as maps:
        mapped = any(line.split(None, 4)[3] == device.encode() for line in maps)
    held = _held(pid, st_dev)
    if not mapped and not held:
        return None
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="backslashreplace") as comm:
        user = User(pid, os.stat(f"/proc/{pid}").st_uid, comm.read().rstrip("\n"), container_of(pid), held=held)
    if mapped:
        user.mappings = _mappings(pid, device)
    return user


def _held(pid: int, st_dev: int) -> set[int]:
    mounts = set()
    with open(f"/proc/{pid}/mountinfo", "rb") as lines:
        for line in lines:
            fields = line.split(maxsplit=3)
            if fields[2] == b"%d:%d" % (os.major(st_dev), os.minor(st_dev)):
                mounts.add(fields[0])
    held: set[int] = set()
    if not mounts:
        return held
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/fdinfo/{fd}", "rb") as info:
            told = dict(line.split(b":", 1) for line in info if b":" in line)
            if told.get(b"mnt_id", b"").strip() in mounts:
                held.add(int(told.get(b"ino", b"0")))
    return held


def _mappings(pid: int, device: str) -> list[Mapping]:
    """What smaps (proc_pid_smaps(5)) says of each mapping of a file on `device`."""
    found: list[Mapping] = []
    fields: list[str] = []
    sizes: dict[str, int] = {}
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="backslashreplace") as lines:
        for line in lines:
            name, colon, value = line.partition(":")
            if colon and " " not in name:
                if name in _KIB:
                    sizes[name] = int(value.split()[0]) << 10
                continue
            _add(found, fields, sizes, device)
            fields, sizes = line.rstrip("\n").split(None, 5), {}
    _add(found, fields, sizes, device)
    return found


def _add(found: list[Mapping], fields: list[str], sizes: dict[str, int], device: str) -> None:
    if len(fields) < 5 or fields[3] != device:
        return
    start, _, end = fields[0].partition("-")
    found.append(
        Mapping(
            inode=int(fields[4]),
            path=fields[5] if len(fields) > 5 else "?",
            first_page=int(fields[2], 16) // PAGE_SIZE,
            pages=page_count(int(end, 16) - int(start, 16)),
            writable="w" in fields[1],
            shared="s" in fields[1],
            rss=sizes.get("Rss", 0),
            pss=sizes.get("Pss", 0),
            shared_bytes=sizes.get("Shared_Clean", 0) + sizes.get("Shared_Dirty", 0),
            private_bytes=sizes.get("Private_Clean", 0) + sizes.get("Private_Dirty", 0),
        )
    )
