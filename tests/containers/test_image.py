"""The image: what is in it, whom it runs as, and what it says where it is given too little."""

import json
import os
import subprocess

import pytest

from mapfs import __version__
from tests.containers.docker import PRIVILEGES, USER, Docker
from tests.support import ROOT, WITHIN

pytestmark = pytest.mark.timeout(1200)  # the first test of all pays for the image
_MOST_MB = 100  # beyond the base image: Python, fuse3, mapfs and what it needs


def inside(docker: Docker, script: str) -> str:
    return docker("run", "--rm", "--label", docker.label, "--entrypoint", "bash", docker.image, "-ec", script).stdout


def test_it_says_what_it_is(docker: Docker) -> None:
    (told,) = json.loads(docker("image", "inspect", docker.image).stdout)
    config = told["Config"]
    assert (config["User"], config["Entrypoint"]) == ("mapfs", ["mapfs"])
    assert config["Healthcheck"]["Test"] == ["CMD", "mapfs", "doctor", "--mounts"]
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    head = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=WITHIN, check=False
    )
    assert labels.pop("description")
    assert labels == {
        "title": "mapfs",
        "version": __version__,
        "licenses": "Apache-2.0",
        "revision": head.stdout.strip() or "unknown",
    }
    assert docker.run("--version").stdout == f"mapfs, version {__version__}\n"


def test_it_holds_this_checkout_and_nothing_of_its_making(docker: Docker) -> None:
    place = "/opt/mapfs/lib/python3*/site-packages/mapfs"
    found = inside(docker, f"cd {place}; find . -type f ! -path '*/__pycache__/*' -printf '%P\\n'").split()
    assert set(found) == {
        str(path.relative_to(ROOT / "mapfs"))
        for path in (ROOT / "mapfs").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    made_with = "-name 'gcc*' -o -name 'pip*' -o -name '*.whl' -o -name '*.crt' -o -name Python.h"
    looked = f"find /opt /usr/bin /usr/local /usr/include /etc /home /tmp ! -type l \\( {made_with} \\)"
    assert inside(docker, f"{looked}; ls -d /src /wheels /tools 2>/dev/null || true") == ""
    assert "PIP" not in inside(docker, "env")
    history = docker("history", "--no-trunc", "--human=false", "--format", "{{.CreatedBy}}\t{{.Size}}", docker.image)
    layers = [line.split("\t") for line in history.stdout.splitlines()]
    assert not [command for command, _ in layers if "PIP" in command or "crt" in command]
    ours = next(number for number, (command, _) in enumerate(layers) if "useradd" in command)
    assert sum(int(size) for _, size in layers[: ours + 1]) < _MOST_MB * 1_000_000


def test_it_runs_as_a_plain_user_who_may_mount(docker: Docker) -> None:
    assert inside(docker, "id -u; id -un; pwd").split() == [str(USER), "mapfs", "/home/mapfs"]
    found = json.loads(docker.run("doctor", "--json").stdout)
    assert [each for each in found if each["state"] == "no"] == []
    said = " ".join(each["what"] for each in found)
    assert "one touch is one request, by the right process" in said
    assert "--allow-other is possible: /etc/fuse.conf says user_allow_other" in said


@pytest.mark.parametrize(
    ("lacks", "remedy"), [("--device", "--device /dev/fuse"), ("--cap-add", "--cap-add SYS_ADMIN")]
)
def test_what_it_is_not_given_it_names(docker: Docker, lacks: str, remedy: str) -> None:
    at = PRIVILEGES.index(lacks)
    given = [*PRIVILEGES[:at], *PRIVILEGES[at + 2 :]]
    done = docker(
        "run", "--rm", "--label", docker.label, *given, docker.image, "mount", "/tmp/x", "a=zero:4K", check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("mapfs: cannot mount on /tmp/x: ") and remedy in line


def test_the_context_is_what_the_image_is_made_of() -> None:
    """Nothing else reaches docker: no environment, no history, no traces of whoever builds it."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    taken = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {
        word
        for line in (ROOT / "packaging" / "Dockerfile").read_text("utf-8").splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert "*" in lines and taken == copied
    assert all(os.path.exists(ROOT / name) for name in taken)
