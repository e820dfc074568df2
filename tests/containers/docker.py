"""Containers of the image of this checkout, as a person runs them: by the docker client, every wait with a bound."""

import contextlib
import json
import os
import select
import subprocess
from pathlib import Path
from typing import Any

from mapfs.errors import TraceError
from mapfs.trace.reader import mount_stats
from tests.support import WITHIN, wait_until

#: What mapfs needs in a container, and all that it gets; packaging/compose.yaml gives the same.
PRIVILEGES = ("--device", "/dev/fuse", "--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined", "--network", "none")  # fmt: skip
SHARED = "/shared"  # where containers see the directory that they share
USER = 1000  # whom the image runs as
#: Touches the pages that a line of standard input names, and says what number each of them carries.
TOUCH = """
import mmap, sys
file = open(sys.argv[1], "rb")
data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
print("mapped")
for line in sys.stdin:
    places = [int(number) * mmap.PAGESIZE for number in line.split()]
    print(*(int.from_bytes(data[place:place + 8], "little") for place in places))
"""


class Docker:
    """A docker and the image in it. `environment` is what its client needs."""

    def __init__(self, image: str, environment: dict[str, str], fuse: str = "/dev/fuse") -> None:
        self.image = image
        self.environment = environment
        self.label = f"mapfs-test={os.getpid()}"
        self._privileges = [f"{fuse}:/dev/fuse" if word == "/dev/fuse" else word for word in PRIVILEGES]

    def __call__(self, *args: str, check: bool = True, within: float = WITHIN) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["docker", *args], capture_output=True, text=True, timeout=within, stdin=subprocess.DEVNULL, check=False,
            env=self.environment,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"docker {' '.join(args)}: {done.stdout}{done.stderr}"
        return done

    def run(self, *args: str, check: bool = True, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """A container that ends on its own, with the privileges that mapfs needs: `mapfs ARGS`."""
        return self(
            "run", "--rm", "--label", self.label, *self._privileges, *options, self.image, *args, check=check
        )  # fmt: skip

    def mount(self, shared: Path, *args: str, options: tuple[str, ...] = ("--pid", "host")) -> "Container":
        """A daemon that serves `shared`/mnt, seen by the host and by other containers; it answers on return.

        In the pid namespace of the host, it can tell who in other containers demands a page.
        """
        bind = f"type=bind,source={shared},target={SHARED},bind-propagation=rshared"
        made = self(
            "run", "--detach", "--label", self.label, *self._privileges, *options, "--mount", bind, self.image,
            "mount", f"{SHARED}/mnt", "--allow-other", *args,
        )  # fmt: skip
        container = Container(self, made.stdout.strip())
        container.wait_answering(shared / "mnt")
        return container

    def client(self, shared: Path, file: str, *options: str) -> "Client":
        """A client without any privilege, which maps a file of the mount."""
        return Client(self, shared, file, *options)

    def remove_all(self) -> None:
        """Removes the containers of this test, whatever their state."""
        ids = self("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={self.label}").stdout.split()
        if ids:
            self("rm", "--force", "--volumes", *ids, within=2 * WITHIN)


class Container:
    """A container that was started; `id` is what mapfs knows it by."""

    def __init__(self, docker: Docker, ident: str) -> None:
        self.docker = docker
        self.id = ident

    def inspect(self) -> dict[str, Any]:
        """What docker knows of it."""
        (told,) = json.loads(self.docker("inspect", self.id).stdout)
        assert isinstance(told, dict)
        return told

    @property
    def pid(self) -> int:
        """Of its first process, in the pid namespace of the host."""
        return int(self.inspect()["State"]["Pid"])

    @property
    def health(self) -> str:
        """`healthy`, `unhealthy` or `starting`."""
        return str(self.inspect()["State"]["Health"]["Status"])

    def wait_health(self, wanted: str) -> None:
        """Until its health check says so."""
        wait_until(lambda: self.health == wanted, f"{wanted}: {self.inspect()['State']['Health']}", 2 * WITHIN)

    def wait_answering(self, mount: Path) -> None:
        """Until its mount answers on the host."""

        def answers() -> bool:
            assert self.inspect()["State"]["Running"], self.log
            with contextlib.suppress(TraceError):  # not mounted yet, or what a killed one left
                mount_stats(str(mount))
                return True
            return False

        wait_until(answers, f"the mount of {self.id}")

    @property
    def log(self) -> list[str]:
        """The lines of its standard error."""
        return self.docker("logs", self.id).stderr.splitlines()

    def signal(self, name: str) -> None:
        """Sends its first process a signal."""
        self.docker("kill", "--signal", name, self.id)

    def wait_end(self) -> int:
        """Until it has ended: its exit code."""
        return int(self.docker("wait", self.id).stdout)

    def mapfs(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One more command in it."""
        return self.docker("exec", self.id, "mapfs", *args, check=check)


class Client(Container):
    """A program in a container of its own, which touches the pages that it is told to."""

    def __init__(self, docker: Docker, shared: Path, file: str, *options: str) -> None:
        bind = f"type=bind,source={shared},target={SHARED},bind-propagation=rslave"
        made = docker(
            "create", "--interactive", "--label", docker.label, "--network", "none", *options, "--mount", bind,
            "--entrypoint", "python3", docker.image, "-u", "-c", TOUCH, f"{SHARED}/mnt/{file}",
        )  # fmt: skip
        super().__init__(docker, made.stdout.strip())
        self.process = subprocess.Popen(
            ["docker", "start", "--attach", "--interactive", self.id],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=docker.environment,
        )  # fmt: skip
        assert self._line() == "mapped"

    def tell(self, *pages: int) -> None:
        """Has it touch these pages."""
        assert self.process.stdin
        self.process.stdin.write(" ".join(map(str, pages)) + "\n")
        self.process.stdin.flush()

    def touch(self, *pages: int) -> list[int]:
        """Touches these pages; the numbers that they carry."""
        self.tell(*pages)
        return [int(word) for word in self._line().split()]

    def end(self) -> int:
        """Has nothing more for it to touch: its exit code."""
        assert self.process.stdin
        self.process.stdin.close()
        return self.wait_end()

    def _line(self) -> str:
        assert self.process.stdout and self.process.stderr
        assert select.select([self.process.stdout], [], [], WITHIN)[0], "no answer"
        return self.process.stdout.readline().rstrip("\n") or self.process.stderr.read()

    def close(self) -> None:
        """Leaves the client of docker; the container is removed with the others."""
        self.process.kill()
        self.process.wait(WITHIN)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
