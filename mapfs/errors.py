"""Every error that mapfs raises on purpose, and the one place where an errno or an exit code is chosen.

A command ends with `exit_code` of the error it let through (0 fine, 1 failed, 2 usage); a request that
a client waits for is answered with `errno_of(error)`. The text of an error is one sentence for a person,
with the remedy in it where there is one.
"""

import errno
import os


class MapfsError(Exception):
    """Something failed; the message is one sentence."""

    exit_code = 1


class UsageError(MapfsError):
    """What was asked for makes no sense, whatever the machine: bad options, a spec that cannot be read."""

    exit_code = 2


class SpecError(UsageError):
    """A spec, a name or a size that cannot be read (docs/SOURCES.md has the grammar)."""


class MountError(MapfsError):
    """The mount cannot be made, cannot be ended, or ended by a failure of mapfs itself."""


class TraceError(MapfsError):
    """A trace cannot be written, or what was given is not a trace."""


class ProgramError(MapfsError):
    """A program cannot be started; ends with the exit code that shells have for it."""

    NOT_EXECUTABLE = 126
    NOT_FOUND = 127

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class EvidenceError(MapfsError):
    """Evidence beyond the requests cannot be had: why, and what helps."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(f"{why}; {remedy}")
        self.why = why
        self.remedy = remedy


class SourceError(MapfsError):
    """A source cannot give the bytes it was asked for. `errno` is what a waiting client gets."""

    def __init__(self, message: str, number: int = errno.EIO) -> None:
        super().__init__(message)
        self.errno = number


#: The exit codes of mount(8) for those of mapfs: a mount failed, usage, interrupted.
MOUNT_CODES = {0: 0, 1: 32, 2: 1, 130: 8}


def errno_of(error: BaseException) -> int:
    """The errno that answers a request which ended in `error`: its own where it has one, else EIO."""
    number = getattr(error, "errno", None)
    return number if isinstance(number, int) and 0 < number < 4096 else errno.EIO


def reason_of(error: BaseException) -> str:
    """Why, in a few words for a log line: never empty, never more than one line."""
    name = type(error).__name__
    try:
        said = str(error)
    except Exception:  # whoever wrote the source may have written this too
        said = ""
    if isinstance(error, OSError) and error.errno:
        text = os.strerror(error.errno)
    elif isinstance(error, MapfsError):
        text = said or name
    else:
        text = f"{name}: {said}" if said else name
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())[:400]


def first(error: BaseException) -> BaseException:
    """The first error in a group of them, groups within it included."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


_NO_THREAD = "can't start new thread"  # CPython's RuntimeError, which has no errno


def lack_of(error: BaseException) -> str | None:
    """What mapfs has too little of, and who can give it more, where `error` comes of that; None: of something else."""
    error = first(error)
    number = getattr(error, "errno", None)
    if number == errno.EMFILE:
        return "mapfs has too many files open; raise the limit of open files (ulimit -n)"
    if number == errno.ENFILE:
        return "this machine has too many files open; close some, or raise fs.file-max"
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return "mapfs has no more memory; raise its limit (ulimit -v), or that of its cgroup"
    if isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
        return "mapfs can start no more threads; raise the limit of processes (ulimit -u), of its cgroup, or of memory"
    return None


def errno_name(number: int) -> str:
    """`EIO` for 5; the number itself where it has no name."""
    return errno.errorcode.get(number, str(number))


def of_path(error: OSError, what: str, *, missing: str = "check the path") -> SourceError:
    """`error`, met when opening `what`, as a sentence with its remedy; `missing` is that of ENOENT."""
    remedies = {
        errno.ENOENT: missing,
        errno.EACCES: "run as a user who may read it",
        errno.EPERM: "run as a user who may read it",
        errno.EMFILE: "raise the limit of open files (ulimit -n)",
    }
    number = error.errno or errno.EIO
    remedy = remedies.get(number)
    sentence = f"cannot open {what}: {os.strerror(number)}"
    return SourceError(f"{sentence}; {remedy}" if remedy else sentence, number)
