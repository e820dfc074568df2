"""`mapfs doctor`: what this machine lets this user do with mapfs, and the remedy for what it does not."""

import contextlib
import ctypes.util
import errno
import mmap
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial

import click
import msgspec

from mapfs.errors import MapfsError
from mapfs.fuse import device
from mapfs.fuse.asking import outcomes
from mapfs.running import namespace
from mapfs.trace.evidence import tiers
from mapfs.trace.reader import mount_events, mount_stats, stats_text
from mapfs.units import PAGE_SIZE, format_ns
from mapfs.views.terminal import wants_colour

_TRIAL = 10.0  # seconds for the trial mount
_ANSWER = 5.0  # seconds for a mount that is asked
_MARKS = {"ok": ("ok", "32"), "no": ("NO", "1;31"), "note": ("--", "33")}
_SHOWN = {
    tiers.KERNEL: "who shares a page, who waits for another's request, faults and reads apart, and evictions",
    tiers.FAULTS: "who shares a page, among this user's processes; of others, of read(2) and of evictions it is ?",
    tiers.REQUESTS_ALONE: "so that who shares a page, or waits for another's request, is ?",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `state` is ok, no (mapfs cannot work) or note (something is not possible here)."""

    state: str
    what: str
    remedy: str | None = None


@click.command(short_help="Say what is possible here, and the remedy for what is not.")
@click.option("--mounts", is_flag=True, help="Ask the mounts that there are instead, as a health check does.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(mounts: bool, as_json: bool) -> None:
    """Look at the FUSE device, fusermount3, the kernel and this user's rights, and try a mount.

    Exit code 1 if mapfs cannot mount here; with --mounts, if a mount does not answer, or there is none.
    """
    findings = list(_mounts() if mounts else _findings())
    if as_json:
        click.echo(msgspec.json.encode([asdict(finding) for finding in findings]))
    else:
        colour = wants_colour(sys.stdout)
        for finding in findings:
            mark, code = _MARKS[finding.state]
            mark = f"\x1b[{code}m{mark}\x1b[0m" if colour else mark
            click.echo(f"{mark}  {finding.what}" + (f"; {finding.remedy}" if finding.remedy else ""))
    if any(finding.state == "no" for finding in findings):
        sys.exit(1)


def _findings() -> Iterator[Finding]:
    yield Finding("ok", f"Linux {platform.release()}, Python {platform.python_version()}, pages of {PAGE_SIZE} bytes")
    yield from _device()
    yield from _fusermount()
    yield from _trial()
    yield from evidence()
    yield from _others()
    yield from _namespace()
    yield from _readahead()


def _device() -> Iterator[Finding]:
    if not os.path.exists("/dev/fuse"):
        yield Finding("no", "there is no /dev/fuse", "modprobe fuse, or give the container --device /dev/fuse")
    elif not os.access("/dev/fuse", os.R_OK | os.W_OK):
        yield Finding("no", "this user may not open /dev/fuse", "make its mode 0666, or run as root")
    else:
        yield Finding("ok", "/dev/fuse can be opened")


def _fusermount() -> Iterator[Finding]:
    try:
        path = device.fusermount()
    except MapfsError as error:
        yield Finding("no", *str(error).split("; ", 1))
        return
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    if os.geteuid() != 0 and not os.stat(path).st_mode & 0o4000:
        yield Finding("no", f"{path} is not setuid root, so only root can mount", f"chmod u+s {path}")
    else:
        yield Finding("ok", f"{path}: {version.removeprefix('fusermount3 version: ') or 'version unknown'}")
    if ctypes.util.find_library("fuse3") is None:
        yield Finding("no", "libfuse3 is not installed", "apt-get install fuse3 libfuse3-3")


def _trial() -> Iterator[Finding]:
    """A real mount of one page, mapped and touched."""
    with tempfile.TemporaryDirectory(prefix="mapfs-doctor-") as directory:
        mount = os.path.join(directory, "mnt")
        started = time.monotonic_ns()
        try:
            done = subprocess.run(
                [sys.executable, "-m", "mapfs", "mount", "--daemon", mount, "page=pages:3p"],
                capture_output=True, text=True, timeout=_TRIAL, check=False,
            )  # fmt: skip
            if done.returncode:
                yield Finding("no", "a trial mount failed", done.stderr.strip().removeprefix("mapfs: "))
            else:
                yield from _look_at(mount, time.monotonic_ns() - started)
        except subprocess.TimeoutExpired:
            yield Finding("no", f"a trial mount does not answer within {_TRIAL:.0f} s", "look at dmesg")
        finally:  # before the directory is removed with all that is below it
            if device.mounted_at(mount) is not None:
                device.unmount(mount, lazy=True)


def _look_at(mount: str, taken: int) -> Iterator[Finding]:
    with open(os.path.join(mount, "page"), "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        right = mapped[PAGE_SIZE] == 1
    events = list(mount_events(mount, follow=False))
    stats = mount_stats(mount)
    exact = right and [(event["page"], event["pages"]) for event in events] == [(1, 1)]
    yield Finding("ok", f"a trial mount answered after {format_ns(taken)}, FUSE protocol {stats['daemon']['protocol']}")
    if not exact:
        yield Finding("no", f"a touch of one page made the requests {events}", "report this with the line above")
    elif events[0]["pid"] == os.getpid():
        yield Finding("ok", f"one touch is one request, by the right process, in {format_ns(events[0]['wait_ns'])}")
    else:
        yield Finding(
            "note", "threads cannot be named here: the daemon is in another pid namespace, or /proc is hidden"
        )


def evidence() -> Iterator[Finding]:
    """Which tier of evidence there is, and why not the better ones."""
    for tier in reversed(tiers.TIERS):
        if (error := tiers.refused(tier)) is None:
            yield Finding("ok" if tier != tiers.REQUESTS_ALONE else "note", f"evidence: {tier}, {_SHOWN[tier]}")
            return
        yield Finding("note", f"no evidence of the tier {tier}: {error.why}", error.remedy)


def _mounts() -> Iterator[Finding]:
    """Whether each mount answers: its pagers, its control plane and its recorder, all of which `.mapfs/stats` needs."""
    paths = [mount.path for mount in device.mount_points() if mount.type == device.TYPE]
    codes = outcomes([partial(stats_text, path, now=True) for path in paths], _ANSWER)  # also of one that is behind
    asked = [code for code in codes if code != errno.EACCES]
    for path, code in zip(paths, codes, strict=True):
        if code == 0:
            yield Finding("ok", f"{path} answers")
        elif code == errno.EACCES:
            yield Finding("note", f"{path} is another user's", "who made it can ask it")
        else:
            why = f" within {_ANSWER:.0f} s" if code is None else f": {os.strerror(code)}"
            yield Finding("no", f"{path} does not answer{why}", f"mapfs umount {path} ends it")
    if not asked:
        yield Finding("no", "there is no mount of mapfs to ask", "mapfs mount makes one")


def _others() -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield Finding("ok", "--allow-other is possible: root may let other users in")
        return
    allowed = False
    with contextlib.suppress(OSError), open("/etc/fuse.conf", encoding="utf-8", errors="replace") as conf:
        allowed = any(line.strip() == "user_allow_other" for line in conf)
    if allowed:
        yield Finding("ok", "--allow-other is possible: /etc/fuse.conf says user_allow_other")
    else:
        yield Finding("note", "--allow-other is not possible", "put a line user_allow_other into /etc/fuse.conf")


def _namespace() -> Iterator[Finding]:
    error = namespace.refused()
    if error is None:
        yield Finding("ok", "mapfs run is possible: this user may make a mount namespace")
    else:
        why, _, remedy = str(error).partition("; ")
        yield Finding("note", f"mapfs run is not possible: {why}", remedy)


def _readahead() -> Iterator[Finding]:
    if os.geteuid() == 0 and os.access("/sys/class/bdi", os.W_OK) and not os.statvfs("/sys").f_flag & os.ST_RDONLY:
        yield Finding("ok", "--readahead up to what the kernel offers (128 KiB), and root may raise the bdi's limit")
    else:
        yield Finding("note", "--readahead is bounded by what the kernel offers (128 KiB)", "only root can raise it")
