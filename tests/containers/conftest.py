"""One docker and one image for all tests of containers, from scripts/containers; nothing of it is left."""

import os
import select
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapfs.fuse.device import mount_points
from tests.containers.docker import USER, Docker
from tests.support import ROOT, WITHIN

_BUILT_WITHIN = 900.0  # seconds: packages are installed, a base image and the image are made
_UNAVAILABLE = 69
_TELL = 'printf "%s\\n" "$PATH" "${DOCKER_HOST:-}" "$MAPFS_IMAGE"; exec cat'


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """The image, and the environment of docker's client; those of `scripts/containers` where it runs these tests."""
    if image := os.environ.get("MAPFS_IMAGE"):
        yield image, dict(os.environ)
        return
    place = tmp_path_factory.mktemp("containers")
    said = place / "said"
    # its end is that of its standard input: it cleans up even if these tests are killed
    with said.open("w") as errors, subprocess.Popen(
        [ROOT / "scripts" / "containers", "sh", "-c", _TELL], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=errors, text=True, start_new_session=True,
    ) as helper:  # fmt: skip
        assert helper.stdin and helper.stdout
        try:
            assert select.select([helper.stdout], [], [], _BUILT_WITHIN)[0], said.read_text()
            path, host, image = (helper.stdout.readline().rstrip("\n") for _ in range(3))
            if not image:
                code = helper.wait(WITHIN)
                reason = said.read_text().strip().splitlines()[-1]
                assert code == _UNAVAILABLE, said.read_text()
                pytest.skip(reason)
            yield image, {**os.environ, "PATH": path, **({"DOCKER_HOST": host} if host else {})}
        finally:
            helper.stdin.close()
            helper.wait(4 * WITHIN)
    own = host.removeprefix("unix://").removesuffix("/socket")
    if "/mapfs-containers." in own:  # a dockerd of its own
        assert not os.path.exists(own)
        assert [mount.path for mount in mount_points() if mount.path.startswith(f"{own}/")] == []


@pytest.fixture
def docker(built: tuple[str, dict[str, str]], tmp_path: Path) -> Iterator[Docker]:
    """Docker for one test, whose containers end with it."""
    image, environment = built
    fuse = "/dev/fuse"
    if os.stat(fuse).st_mode & 0o006 != 0o006:  # a build machine's: the user of the image may not open it
        fuse = str(tmp_path / "fuse")
        os.mknod(fuse, stat.S_IFCHR, os.stat("/dev/fuse").st_rdev)
        os.chmod(fuse, 0o666)
    docker = Docker(image, environment, fuse)
    yield docker
    docker.remove_all()


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A directory, a shared mount, that belongs to the user of the image: what is mounted in it is seen everywhere."""
    place = tmp_path / "shared"
    place.mkdir()
    os.chown(place, USER, USER)
    for how in (["--bind", str(place)], ["--make-private"], ["--make-shared"]):
        subprocess.run(["mount", *how, str(place)], check=True, timeout=WITHIN)
    yield place
    below = [mount.path for mount in mount_points() if mount.path == str(place) or mount.path.startswith(f"{place}/")]
    for path in reversed(below):
        subprocess.run(["umount", "--lazy", path], check=True, timeout=WITHIN)
