"""What a daemon asks of the system at its beginning and its end."""

import contextlib
import ctypes
import gc
import os
import resource
import sys
from collections.abc import Callable

_MNT_FORCE = 1  # umount(2)
_SWITCH_INTERVAL = 50e-6  # seconds; the control plane delays a pager by no more than that
_KEPT = 16  # descriptors that unmounting takes: fusermount3 is started with pipes


def abort(st_dev: int, path: str | None = None) -> None:
    """Ends the connection, so that nobody waits for it any more (Documentation/filesystems/fuse.rst). Where fusectl is
    not mounted, by a forced unmount of `path`, which takes root and ends the connection even where the mount stays.
    """
    if st_dev < 0:
        return
    try:
        with open(f"/sys/fs/fuse/connections/{os.minor(st_dev)}/abort", "w") as file:
            file.write("1")
    except OSError:
        if path is not None:
            ctypes.CDLL(None).umount2(os.fsencode(path), _MNT_FORCE)


def prepare_interpreter() -> None:
    """What keeps threads waiting for each other is kept short; what was made so far, and stays, is not looked through
    for garbage again and again, which stops all threads for tens of ms. That memory is short is said by what needs it.
    """
    sys.unraisablehook = _unraisable
    sys.setswitchinterval(_SWITCH_INTERVAL)
    gc.freeze()


def _unraisable(told: "sys.UnraisableHookArgs") -> None:
    if told.exc_type is not MemoryError:
        sys.__unraisablehook__(told)


def raise_descriptor_limit() -> None:
    """Mirrors hold a descriptor for each file that a client has open."""
    with contextlib.suppress(OSError, ValueError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def keep_descriptors() -> None:
    """Keeps some descriptors for the end of the mount, whatever clients have open until then: by the soft limit of this
    process, which `raise_descriptor_limit` takes away; as many as are open now are left where that would be fewer.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    least = len(os.listdir("/proc/self/fd"))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard - _KEPT, min(hard, least)), hard))


def extend_readahead(st_dev: int, wanted: int, offered: int, warn: Callable[[str], None]) -> None:
    """Lets the kernel read `wanted` bytes ahead, where that is more than it `offered` in INIT: by the mount's own entry
    in /sys/class/bdi (Documentation/ABI/testing/sysfs-class-bdi), which takes root; warns where it cannot be set.
    """
    if wanted <= offered:
        return
    try:
        with open(f"/sys/class/bdi/{os.major(st_dev)}:{os.minor(st_dev)}/read_ahead_kb", "w") as file:
            file.write(str(-(-wanted // 1024)))
    except OSError:
        warn(f"the kernel reads ahead at most {offered >> 10} KiB here, less than --readahead; root may set more")
