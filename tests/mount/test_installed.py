"""What people install: sdist and wheel are built, installed into a clean environment, and serve a mount there.

The clean environment has what the wheel declares, and what that declares in turn, taken from this environment: so
nothing is downloaded, and what is not declared is missing.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from mapfs import __version__
from mapfs.fuse.device import mounted_at
from tests.support import ROOT, WITHIN, wait_until

_UNIT = ROOT / "packaging" / "systemd" / "system" / "mapfs@.service"


def run(*command: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=WITHIN * 2, stdin=subprocess.DEVNULL, check=False,
        env=environment, **options,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and the wheel that was built from it."""
    place = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", place, ROOT, cwd=place)
    return place


@pytest.fixture(scope="module")
def clean(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel in it, and with nothing that it does not ask for."""
    place = tmp_path_factory.mktemp("clean") / "env"
    venv.create(place, symlinks=True)
    (wheel,) = built.glob("*.whl")
    run(sys.executable, "-m", "pip", "--python", place / "bin" / "python", "install", "--quiet", "--no-index", "--no-deps",
        "--disable-pip-version-check", wheel, cwd=place)  # fmt: skip
    site = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(place)}))
    (metadata,) = site.glob("mapfs-*.dist-info")
    for needed in _needed(Distribution.at(metadata)).values():
        for name in {file.parts[0] for file in needed.files or ()} - {"..", "__pycache__"}:
            (site / name).symlink_to(str(needed.locate_file(name)))
    return place


def _needed(wanted: Distribution, found: dict[str, Distribution] | None = None) -> dict[str, Distribution]:
    """What `wanted` requires without an extra, and what that requires."""
    found = {} if found is None else found
    for text in wanted.requires or ():
        requirement = Requirement(text)
        if requirement.name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found[requirement.name] = distribution(requirement.name)
            _needed(found[requirement.name], found)
    return found


def test_the_wheel_has_what_belongs_into_it(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    data = {name.partition(".data/data/")[2] for name in names if ".data/" in name}
    assert data == {
        "lib/systemd/system/mapfs@.service",
        "lib/systemd/user/mapfs@.service",
        "share/bash-completion/completions/mapfs",
        "share/fish/vendor_completions.d/mapfs.fish",
        "share/man/man1/mapfs.1",
        "share/man/man8/mount.fuse.mapfs.8",
        "share/zsh/site-functions/_mapfs",
    }
    code = {name for name in names if name.startswith("mapfs/")}
    assert code == {
        str(path.relative_to(ROOT))
        for path in (ROOT / "mapfs").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }  # fmt: skip


def test_the_sdist_has_what_the_tests_need(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "README.md",
        "LICENSE",
        "docs/INSTALL.md",
        "scripts/test",
        "scripts/manual.py",
        "tests/conftest.py",
    } <= names
    assert not [name for name in names if re.search(r"\.pyc$|(^|/)\.venv|_cache/", name)]


def test_what_is_installed_mounts(clean: Path, tmp_path: Path) -> None:
    mapfs = clean / "bin" / "mapfs"
    said = run(clean / "bin" / "python", "-c", "import mapfs; print(mapfs.__file__)", cwd=tmp_path).stdout
    assert said.startswith(f"{clean}/"), "this checkout is not what is tested here"
    assert run(mapfs, "--version", cwd=tmp_path).stdout == f"mapfs, version {__version__}\n"
    (tmp_path / "notes.txt").write_text("some text\n")
    point = tmp_path / "m"
    try:
        run(mapfs, "mount", "--daemon", "m", "notes=file:notes.txt", "n=pages:4p", "--trace", "t.db", cwd=tmp_path)
        assert run("cat", point / "notes").stdout == "some text\n"
        assert "page 0" in run(mapfs, "log", "m", "--file", "notes", cwd=tmp_path).stdout
    finally:
        ended = run(mapfs, "umount", "m", cwd=tmp_path, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "1 demands for 1 pages" in run(mapfs, "summary", "t.db", cwd=tmp_path).stdout


def test_every_command_starts_with_the_core_alone(clean: Path, tmp_path: Path) -> None:
    mapfs = clean / "bin" / "mapfs"
    listed = run(mapfs, "--help", cwd=tmp_path).stdout.partition("Commands:\n")[2]
    names = re.findall(r"^  (\w+)", listed, re.MULTILINE)
    assert {"mount", "log", "export", "doctor"} <= set(names)
    for name in names:
        assert run(mapfs, name, "--help", cwd=tmp_path).stdout.startswith(f"Usage: mapfs {name} ")
    refused = run(mapfs, "mount", "m", "a=s3://b/c", cwd=tmp_path, check=False)
    assert refused.returncode == 1
    assert "pip install 'mapfs[remote]'" in refused.stderr


def test_the_helper_of_mount_is_installed(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    helper = clean / "bin" / "mount.fuse.mapfs"
    try:
        run(helper, "n=pages:4p", tmp_path / "m", "-o", "rw,nofail", "-t", "fuse.mapfs", cwd=tmp_path)
        mounted = mounted_at(str(tmp_path / "m"))
        assert mounted is not None and mounted.source == "n=pages:4p"
    finally:
        run(clean / "bin" / "mapfs", "umount", "m", cwd=tmp_path, check=False)
    assert run(helper, "none", tmp_path / "m", "-o", "nosense", check=False).returncode == 1


def test_manual_and_completion_are_found(clean: Path, tmp_path: Path) -> None:
    if not shutil.which("man"):
        pytest.skip("man is not installed")
    page = run("man", "-M", clean / "share" / "man", "mapfs").stdout
    assert "MAPFS(1)" in page and "mapfs umount" in page
    script = clean / "share" / "bash-completion" / "completions" / "mapfs"
    text = f"PATH={clean}/bin:$PATH; source {script}; COMP_WORDS=(mapfs umo); COMP_CWORD=1; _mapfs_completion mapfs"
    assert run("bash", "-c", f"{text}; echo $COMPREPLY", cwd=tmp_path).stdout == "umount\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="what takes rights away from root needs root")
def test_the_rights_of_the_unit_suffice(clean: Path, tmp_path: Path) -> None:
    """Its capabilities, without the way to more of them; that the mount is seen by all shows what it does not have."""
    given = re.search(r"^CapabilityBoundingSet=(.*)$", _UNIT.read_text("utf-8"), re.MULTILINE)
    assert given and "\nNoNewPrivileges=yes\n" in _UNIT.read_text("utf-8")
    held = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in given[1].split())
    (tmp_path / "tree").mkdir(mode=0o777)
    (tmp_path / "tree").chmod(0o777)
    (tmp_path / "m.toml").write_text(
        'mountpoint = "m"\nallow_other = true\nquiet = true\ntrace = "t.db"\n'
        f'[files]\ntree = "dir:tree,rw"\nprocess = "process:{os.getpid()}"\ndev = "device:"\n'
    )
    command: list[str | Path] = [
        "setpriv",
        "--no-new-privs",
        f"--bounding-set=-all,{held}",
        clean / "bin" / "mapfs",
        "mount",
        "-c",
        "m.toml",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as daemon:
        try:
            wait_until(lambda: (tmp_path / "m" / "tree").exists() or daemon.poll() is not None, "the mount")
            tmp_path.chmod(0o755)
            done = run(
                "sh", "-ec", "echo 1 > m/tree/a; chown 65534:65534 m/tree/a; stat -c %u tree/a; ls m/dev", cwd=tmp_path
            )
            assert done.stdout.startswith("65534\n")
            regions = os.listdir(tmp_path / "m" / "process")
            assert run("head", "-c1", tmp_path / "m" / "process" / min(regions)).stdout
        finally:
            daemon.terminate()
            said = daemon.communicate(timeout=WITHIN)[1]
    assert (daemon.returncode, said) == (0, "")
