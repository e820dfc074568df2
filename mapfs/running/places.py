"""Which directories and files are seen through the mount, and how the mount mirrors them."""

import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mapfs.errors import ProgramError, UsageError
from mapfs.sources.spec import Spec

#: Where the system has its programs and libraries; some are links to others.
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin")
_PROGRAMS = frozenset({"bin", "sbin"})
_KERNELS_OWN = ("/proc", "/sys", "/dev")


@dataclass(frozen=True, slots=True)
class Places:
    """`bound` are absolute paths, none in another and without links, that programs see through the mount; `mirrored`
    are the directories that the mount mirrors for them, each under its own path.
    """

    bound: tuple[str, ...]
    mirrored: tuple[str, ...]

    def specs(self, options: Sequence[str]) -> dict[str, Spec]:
        """What the mount serves. `options` are those behind each spec, such as `delay=20ms`."""
        given = dict(_option(text) for text in options)
        return {name_of(path): Spec("dir", path, {"rw": None, **given}) for path in self.mirrored}

    def has(self, path: str) -> bool:
        """Whether `path`, absolute and without links, is seen through the mount."""
        return any(path == one or path.startswith(one + "/") for one in self.bound)


def name_of(path: str) -> str:
    """What `path` is called in the mount."""
    return path.lstrip("/")


def find_program(name: str) -> str:
    """The file that is executed for `name`, as execvp(3) finds it. Raises ProgramError where there is none."""
    found = shutil.which(name)
    if found is not None:
        return found
    places = [name] if "/" in name else [os.path.join(place, name) for place in os.get_exec_path()]
    there = next((place for place in places if os.path.exists(place)), None)
    if there is None:
        where = "check the path" if "/" in name else "it is in no directory of PATH"
        raise ProgramError(f"cannot run {name}: there is no such program; {where}", ProgramError.NOT_FOUND)
    raise ProgramError(f"cannot run {there}: it may not be executed; check its mode", ProgramError.NOT_EXECUTABLE)


def choose(trees: Sequence[str], files: Sequence[str], program: str) -> Places:
    """The places that were asked for, or where none were, the system's and those of `program`. Raises UsageError."""
    if not trees and not files:
        trees = [path for path in (*_SYSTEM, *_homes_of(program)) if os.path.isdir(path)]
    directories = {_directory(path) for path in trees}
    single = {_file(path) for path in files}
    mirrored = _outermost(directories | {os.path.dirname(path) for path in single})
    return Places(bound=_outermost(directories | single), mirrored=mirrored)


def _homes_of(program: str) -> Iterable[str]:
    """The directory that the program lies in; of PREFIX/bin, PREFIX, which has its libraries too."""
    home = os.path.realpath(os.path.expanduser("~"))
    for path in {os.path.abspath(program), os.path.realpath(program)}:
        directory = os.path.dirname(path)
        parent = os.path.dirname(directory)
        if os.path.basename(directory) in _PROGRAMS and os.path.realpath(parent) not in ("/", home):
            directory = parent
        if os.path.realpath(directory) != "/":
            yield directory


def _directory(path: str) -> str:
    real = os.path.realpath(path)
    if not os.path.isdir(real):
        what = f"is a file; write --file {path}" if os.path.exists(real) else "does not exist; check the path"
        raise UsageError(f"--tree {path}: it {what}")
    if real == "/" or any(real == own or real.startswith(own + "/") for own in _KERNELS_OWN):
        raise UsageError(f"--tree {path}: {real} cannot be mirrored; name a directory with files, as in /usr")
    return real


def _file(path: str) -> str:
    real = os.path.realpath(path)
    try:
        mode = os.stat(real).st_mode
    except OSError as error:
        raise UsageError(f"--file {path}: {error.strerror}; check the path") from error
    if stat.S_ISDIR(mode):
        raise UsageError(f"--file {path}: it is a directory; write --tree {path}")
    if not stat.S_ISREG(mode) or os.path.dirname(real) == "/":
        raise UsageError(f"--file {path}: it must be a regular file, in a directory other than /")
    return real


def _outermost(paths: Iterable[str]) -> tuple[str, ...]:
    """Those that lie in no other."""
    kept: list[str] = []
    for path in sorted(paths):  # what a directory holds comes after it, though not always right after it
        if not any(path == other or path.startswith(other + "/") for other in kept):
            kept.append(path)
    return tuple(kept)


def _option(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    return name, value if equals else None
