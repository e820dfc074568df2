"""Opening a path below a directory so that no symlink, `..` or race can lead out of it.

openat2(2) with RESOLVE_BENEATH does it in one call; where the kernel or a container forbids that call, each
part of the path is opened in turn without following links, which is as tight and slower.
"""

import ctypes
import errno
import os

_SYS_OPENAT2 = 437  # the same number on every architecture
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH, _CACHED = 0x01, 0x02, 0x04, 0x08, 0x20
_TRIES = 128
_RESOLVE = _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_supported = True


def open_beneath(root: int, path: bytes, flags: int, *, cross_mounts: bool = True) -> int:
    """A descriptor of `path` below the directory `root`.

    A last part that is a symlink needs O_PATH and O_NOFOLLOW. Raises OSError: ELOOP for a link on the way,
    EXDEV for a way out, or into another mount unless `cross_mounts`.
    """
    global _supported
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW
    if _supported:
        resolve = _RESOLVE if cross_mounts else _RESOLVE | _NO_XDEV
        how = _How(flags, 0, resolve)
        for _ in range(_TRIES):
            fd = _syscall(
                ctypes.c_long(_SYS_OPENAT2),
                ctypes.c_int(root),
                ctypes.c_char_p(path or b"."),
                ctypes.byref(how),
                ctypes.c_size_t(ctypes.sizeof(how)),
            )
            if fd >= 0:
                return int(fd)
            number = ctypes.get_errno()
            if number in (errno.EAGAIN, errno.EINTR):  # a rename raced with the walk: openat2(2) says try again
                continue
            if number not in (errno.ENOSYS, errno.EPERM):
                raise OSError(number, os.strerror(number), path)
            if number == errno.EPERM and _works(root):
                raise OSError(number, os.strerror(number), path)
            _supported = False
            break
        else:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)  # such as a write lease (fcntl(2))
    return _walk(root, path, flags, cross_mounts=cross_mounts)


def _works(root: int) -> bool:
    """Tells an EPERM of the file from that of a container's filter, which forbids the call itself."""
    how = _How(os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE)
    fd = _syscall(
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(root),
        ctypes.c_char_p(b"."),
        ctypes.byref(how),
        ctypes.c_size_t(24),
    )
    if fd >= 0:
        os.close(fd)
    return bool(fd >= 0)


def _walk(root: int, path: bytes, flags: int, *, cross_mounts: bool) -> int:
    parts = path.split(b"/") if path else [b"."]
    at = os.dup(root)
    try:
        home = mount_id(at)
        for number, part in enumerate(parts):
            if part == b".." or (not part):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
            last = number == len(parts) - 1
            way = flags if last else os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            below = os.open(part, way, dir_fd=at)
            os.close(at)
            at = below
            if not cross_mounts and mount_id(at) != home:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    except BaseException:
        os.close(at)
        raise
    return at


def open_cached(root: int, path: bytes, flags: int) -> int:
    """The same within the mount of `root`, if what the kernel has of the path in memory is enough for it, without a
    look at the disk. Raises BlockingIOError where it is not, else OSError: EINVAL before Linux 5.12.
    """
    how = _How(flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0, _RESOLVE | _NO_XDEV | _CACHED)
    fd = _syscall(
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(root),
        ctypes.c_char_p(path or b"."),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return int(fd)


def mount_id(fd: int) -> int:
    """The mount that `fd` lies in, as /proc/self/mountinfo numbers it. Asks the filesystem nothing."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("mnt_id:"):
                return int(line.split()[1])
    return -1


def filesystem_of_mount(number: int) -> tuple[int, str]:
    """st_dev and type of the mount `number`, from /proc/self/mountinfo; (-1, "") where it is gone.

    Asks the filesystem nothing.
    """
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split(maxsplit=3)
            if int(fields[0]) == number:
                major, _, minor = fields[2].partition(":")
                return os.makedev(int(major), int(minor)), line.partition(" - ")[2].split()[0]
    return -1, ""
