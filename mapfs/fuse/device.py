"""Mounting and unmounting through fusermount3(1), which works as root, as a user and in a container.

The mount point's state is read from /proc/self/mountinfo alone: stat(2) of a mount whose daemon hangs hangs.
"""

import contextlib
import ctypes
import errno
import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass

from mapfs.errors import MountError, reason_of

TYPE = "fuse.mapfs"
_MNT_DETACH = 2  # umount(2)
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_REMEDIES = {
    "user_allow_other": "put a line user_allow_other into /etc/fuse.conf, or leave --allow-other out",
    "fuse device not found": "load the module (modprobe fuse), or give the container --device /dev/fuse",
    "Operation not permitted": "a container needs --device /dev/fuse and --cap-add SYS_ADMIN",
    "failed to open /dev/fuse": "give this user access to /dev/fuse (mode 0666), or run as root",
    "no write access": "mount on a directory that you own",
}


@dataclass(frozen=True, slots=True)
class MountPoint:
    """A line of /proc/self/mountinfo."""

    path: str
    type: str
    device: int  # st_dev
    source: str


def fusermount() -> str:
    """The path of fusermount3. Raises MountError where it is not installed."""
    path = shutil.which("fusermount3", path=os.environ.get("PATH", "") + ":/usr/bin:/bin:/usr/local/bin")
    if path is None:
        raise MountError("fusermount3 is not installed; install it with apt-get install fuse3")
    return path


def mount_points() -> list[MountPoint]:
    """All mounts of this mount namespace, in the order in which they were made (proc_pid_mountinfo(5))."""
    found = []
    with open("/proc/self/mountinfo", "rb") as lines:
        for line in lines:
            left, _, right = line.partition(b" - ")
            fields, kind = left.split(b" "), right.split(b" ")
            major, _, minor = fields[2].partition(b":")
            device = os.makedev(int(major), int(minor))
            found.append(MountPoint(_plain(fields[4]), kind[0].decode(), device, _plain(kind[1])))
    return found


def _plain(field: bytes) -> str:
    """A field without the escapes of blanks and backslashes."""
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), field))


def mounted_at(path: str) -> MountPoint | None:
    """What is mounted on `path`, the last of several; None if nothing is."""
    wanted = real_mount_path(path)
    return next((mount for mount in reversed(mount_points()) if mount.path == wanted), None)


def real_mount_path(path: str) -> str:
    """`path` made absolute with links resolved in its parent only: the mount itself is not asked."""
    absolute = os.path.abspath(path)
    parent, name = os.path.split(absolute)
    return os.path.join(os.path.realpath(parent), name) if name else absolute


def mount(path: str, options: list[str]) -> int:
    """Mounts on `path` and returns the descriptor of the device. Raises MountError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        done = subprocess.run(
            [fusermount(), "-o", ",".join(options), "--", path],
            env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        theirs.close()
        fds: list[int] = []
        if done.returncode == 0:
            with contextlib.suppress(OSError):
                _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    if not fds:
        raise MountError(_sentence(f"cannot mount on {path}", done.stderr))
    os.set_inheritable(fds[0], False)
    return fds[0]


def unmount(path: str, *, lazy: bool = False) -> None:
    """Unmounts `path`. Raises MountError, its cause an OSError with EBUSY where programs still use it."""
    command = [fusermount(), "-u", *(["-z"] if lazy else []), "--", path]
    done = _ran(command, path)
    if done.returncode == 0:
        return
    if os.geteuid() == 0 and b"busy" not in done.stderr.lower():
        command = ["umount", *(["-l"] if lazy else []), "--", path]  # what fusermount3 does not know as FUSE
        if _ran(command, path).returncode == 0:
            return
    error = MountError(_sentence(f"cannot unmount {path}", done.stderr))
    if b"busy" in done.stderr.lower():
        raise error from OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
    raise error


def take_away(path: str) -> None:
    """Detaches the mount at `path`; as root even where no program can be started (umount(2))."""
    try:
        unmount(path, lazy=True)
    except MountError:
        ctypes.CDLL(None).umount2(os.fsencode(path), _MNT_DETACH)


def _ran(command: list[str], path: str) -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise MountError(f"cannot unmount {path}: {command[0]} cannot be run: {reason_of(error)}") from error


def _sentence(what: str, stderr: bytes) -> str:
    text = stderr.decode(errors="replace").strip().splitlines()
    why = re.sub(r"^\S*fusermount3?: ", "", text[-1]) if text else "fusermount3 gave no reason"
    remedy = next((words for sign, words in _REMEDIES.items() if sign in why), None)
    return f"{what}: {why}; {remedy}" if remedy else f"{what}: {why}"
