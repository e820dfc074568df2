"""A mount namespace in which directories are seen through a mount (mount_namespaces(7), user_namespaces(7)).

A short-lived process makes it, binds, and hands its descriptors over: this process stays outside, and a child of it
enters before it executes the program. A plain user needs a user namespace for that, in which its own user and group
are the same as outside.
"""

import contextlib
import ctypes
import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from mapfs.errors import MountError

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_MOST_TOLD = 4096  # bytes of a sentence
_LIBC = ctypes.CDLL(None, use_errno=True)
_REMEDY = (
    "run as root, or allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
    "kernel.apparmor_restrict_unprivileged_userns), or give a container --cap-add SYS_ADMIN and "
    "--security-opt seccomp=unconfined --security-opt apparmor=unconfined"
)


@dataclass(frozen=True, slots=True)
class Member:
    """A process in the namespace."""

    pid: int
    command: str


class Namespace:
    """One that was made. It ends with its last process, once it is closed here."""

    def __init__(self, mount: int, user: int | None) -> None:
        self._mount = mount
        self._user = user
        status = os.fstat(mount)
        self._identity = status.st_dev, status.st_ino

    def enter(self, directory: str | None) -> None:
        """Puts this process, which has one thread, into it, at `directory` where that has a name. Raises OSError."""
        here = os.open(".", os.O_PATH | os.O_CLOEXEC)
        if self._user is not None:
            _call("setns", self._user, _CLONE_NEWUSER)
        _call("setns", self._mount, _CLONE_NEWNS)
        try:
            if directory is None:
                raise FileNotFoundError
            os.chdir(directory)
        except OSError:
            os.fchdir(here)  # one that lost its name, or may be entered no more, is the one that it was

    def members(self) -> list[Member]:
        """The processes in it that this user may look at."""
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            with contextlib.suppress(OSError):
                status = os.stat(f"/proc/{name}/ns/mnt")
                if (status.st_dev, status.st_ino) == self._identity:
                    with open(f"/proc/{name}/comm", "rb") as file:
                        found.append(Member(int(name), file.read().decode("utf-8", "backslashreplace").strip()))
        return found

    def close(self) -> None:
        """From here on it lasts as long as a process is in it."""
        for fd in (self._mount, self._user):
            if fd is not None:
                os.close(fd)


def make(mountpoint: str, bound: Sequence[str]) -> Namespace:
    """A namespace where each path of `bound` is what the mount at `mountpoint` has under it. Raises MountError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        pid = os.fork()
        if not pid:
            _make(theirs, mountpoint, bound)
        theirs.close()
        try:
            told, fds, _, _ = socket.recv_fds(ours, _MOST_TOLD, 2)
        finally:
            os.waitpid(pid, 0)
    if not fds:
        raise MountError(told.decode("utf-8", "surrogateescape") or "the process that makes a mount namespace ended")
    for fd in fds:
        os.set_inheritable(fd, False)
    return Namespace(fds[0], fds[1] if len(fds) > 1 else None)


def refused() -> MountError | None:
    """Why this user can make none; None: it can."""
    try:
        make("", ()).close()
    except MountError as error:
        return error
    return None


def _make(answer: socket.socket, mountpoint: str, bound: Sequence[str]) -> None:
    """The life of the process that makes it; never returns. It imports nothing: /usr may be behind the mount."""
    try:
        user = _unshare()
        _mount(None, "/", _MS_REC | _MS_PRIVATE)
        mirrors = [os.open(mountpoint + path, os.O_PATH | os.O_CLOEXEC) for path in bound]
        for path, mirror in zip(bound, mirrors, strict=True):  # by descriptor: a path may be covered by now
            _mount(f"/proc/self/fd/{mirror}", path, _MS_BIND)
        names = ("mnt", "user") if user else ("mnt",)
        fds = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names]
        socket.send_fds(answer, [b"made"], fds)
    except OSError as error:
        sentence = f"cannot make a private mount namespace: {_what(error)}; {_REMEDY}"
        answer.send(os.fsencode(sentence)[:_MOST_TOLD])
    finally:
        os._exit(0)


def _unshare() -> bool:
    """Leaves the mount namespace; whether it took a user namespace."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        try:
            _call("unshare", _CLONE_NEWNS)
        except PermissionError:  # root of a container without CAP_SYS_ADMIN
            pass
        else:
            return False
    _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNS)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    return True


def _mount(source: str | None, target: str, flags: int) -> None:
    _call("mount", os.fsencode(source) if source is not None else None, os.fsencode(target), None, flags, None)


def _call(name: str, *arguments: object) -> None:
    """A system call by its name in libc. Raises OSError, its file name that of the call."""
    wide = [ctypes.c_ulong(value) if name == "mount" and isinstance(value, int) else value for value in arguments]
    if getattr(_LIBC, name)(*wide):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


def _what(error: OSError) -> str:
    number = error.errno or errno.EIO
    return f"{error.filename}: {os.strerror(number)}" if error.filename else os.strerror(number)
