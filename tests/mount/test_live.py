"""`mapfs live` in a real terminal (tmux), on real mounts, with real processes."""

import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from tests.conftest import Mounter
from tests.evidence.test_sharing import toucher
from tests.support import ROOT, WITHIN, Daemon, client, mapfs, wait_until

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux: apt-get install tmux")
root = pytest.mark.skipif(os.geteuid() != 0, reason="the kernel's tracepoints are for root")


class Terminal:
    """A terminal of this size in which a command runs; it stays when that has ended."""

    def __init__(self, socket: Path, width: int, height: int) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        self._size = ["-x", str(width), "-y", str(height)]

    def run(self, *args: str, **env: str) -> None:
        """Starts `mapfs ARGS`."""
        self.shell(shlex.join([sys.executable, "-m", "mapfs", *args]), **env)

    def shell(self, line: str, **env: str) -> None:
        """Starts a line of a shell, which tells its exit code in the end."""
        settings = [word for pair in env.items() for word in ("-e", "=".join(pair))]
        command = f"{line}; echo exit code $?; exec cat"
        term = "unset COLUMNS LINES; " + (f"export TERM={env['TERM']}; " if "TERM" in env else "")  # tmux sets its own
        self._do("new-session", "-d", *self._size, "-c", str(ROOT), *settings, f"{term}{command}")

    def _do(self, *args: str) -> str:
        done = subprocess.run([*self._tmux, *args], capture_output=True, text=True, timeout=WITHIN, check=True)
        return done.stdout

    @property
    def screen(self) -> str:
        """What is on it."""
        return self._do("capture-pane", "-p")

    @property
    def history(self) -> str:
        """The same with what has left it at the top."""
        return self._do("capture-pane", "-p", "-J", "-S", "-")

    @property
    def tty(self) -> str:
        """Its path."""
        return self._do("display-message", "-p", "#{pane_tty}").strip()

    @property
    def modes(self) -> str:
        """Whether it shows another screen, whether it has the mouse, whether its cursor is seen: digits."""
        return self._do("display-message", "-p", "#{alternate_on}#{mouse_any_flag}#{cursor_flag}").strip()

    @property
    def colours(self) -> str:
        """The same with its escape sequences."""
        return self._do("capture-pane", "-p", "-e")

    def press(self, *keys: str) -> None:
        """Types keys, by their names in tmux."""
        self._do("send-keys", *keys)

    def wait_for(self, pattern: str) -> str:
        """The screen, when it has what matches `pattern`."""
        seen = [""]

        def there() -> bool:
            seen[0] = self.screen
            return re.search(pattern, seen[0]) is not None

        try:
            wait_until(there, pattern)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{seen[0]}") from None
        return seen[0]

    def close(self) -> None:
        """Ends all that runs in it."""
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, timeout=WITHIN, check=False)


@pytest.fixture(params=[(80, 24), (160, 45)], ids=["80x24", "160x45"])
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path / "tmux", *request.param)
    yield made
    made.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path / "tmux", 80, 24)
    yield made
    made.close()


@root
def test_it_shows_each_demand_as_it_happens(terminal: Terminal, mount: Mounter) -> None:
    daemon = mount("a=pages:512p", "other=pages:8p", "-q", "--evidence", "kernel", wait=False).wait_mounted()
    terminal.run("live", daemon.path)
    terminal.wait_for("nothing was demanded yet")
    with toucher(daemon.file("a")) as (one, first), toucher(daemon.file("a")) as (two, second):
        one.ask("touch 3 200")
        terminal.wait_for(r"a +2 +\d+|a +2 +-")
        two.ask("touch 3 400")
        screen = terminal.wait_for(rf"/{second} +1 +\S+ +1 ")
        assert " LIVE " in screen and "3 demands" in screen and "evidence: kernel" in screen
        assert re.search(r"^a +3 +\S+ +3 of 512 +2\b", screen, re.MULTILINE)
        assert re.search(rf"/{first} +2 +\S+ +0 ", screen)
        assert re.search(rf"SHARED +\S+/{second} +a +page 3 .* by \S*{first}", screen)
        assert "0-511 of 512" in screen
        two.ask("read 500")
        two.ask("drop 500 1")
        screen = terminal.wait_for("EVICT")
        assert re.search(r"^a +4 +\S+ +3 of 512 +2\b", screen, re.MULTILINE)
        assert msgspec.json.decode(mapfs("pages", "--json", daemon.file("a")).stdout)["resident"] == 3
        client("touch", daemon.file("other"), "7")
        screen = terminal.wait_for(r"other +1 +\S+ +1 of 8 +1\b")
        seen = {event["pid"] for event in daemon.all_events()}
        assert len(seen) == 3, "to be watched demands nothing"
    terminal.press("q")
    assert "exit code 0" in terminal.wait_for("exit code")
    assert "next: mapfs summary" in terminal.screen


def test_twenty_thousand_demands_are_counted_to_the_last(small: Terminal, mount: Mounter) -> None:
    daemon = mount("a=pages:20000p", "-q", "--evidence", "requests", wait=False).wait_mounted()
    small.run("live", daemon.path)
    small.wait_for("nothing was demanded yet")
    client("shuffled", daemon.file("a"), "20000", "7")
    screen = small.wait_for(r"20,000 demands|lost")
    assert "lost" not in screen
    assert re.search(r"^a +20,000 ", screen, re.MULTILINE)
    small.press("z")
    small.wait_for("pages to zoom to")
    small.press("-l", "0-63")
    small.press("Enter")
    assert "·" not in small.wait_for("0-63 of 20,000, a cell is a page").split("PAGES")[1].split("* now")[0]


def ended_by_umount(daemon: Daemon) -> None:
    mapfs("umount", "--lazy", daemon.path)


def ended_by_ctrl_c(daemon: Daemon) -> None:
    daemon.process.send_signal(signal.SIGINT)


def ended_by_kill(daemon: Daemon) -> None:
    daemon.process.kill()


@pytest.mark.parametrize("end", [ended_by_ctrl_c, ended_by_kill])
def test_it_outlives_the_mount_and_says_so(small: Terminal, mount: Mounter, end: Callable[[Daemon], None]) -> None:
    daemon = mount("a=pages:64p", "-q", wait=False).wait_mounted()
    small.run("live", daemon.path)
    client("touch", daemon.file("a"), "3", "9")
    small.wait_for(r"a +2 ")
    end(daemon)
    screen = small.wait_for("ENDED: the mount has ended")
    assert re.search(r"^a +2 ", screen, re.MULTILINE)
    small.press("c")
    small.wait_for("by class")
    small.press("q")
    assert "the mount has ended" in small.wait_for("exit code 0")


def test_a_pause_holds_the_screen_while_the_mount_is_counted(small: Terminal, mount: Mounter) -> None:
    daemon = mount("a=pages:64p", "-q", "--evidence", "requests", wait=False).wait_mounted()
    small.run("live", daemon.path)
    client("touch", daemon.file("a"), "3", "9")
    assert re.search(r"a +2 +\S+ +\? of 64 +1\b", small.wait_for(r"a +2 "))
    small.press("Space")
    small.wait_for("PAUSED .* 0 events since")
    client("touch", daemon.file("a"), "10-19")
    assert re.search(r"^a +2 ", small.wait_for("10 events since"), re.MULTILINE)
    small.press("Space")
    assert re.search(r" LIVE ", small.wait_for(r"a +12 "))


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": "vt100"}], ids=str)
def test_without_colours_it_says_the_same(small: Terminal, mount: Mounter, env: dict[str, str]) -> None:
    daemon = mount("a=pages:8p", "-q", "--evidence", "requests", wait=False).wait_mounted()
    small.run("live", daemon.path, **env)
    client("touch", daemon.file("a"), "2", "5")
    small.wait_for(r"a +2 ")
    screen = small.wait_for("··A··A··")
    assert re.search(r"^A \S+/\d+ +2 ", screen, re.MULTILINE)
    coloured = [code for codes in re.findall(r"\x1b\[([\d;]*)m", small.colours) for code in codes.split(";")]
    assert coloured and {code for code in coloured if re.fullmatch(r"(3|4|9|10)[0-8]", code)} == set()


def test_a_trace_is_played_with_the_same_keys(terminal: Terminal, mount: Mounter, tmp_path: Path) -> None:
    trace = str(tmp_path / "t.db")
    daemon = mount("a=pages:64p", "b=pages:64p", "-q", "--trace", trace, wait=False).wait_mounted()
    for _ in range(3):
        client("touch", daemon.file("a"), "3-12")
        client("touch", daemon.file("b"), "0")
        mapfs("drop", daemon.file("a"))
    assert daemon.umount() == 0
    terminal.run("live", trace, "--speed", "0.001")
    terminal.wait_for("REPLAY 00:00.0 of .* 0.001x")
    terminal.press("e")
    terminal.wait_for("ENDED at ")
    screen = terminal.wait_for("31 demands")
    (total,) = (msgspec.json.decode(mapfs("summary", "--json", trace).stdout)["total"],)
    assert total["demands"] == 31 and total["refaults"] == 20
    assert "30 demands, 20 re-faults" in screen
    terminal.press("?")
    terminal.wait_for("the next pane")
    terminal.press("?")
    terminal.wait_for("ENDED at ")
    terminal.press("/")
    terminal.wait_for("words that a line must have")
    terminal.press("-l", "refault 12")
    terminal.press("Enter")
    screen = terminal.wait_for("with 'refault 12'")
    assert len(re.findall(r"REFAULT +\S+ +a +page 12 ", screen)) == 2
    terminal.press("r")
    terminal.wait_for("REPLAY 00:00.0")
    terminal.press("q")
    terminal.wait_for("exit code 0")


def test_what_it_cannot_do_it_says_in_a_sentence(mount: Mounter, tmp_path: Path) -> None:
    daemon = mount("a=pages:8p", "-q", wait=False).wait_mounted()
    done = mapfs("live", daemon.path, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"live needs a terminal; mapfs log -f {daemon.path}" in done.stderr
    done = mapfs("live", str(tmp_path / "none"), check=False)
    assert done.returncode == 1 and "does not exist" in done.stderr


def test_without_textual_it_says_what_to_install(small: Terminal, mount: Mounter, tmp_path: Path) -> None:
    daemon = mount("a=pages:8p", "-q", wait=False).wait_mounted()
    (tmp_path / "textual.py").write_text("raise ModuleNotFoundError(name='textual')")
    small.run("live", daemon.path, PYTHONPATH=str(tmp_path))
    small.wait_for("exit code")
    assert "mapfs: live needs the package textual; install it with pip install 'mapfs[live]'\n" in small.screen


def test_lines_and_the_page_below_the_cursor_say_what_they_hold(
    terminal: Terminal, mount: Mounter, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "data.db")) as db:
        db.executescript("CREATE TABLE people (text); INSERT INTO people VALUES (zeroblob(9000));")
    spec, trace = f"d=file:{tmp_path}/data.db", tmp_path / "t.db"
    daemon = mount(spec, "-q", "--trace", str(trace), wait=False).wait_mounted()
    for target in (daemon.path, str(trace)):
        terminal.run("live", target)
        terminal.wait_for("LIVE|REPLAY|ENDED")
        if target == daemon.path:
            client("touch", daemon.file("d"), "1")
        assert re.search(r" d +page 1 .* people", terminal.wait_for(r"LOG[^$]*people"))
        terminal.press("z")
        terminal.wait_for("pages to zoom to")
        terminal.press(*"0-1", "Enter")
        terminal.wait_for("0-1 of ")
        terminal.press("Right")
        terminal.wait_for(r"page 1 at 0x1000 \(people\): 1x, last (COLD|\?) by")
        terminal.press("q")
        terminal.wait_for("exit code 0")
        terminal.close()
        if target == daemon.path:
            mapfs("umount", daemon.path)
            assert daemon.wait_end() == 0


def test_without_labels_no_file_is_read(small: Terminal, mount: Mounter, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "data.db")) as db:
        db.executescript("CREATE TABLE people (text); INSERT INTO people VALUES (zeroblob(9000));")
    daemon = mount(f"d=file:{tmp_path}/data.db", "-q", wait=False).wait_mounted()
    small.run("live", daemon.path, "--no-labels")
    small.wait_for("nothing was demanded yet")
    client("touch", daemon.file("d"), "1")
    assert "people" not in small.wait_for(r"LOG\n.* d +page 1 ")
