"""Names of mirrored directories, most of which a pager answers itself: they are what the directory has, now."""

import os
import stat
import threading
import time
from pathlib import Path

from tests.conftest import Mounter
from tests.support import WITHIN, Daemon, wait_until

MANY = 300


def of_daemon(daemon: Daemon) -> tuple[int, int]:
    """Requests that were at hand, and those that were relayed."""
    told = daemon.stats()["daemon"]
    return told["names_at_hand"], told["relayed"]


def relayed_by_nothing(daemon: Daemon) -> int:
    """What asking for it takes itself."""
    first = of_daemon(daemon)[1]
    return of_daemon(daemon)[1] - first


def test_names_and_attributes_are_answered_by_the_pager_that_read_the_request(mount: Mounter, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "f").write_bytes(b"f")
    daemon = mount(f"m=dir:{home}")
    assert os.lstat(daemon.file("m/f"))[:6:5] == os.lstat(home / "f")[:6:5]
    before = of_daemon(daemon)[0]
    for _ in range(MANY):
        os.close(os.open(daemon.file("m/f"), os.O_RDONLY))
    # each takes OPEN and RELEASE; some find the trio thread at work, as that of this very question
    assert of_daemon(daemon)[0] - before > MANY
    assert daemon.stats()["daemon"]["open_handles"] <= 1


def test_names_that_the_kernel_keeps_are_not_asked_for_again(mount: Mounter, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for number in range(MANY):
        (home / f"{number:03}").touch()
    daemon = mount(f"m=dir:{home}")
    names = [f"{number:03}" for number in range(MANY)]
    alone = relayed_by_nothing(daemon)
    wait_until(lambda: time.time() > os.stat(home).st_ctime + 2.1, "the directory to be old enough")

    def relayed(times: int) -> int:
        before = of_daemon(daemon)[1]
        for _ in range(times):
            assert sorted(os.listdir(daemon.file("m"))) == names
        return of_daemon(daemon)[1] - before - alone

    assert relayed(1) >= 2  # pieces of it, and the end
    # some come while the trio thread is at work, and then they are listed
    assert min(relayed(20) for _ in range(5)) <= 10
    (home / "new").touch()
    assert sorted(os.listdir(daemon.file("m"))) == [*names, "new"]


def test_what_happens_to_a_directory_shows_whenever_it_is_opened(mount: Mounter, tmp_path: Path) -> None:
    """By itself, and through the mount, as often as it can within one tick of the clock that dates it."""
    home = tmp_path / "home"
    home.mkdir()
    daemon = mount(f"m=dir:{home},rw")
    for number in range(MANY):
        way = home if number % 2 else Path(daemon.file("m"))
        (way / f"{number:03}").touch()
        assert len(os.listdir(daemon.file("m"))) == number + 1
    for number in range(MANY):
        way = Path(daemon.file("m")) if number % 2 else home
        (way / f"{number:03}").unlink()
        assert len(os.listdir(daemon.file("m"))) == MANY - number - 1


def test_a_directory_that_has_just_changed_is_listed_anew_when_it_is_rewound(mount: Mounter, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "a").touch()
    daemon = mount(f"m=dir:{home}")
    fd = os.open(daemon.file("m"), os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert os.listdir(fd) == ["a"]
        (home / "b").touch()
        assert sorted(os.listdir(fd)) == ["a", "b"]  # it rewinds what it was given
    finally:
        os.close(fd)


def test_many_threads_and_the_trio_thread_get_along(mount: Mounter, tmp_path: Path) -> None:
    """Names come and go, are looked up, opened and listed, and control files asked, all at once."""
    home = tmp_path / "home"
    (home / "d").mkdir(parents=True)
    for number in range(MANY):
        (home / "d" / f"{number:03}").write_bytes(b"%03d" % number)
    daemon = mount(f"m=dir:{home},rw")
    failures: list[BaseException] = []
    over = threading.Event()

    def until_over(work: object) -> threading.Thread:
        def run() -> None:
            try:
                while not over.is_set():
                    work()  # type: ignore[operator] # one of those below
            except BaseException as error:
                failures.append(error)
                over.set()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def read() -> None:
        for number in range(0, MANY, 3):
            with open(daemon.file(f"m/d/{number:03}"), "rb") as file:
                assert file.read() == b"%03d" % number

    def list_all() -> None:
        names = [name for name in os.listdir(daemon.file("m/d")) if not name.startswith("t")]
        assert len(names) == len(set(names)) == MANY
        assert all(stat.S_ISREG(os.lstat(daemon.file(f"m/d/{name}")).st_mode) for name in names[:20])

    def make() -> None:
        made = daemon.file(f"m/d/t{threading.get_ident()}")
        with open(made, "w", encoding="ascii") as file:
            file.write("made")
        assert os.stat(made).st_size == 4
        os.rename(made, made + "2")
        os.unlink(made + "2")
        assert not os.path.exists(made + "2")

    threads = [until_over(work) for work in (read, read, list_all, make, make, daemon.stats)]
    over.wait(3)  # how long they are let
    over.set()
    for thread in threads:
        thread.join(WITHIN)
    assert not failures, failures[:1]
    wait_until(lambda: daemon.stats()["daemon"]["open_handles"] <= 1, "handles to be closed")
    assert daemon.umount() == 0
