"""Mount options as fstab(5) has them, and the call by which mount(8) hands them over; pure, without any I/O.

mount(8) runs `mount.fuse.mapfs SOURCE MNT [-sfnv] -o OPTIONS -t fuse.mapfs` where it finds such a helper in /sbin, else
`mount.fuse3`, which runs `mapfs SOURCE MNT -o OPTIONS`. Options that only say when, and by whom, the line is to be
mounted reach a helper too, and mean nothing to it.
"""

import getopt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mapfs.errors import UsageError

#: What the kernel does for any filesystem; fusermount3 hands it on.
KERNEL = ("noexec", "noatime", "nodiratime", "sync", "dirsync")
#: Options of mapfs that are keys of its TOML file, too.
SWITCHES = ("ro", "allow_other", "nonempty", "force", "low_latency")
VALUES = ("readahead", "threads", "spin", "trace", "link", "warm", "prefetch")
#: Options that are of the command line alone: the TOML file, and the name that stands for the source in mount tables.
OTHERS = ("config", "fsname")
_WHEN = ("defaults", "auto", "noauto", "user", "users", "nouser", "owner", "group", "nofail", "_netdev")
_ALWAYS = ("nosuid", "suid", "nodev", "dev", "default_permissions")  # mount.fuse3 adds suid and dev to whatever it gets
_USUAL = ("exec", "async", "atime", "diratime", "relatime", "norelatime", "strictatime", "nostrictatime")
#: What changes nothing: it is for mount(8) and systemd, or holds always (nosuid, nodev), or is as usual.
IGNORED = frozenset((*_WHEN, *_ALWAYS, *_USUAL))
_PREFIXES = ("x-", "X-", "comment=", "user=")
_SPEC = re.compile(r"[^=]+=[A-Za-z][\w.+-]*:")
_NONE = ("none", "mapfs")
_ESCAPED = re.compile(r"\\(.)")
_COMMA = re.compile(r"(?<!\\)((?:\\\\)*),")


@dataclass(frozen=True, slots=True)
class Options:
    """What OPTIONS ask for. `settings` has the keys and values of the TOML file."""

    settings: dict[str, Any]
    kernel: tuple[str, ...] = ()
    config: str | None = None
    source: str | None = None


def parse_options(text: str) -> Options:
    """Reads `ro,readahead=1M,...`; a comma or a backslash in a value has a backslash before it. Raises UsageError."""
    settings: dict[str, Any] = {}
    kernel: list[str] = []
    others: dict[str, str] = {}
    for option in _split(text):
        name, equals, value = option.partition("=")
        if name in SWITCHES and not equals:
            settings[name] = True
        elif name in VALUES and value:
            settings[name] = _number(name, value) if name == "threads" else [value] if name == "warm" else value
        elif name in OTHERS and value:
            others[name] = value
        elif option in KERNEL:
            kernel.append(option)
        elif option == "rw":
            settings.pop("ro", None)
        elif option == "remount":
            raise UsageError("mapfs cannot be remounted; unmount it, and mount it again")
        elif not _means_nothing(option):
            raise UsageError(_unknown(option))
    return Options(settings, tuple(dict.fromkeys(kernel)), others.get("config"), others.get("fsname"))


def _unknown(option: str) -> str:
    known = [*SWITCHES, *(f"{name}=" for name in (*VALUES, *OTHERS)), *KERNEL]
    return f"there is no mount option {option!r}; those of mapfs are {', '.join(known)}"


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{name} must be a number, not {text!r}")
    return int(text)


def _means_nothing(option: str) -> bool:
    return option in IGNORED or option.startswith(_PREFIXES)


def _split(text: str) -> list[str]:
    parts = _COMMA.sub(r"\1\0", text).split("\0")
    return [_ESCAPED.sub(r"\1", part) for part in parts if part]


def escape(text: str) -> str:
    """`text` as a value of a mount option: for `parse_options`, for fusermount3, and for libfuse."""
    return text.replace("\\", "\\\\").replace(",", "\\,")


def is_call(argv: Sequence[str]) -> bool:
    """Whether these are the arguments of mount.fuse3: `SOURCE MNT -o OPTIONS`, SOURCE being no command."""
    return len(argv) == 4 and argv[2] == "-o" and ("/" in argv[0] or "=" in argv[0] or argv[0] in _NONE)


def command_of(argv: Sequence[str]) -> list[str] | None:
    """The arguments of `mapfs` that do what mount(8) asks for; None where nothing is to be done. Raises UsageError."""
    try:
        given, operands = getopt.gnu_getopt(list(argv), "sfnvo:t:")
    except getopt.GetoptError as error:
        raise UsageError(f"{error.msg}; write mount.fuse.mapfs SOURCE MNT [-sfnv] [-o OPTIONS]") from error
    if len(operands) != 2:
        raise UsageError("mount.fuse.mapfs takes SOURCE and MNT; write mount -t fuse.mapfs /etc/mapfs/x.toml /mnt/x")
    flags = {flag for flag, _ in given}
    text = ",".join(value for flag, value in given if flag == "-o")
    if "-s" in flags:  # sloppy: what is not known is not looked at
        text = ",".join(map(escape, filter(_known, _split(text))))
    source, mountpoint = operands
    parse_options(text)
    if "-f" in flags:  # fake: all but the mount
        return None
    spec = _SPEC.match(source) is not None
    config = [] if spec or source in _NONE else ["--config", source]
    options = ",".join(filter(None, (f"fsname={escape(source)}", text)))
    return ["mount", "--daemon", "--quiet", "-o", options, *config, "--", mountpoint, *([source] if spec else [])]


def _known(option: str) -> bool:
    name = option.partition("=")[0]
    return name in (*SWITCHES, *VALUES, *OTHERS, *KERNEL, "rw", "remount") or _means_nothing(option)
