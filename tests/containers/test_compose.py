"""packaging/compose.yaml as a person runs it, and that it gives what the other tests give."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mapfs.fuse.device import mounted_at
from tests.containers.docker import SHARED, Container, Docker
from tests.containers.test_sharing import PAGES, said, wait_recorded
from tests.support import ROOT, WITHIN, wait_until

pytestmark = pytest.mark.timeout(1200)  # the first test of all pays for the image

Compose = Callable[..., str]


@pytest.fixture
def compose(docker: Docker, shared: Path) -> Iterator[Compose]:
    """Runs a command of compose on the file, as a project of this test; its standard output."""
    if docker("compose", "version", check=False).returncode == 0:
        command = ["docker", "compose"]
    elif shutil.which("docker-compose"):
        command = ["docker-compose"]
    else:
        pytest.skip("there is neither docker compose nor docker-compose")
    environment = {**docker.environment, "MAPFS_IMAGE": docker.image, "MAPFS_SHARED": str(shared)}
    file = ["--file", str(ROOT / "packaging" / "compose.yaml"), "--project-name", f"mapfs-test-{os.getpid()}"]

    def run(*args: str, check: bool = True) -> str:
        done = subprocess.run(
            [*command, *file, *args], capture_output=True, text=True, timeout=4 * WITHIN, stdin=subprocess.DEVNULL,
            check=False, env=environment,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    yield run
    run("down", "--volumes", check=False)


def test_it_shows_what_it_promises(docker: Docker, shared: Path, compose: Compose) -> None:
    compose("up", "--detach", "--no-build")
    ids = {name: compose("ps", "--all", "--quiet", name).strip() for name in ("daemon", "first", "second")}
    assert [Container(docker, ids[name]).wait_end() for name in ("first", "second")] == [0, 0]
    touched = docker("logs", ids["first"]).stdout, docker("logs", ids["second"]).stdout
    assert touched == (f"touched {list(PAGES)}\n",) * 2
    assert said(wait_recorded(shared / "trace.db", "read", 3), "class", "page", "container") == [
        ("COLD", page, ids["first"]) for page in PAGES
    ]
    daemon = Container(docker, ids["daemon"])
    assert daemon.health == "healthy"
    assert "COLD" in compose("exec", "-T", "daemon", "mapfs", "log", f"{SHARED}/mnt")
    compose("down")
    wait_until(lambda: mounted_at(str(shared / "mnt")) is None, "the end of the mount")


def test_it_gives_the_privileges_that_the_tests_give(docker: Docker, shared: Path, compose: Compose) -> None:
    compose("up", "--detach", "--no-build", "daemon")
    composed = Container(docker, compose("ps", "--quiet", "daemon").strip())
    config = composed.inspect()["HostConfig"]
    compose("down")
    ours = docker.mount(shared, "data=pages:100p").inspect()["HostConfig"]
    same = ("CapDrop", "SecurityOpt", "NetworkMode", "PidMode", "Privileged", "IpcMode", "UsernsMode", "ReadonlyRootfs")
    assert {name: config[name] for name in same} == {name: ours[name] for name in same}
    for given in (config, ours):
        assert not given["Privileged"]
        assert [name.removeprefix("CAP_") for name in given["CapAdd"]] == ["SYS_ADMIN"]
        assert [each["PathInContainer"] for each in given["Devices"]] == ["/dev/fuse"]
