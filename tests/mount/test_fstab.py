"""mount(8) mounts by fstab(5) and unmounts again, by either way in which it finds mapfs.

Each script runs in a mount namespace of its own, where the directory that mount(8) looks into has nothing but mapfs.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, WITHIN, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root")

#: The program that mount(8) finds, where it looks, and the function of mapfs that it is.
WAYS = {
    "mount.fuse.mapfs": (os.path.realpath("/sbin"), "mount_helper"),
    "mount.fuse3": ("/usr/local/sbin", "main"),  # it looks for `mapfs`; mount(8) gives it this PATH
}


class Namespace:
    """Where scripts run; `fstab` is the only table of mounts that they know."""

    def __init__(self, place: Path, way: str) -> None:
        self.place = place
        self.mount = place / "m"
        self.mount.mkdir()
        self.fstab = place / "fstab"
        self._where, function = WAYS[way]
        self._programs = place / "programs"
        self._programs.mkdir()
        program = self._programs / ("mapfs" if way == "mount.fuse3" else way)
        code = f"from mapfs.commands import {function}; {function}()"
        program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -c {shlex.quote(code)} "$@"\n')
        program.chmod(0o755)

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Runs a shell script to its end; nothing stays mounted."""
        begin = (
            f"mount --bind {self._programs} {self._where}; export LIBMOUNT_FSTAB={self.fstab}\n"
            "trap 'if mountpoint -q m; then umount -l m; fi' EXIT\n"
        )
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", begin + script], cwd=self.place,
            capture_output=True, text=True, timeout=WITHIN, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip


@pytest.fixture(params=WAYS)
def namespace(request: pytest.FixtureRequest, tmp_path: Path) -> Namespace:
    return Namespace(tmp_path, request.param)


def test_a_line_of_fstab_mounts_and_unmounts(namespace: Namespace) -> None:
    toml = namespace.place / "a b,c.toml"
    toml.write_text('readahead = "64K"\n[files]\n"n" = "text:hello"\n')
    source = str(toml).replace(" ", r"\040")
    options = "noexec,noatime,nofail,_netdev,user,x-systemd.automount,allow_other,threads=3,trace=t.db"
    namespace.fstab.write_text(f"{source} {namespace.mount} fuse.mapfs {options} 0 0\n")
    done = namespace.run(
        "mount -a && cat m/n && echo; mount -av; findmnt -no OPTIONS m; findmnt -rno SOURCE,FSTYPE m\n"
        """python3 -c 'import json; print(json.load(open("m/.mapfs/stats"))["daemon"]["pid"])'; umount m && ls -A m"""
    )
    content, again, flags, table, pid = done.stdout.splitlines()
    assert (done.returncode, done.stderr, content) == (0, "", "hello")
    assert again.endswith(": already mounted")
    assert {"rw", "noexec", "noatime", "nosuid", "nodev", "allow_other"} <= set(flags.split(","))
    assert table == f"{str(toml).replace(' ', chr(92) + 'x20')} fuse.mapfs"
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the daemon")
    assert (namespace.place / "t.db").stat().st_size


def test_a_spec_is_a_source(namespace: Namespace) -> None:
    source = "data=text:hi,,there"
    done = namespace.run(f"mount -t fuse.mapfs -o ro,noauto {source} m && cat m/data && findmnt -no SOURCE,OPTIONS m")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("hi,there" + source)
    assert done.stdout.split()[-1].startswith("ro,nosuid,nodev,")


@pytest.mark.parametrize(
    ("source", "options", "code", "sentence"),
    [
        ("none", "nosense", 1, "there is no mount option 'nosense'"),
        ("/nope.toml", "ro", 1, "cannot read /nope.toml"),
        ("a=nonsense:x", "ro", 1, "no source of the kind 'nonsense'"),
        ("a=file:/nope", "ro", 32, "cannot open file '/nope'"),
        ("none", "remount", 1, "cannot be remounted"),
    ],
)
def test_what_cannot_be_mounted_has_an_exit_code_of_mount(
    namespace: Namespace, source: str, options: str, code: int, sentence: str
) -> None:
    done = namespace.run(f"mount -t fuse.mapfs -o {options} {source} m")
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("mapfs: ") and sentence in line


def test_flags_of_mount(tmp_path: Path) -> None:
    namespace = Namespace(tmp_path, "mount.fuse.mapfs")  # mount.fuse3 does not pass them on
    done = namespace.run("mount -f -t fuse.mapfs none m && ls -A m; mount -s -t fuse.mapfs -o nosense none m && ls m")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["README.txt", "dev", "pages", "random", "shm", "zero"]
