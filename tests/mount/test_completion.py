"""The shells complete what mapfs can be given: each script of the package in its own shell, over a real mount."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.support import ROOT, WITHIN, mapfs

SCRIPTS = ROOT / "packaging" / "completions"
#: What each shell is asked to complete the words of `$LINE` with, the last of them being incomplete.
SHELLS = {
    "bash": (
        "COMP_WORDS=($LINE); [[ $LINE == *' ' ]] && COMP_WORDS+=(''); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n"
        "compopt() { echo \"compopt $*\"; }\n"
        "_mapfs_completion_of_mounts mapfs; printf '%s\\n' \"${COMPREPLY[@]}\""
    ),
    "fish": "complete -C $LINE | string split -f 1 \\t",
    "zsh": (
        "compdef() { }; compadd() { print -l -- \"${completions[@]}\" }; _path_files() { print -- compopt }\n"
        "_describe() { print -l -- \"${completions_with_descriptions[@]%%:*}\" }\n"
        "words=(${(z)LINE}); [[ $LINE == *' ' ]] && words+=(''); CURRENT=${#words}\n"
        "source $SCRIPT"
    ),
}  # fmt: skip


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory with `mapfs`, as it would be on PATH."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "mapfs").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m mapfs "$@"\n')
    (place / "mapfs").chmod(0o755)
    return place


def completed(shell: str, line: str, programs: Path) -> list[str]:
    """What `shell` offers for the end of `line`."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    script = SCRIPTS / {"bash": "mapfs.bash", "fish": "mapfs.fish", "zsh": "_mapfs"}[shell]
    text = SHELLS[shell] if shell == "zsh" else f"source {script}\n{SHELLS[shell]}"
    options = {"bash": ["--norc", "--noprofile"], "fish": ["--no-config"], "zsh": ["-f"]}[shell]
    done = subprocess.run(
        [shell, *options, "-c", text], capture_output=True, text=True, timeout=WITHIN, stdin=subprocess.DEVNULL,
        check=False, cwd=programs.parent,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "LINE": line, "SCRIPT": str(script)},
    )  # fmt: skip
    assert done.stderr == "", done.stderr
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes(shell: str, programs: Path, mount: Mounter) -> None:
    daemon = mount("a=pages:2p", "--trace", str(programs.parent / "t.db"))
    (programs.parent / "t.txt").write_text("no trace")

    def offered(line: str) -> list[str]:
        return completed(shell, line, programs)

    assert {"umount", "mount", "log"} <= set(offered("mapfs "))
    assert offered("mapfs sum") == ["summary"]
    assert set(offered("mapfs mount --li")) == {"--link"}
    assert offered("mapfs umount m") == ["mnt"]
    assert offered(f"mapfs umount {daemon.path[:-1]}") == [daemon.path]
    assert offered("mapfs log ./") == ["./mnt", "./t.db"]
    assert "mnt/" in offered("mapfs pages m"), "a file of it is to follow"
    assert offered("mapfs summary t") == ["t.db"], "what is no trace is not offered"
    daemon.umount()
    assert offered("mapfs summary ./") == ["./t.db"], "and no mount is left"
    assert set(offered("mapfs export t.db --to per")) == {"perfetto"}
    assert "a" not in offered("mapfs pages mnt/")


def test_what_is_demanded_is_completed_without_a_demand(programs: Path, mount: Mounter) -> None:
    daemon = mount("a=pages:2p")
    for line in ("mapfs pages mnt/", "mapfs log m", "mapfs umount "):
        completed("bash", line, programs)
    assert daemon.events() == []


def test_a_completed_argument_is_taken_as_it_is(tmp_path: Path) -> None:
    """Completion changes the types of parameters; not so where a command runs."""
    assert "is no mapfs mount" in mapfs("files", str(tmp_path), check=False).stderr
