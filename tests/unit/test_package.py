"""What the package carries besides the code: man pages that say what the commands say, units that systemd understands."""

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from mapfs import __version__
from mapfs.fuse import fstab
from tests.support import ROOT, WITHIN

PACKAGING = ROOT / "packaging"
MAN_PAGES = sorted((PACKAGING / "man").iterdir())
UNITS = sorted((PACKAGING / "systemd").glob("*/*.service"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
#: What a dependency lends: s3fs is made of aiobotocore, and that of botocore.
VIA = {"botocore": "s3fs"}
#: What gives a unit a mount namespace of its own (systemd.exec(5)), in which nobody else would see the mount.
NAMESPACES = re.compile(
    r"^(Private(Tmp|Devices|Mounts|Users)|Protect(System|Home|Kernel\w+|ControlGroups|Proc|Hostname|Clock)|ProcSubset|"
    r"(ReadOnly|ReadWrite|Inaccessible|Exec|NoExec)Paths|Bind(ReadOnly)?Paths|TemporaryFileSystem|DynamicUser|Root\w+|"
    r"MountFlags|MountImages|ExtensionImages|(Runtime|State|Cache|Logs|Configuration)Directory)="
)


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=WITHIN,
        stdin=subprocess.DEVNULL,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def test_the_man_page_says_what_the_commands_say() -> None:
    done = run(sys.executable, "scripts/manual.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (PACKAGING / "man" / "mapfs.1").read_text("utf-8"), (
        "make it anew: .venv/bin/python scripts/manual.py > packaging/man/mapfs.1"
    )


@pytest.mark.parametrize("page", MAN_PAGES, ids=lambda page: page.name)
def test_a_man_page_has_no_faults(page: Path) -> None:
    lint = run("mandoc", "-T", "lint", "-W", "warning", str(page))
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")
    formatted = run("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", str(page))
    assert (formatted.returncode, formatted.stderr) == (0, "")
    assert f"mapfs {__version__}" in formatted.stdout


def test_the_man_page_of_mount_has_each_option() -> None:
    text = (PACKAGING / "man" / "mount.fuse.mapfs.8").read_text("utf-8").replace("\\-", "-")
    words = set(re.findall(r"[\w-]+", text.partition(".SH OPTIONS")[2].partition(".SH EXIT")[0]))
    known = {*fstab.SWITCHES, *fstab.VALUES, *fstab.OTHERS, *fstab.KERNEL, *fstab.IGNORED, "rw", "remount"}
    assert known - words == set()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.parent.name)
def test_systemd_understands_the_unit(unit: Path, tmp_path: Path) -> None:
    program = tmp_path / "mapfs"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / unit.name
    text = unit.read_text("utf-8")
    assert text.count("\nExecStart=mapfs ") == 1
    copy.write_text(text.replace("\nExecStart=mapfs ", f"\nExecStart={program} "))
    done = run(
        "systemd-analyze", f"--{unit.parent.name}", "verify", "--man=no", "--recursive-errors=no", str(copy),
        XDG_RUNTIME_DIR=str(tmp_path),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.parent.name)
def test_everybody_sees_what_the_unit_mounts(unit: Path) -> None:
    assert [line for line in unit.read_text("utf-8").splitlines() if NAMESPACES.match(line)] == []


def test_the_unit_of_a_user_keeps_fusermount3_setuid() -> None:
    parser = configparser.ConfigParser(strict=False)
    parser.read(PACKAGING / "systemd" / "user" / "mapfs@.service")
    assert set(parser["Service"]) <= {
        "type", "execstart", "killmode", "timeoutstopsec", "restart", "restartsec", "restartpreventexitstatus",
    }, "what restricts a unit of a user implies NoNewPrivileges="  # fmt: skip


def test_each_module_that_is_imported_is_a_dependency() -> None:
    """Or of an extra; that nothing else is needed without an extra, tests/mount/test_installed.py shows."""
    named = {_name(text) for text in PROJECT["project"]["dependencies"]}
    extras = {
        _name(text)
        for extra, texts in PROJECT["project"]["optional-dependencies"].items()
        if extra != "test"
        for text in texts
    }
    distributions = packages_distributions()
    for path in (ROOT / "mapfs").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for module in _imported(node):
                name = VIA.get(module, module)
                owners = {_name(owner) for owner in distributions.get(name, [name])}
                assert owners & (named | extras), f"{path.name} imports {module}"


def _imported(node: ast.AST) -> list[str]:
    names = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    tops = {name.partition(".")[0] for name in names}
    return sorted(tops - {"mapfs"} - sys.stdlib_module_names)


def _name(requirement: str) -> str:
    match = re.match(r"[\w.-]+", requirement)
    assert match
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def test_the_version_is_said_once() -> None:
    assert PROJECT["project"]["version"] == __version__
