"""`mapfs run --live` in a real terminal (tmux): the view, what is held back for it, and what it leaves."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.mount.test_live import Terminal, small, terminal
from tests.programs.test_run import nothing_is_left
from tests.support import WITHIN, client, mapfs, wait_until

__all__ = ["nothing_is_left", "small", "terminal"]  # fixtures
pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux: apt-get install tmux")

PAGE = os.sysconf("SC_PAGE_SIZE")
RUN = [sys.executable, "-m", "mapfs", "run"]
WHERE_IT_STOOD = "001"  # no other screen, no mouse, a cursor


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with a file of 40 pages, and a pipe, from which a program waits for the test."""
    made = tmp_path / "tree"
    made.mkdir()
    (made / "data").write_bytes(b"d" * 40 * PAGE)
    os.mkfifo(tmp_path / "pipe")
    return made


def script(tree: Path, *lines: str) -> list[str]:
    """The options and the program: a shell, for which `wait` waits for the test, and `pages N` reads N pages."""
    head = (
        # who opens it before the test has closed it finds nothing, and waits for the next time
        f"wait_() {{ until read _ < {tree.parent}/pipe; do :; done; }}; "
        f"pages() {{ dd if={tree}/data of=/dev/null bs={PAGE} count=$1 skip=${{2:-0}} status=none; }}; "
    )
    return ["--tree", str(tree), "--", "bash", "-c", head + "; ".join(lines)]


def go_on(tree: Path) -> None:
    """Lets the program that waits go on."""
    (tree.parent / "pipe").write_text("\n")


def run_and_view(on: Terminal) -> tuple[int, int]:
    """The processes of `mapfs run` on this terminal: itself, and the view, which is the one with threads."""
    device, found = os.stat(on.tty).st_rdev, []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            stat = (place / "stat").read_text().rpartition(") ")[2].split()
            if (place / "cmdline").read_bytes().split(b"\0")[1:4] == [b"-m", b"mapfs", b"run"] and int(
                stat[4]
            ) == device:
                found.append((int(stat[19]), int(place.name), len(list((place / "task").iterdir()))))
    (_, run, _), *others = sorted(found)
    (view,) = (pid for _, pid, threads in others if threads > 1)
    return run, view


def state(pid: int) -> str:
    """As /proc has it; Z also where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return "Z"


def test_the_view_has_what_the_program_demands_and_then_the_lines_are_shown(terminal: Terminal, tree: Path) -> None:
    lines = "echo first", "pages 12", "wait_", "echo second > /dev/stderr", "pages 8 12", "echo third; exit 7"
    terminal.run("run", "--live", *script(tree, *lines))
    screen = terminal.wait_for(r"tree/data +12 +\S+ +(12|\?) of 40 +1\b")
    assert " LIVE " in screen and "first" not in screen.replace("echo first", "")
    go_on(tree)
    screen = terminal.wait_for("ENDED: bash has ended, q goes on")
    assert re.search(r"tree/data +20 ", screen)
    assert " r  again " in screen
    terminal.press("q")
    terminal.wait_for(r"(?m)^exit code 7$")
    assert re.search(r"^first\nsecond\nthird\nstart: ", terminal.history, re.MULTILINE)
    assert "next: mapfs run -o t.db -- bash" in terminal.history
    assert terminal.modes == WHERE_IT_STOOD


def test_what_ended_is_played_again(small: Terminal, tree: Path) -> None:
    small.run("run", "--live", "-q", *script(tree, "pages 12"))
    small.wait_for("ENDED: bash has ended")
    small.press("r")
    small.wait_for(r"REPLAY|ENDED at")
    small.press("q")
    assert small.wait_for(r"(?m)^exit code 0$").strip() == "exit code 0"


def test_a_program_that_outlives_the_view_has_the_terminal_again(small: Terminal, tree: Path) -> None:
    """What was held comes first, then what it writes, as it comes; and Ctrl-C is the program's."""
    lines = (
        "trap 'echo caught; exit 5' INT",
        "echo held",
        "pages 3",
        "wait_",
        "echo later",
        "while :; do sleep 0.1; done",
    )
    small.run("run", "--live", "-q", *script(tree, *lines))
    small.wait_for("tree/data +3 ")
    small.press("C-c")
    assert small.wait_for("^held\n\n").strip() == "held"
    assert small.modes == WHERE_IT_STOOD
    go_on(tree)
    assert small.wait_for("later").strip() == "held\nlater"
    small.press("C-c")
    assert small.wait_for(r"(?m)^exit code 5$").strip() == "held\nlater\n^Ccaught\nexit code 5"


def test_a_program_that_writes_much_is_held_back_and_shown_to_the_last_line(small: Terminal, tree: Path) -> None:
    """Before the view is closed, and while it writes on."""
    small.run("run", "--live", *script(tree, "seq 100000", "pages 3", "wait_", "seq 100001 200000", "exit 8"))
    small.wait_for("tree/data +3 ")
    small.press("q")
    small.wait_for(r"(?m)^100000$")
    go_on(tree)
    small.wait_for(r"(?m)^exit code 8$")
    numbers, _, rest = small.history.partition("\nstart: ")
    shown = [int(line) for line in numbers.split()]
    assert shown == list(range(shown[0], 200001)) and len(shown) > 1000 and "next: mapfs run" in rest


def test_each_start_is_watched(small: Terminal, tree: Path) -> None:
    """The view goes on through all of them; closed in between, the later ones write to the terminal themselves."""
    small.run(
        "run", "--live", "--repeat", "3", *script(tree, "test -t 1 && echo on it || echo held", "pages 3", "wait_")
    )
    small.wait_for("tree/data +3 ")
    go_on(tree)
    small.wait_for(r"PROCESSES[^$]*(dd/\d+[^$]*){2}LOG")
    small.press("q")
    small.wait_for("held\nheld\n")
    go_on(tree)
    small.wait_for("held\nheld\non it\n")
    go_on(tree)
    small.wait_for(r"(?m)^exit code 0$")
    assert re.search(r"^held\nheld\non it\nstart", small.history, re.MULTILINE)


def test_what_is_redirected_stays_what_it_is(small: Terminal, tree: Path) -> None:
    out = tree.parent / "out"
    kinds = f"readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2 > {tree.parent}/kinds"
    command = shlex.join([*RUN, "--live", "-q", *script(tree, kinds, "cat", "echo error >&2", "pages 3", "wait_")])
    small.shell(f"echo from the pipe | {command} > {out}")
    small.wait_for("tree/data +3 ")
    assert out.read_text() == "from the pipe\n"
    given, written, held = (tree.parent / "kinds").read_text().split()
    assert given.startswith("pipe:") and written == str(out) and held.startswith("pipe:")
    go_on(tree)
    small.wait_for("ENDED: bash has ended")
    small.press("q")
    assert small.wait_for(r"(?m)^exit code 0$").strip() == "error\nexit code 0"
    assert out.read_text() == "from the pipe\n"


def test_where_the_program_would_read_from_the_terminal_there_is_nothing(small: Terminal, tree: Path) -> None:
    small.run("run", "--live", "-q", *script(tree, "read line; echo $? $line", "test -t 2; echo $?", "pages 3"))
    small.wait_for("ENDED: bash has ended")
    small.press("q")
    assert small.wait_for(r"(?m)^exit code 0$").strip() == "1\n1\nexit code 0"


def test_a_kept_trace_is_one_file_though_it_was_followed_to_its_end(small: Terminal, tree: Path) -> None:
    trace = tree.parent / "t.db"
    small.run("run", "--live", "-o", str(trace), *script(tree, "pages 12"))
    small.wait_for("ENDED: bash has ended")
    wait_until(lambda: not Path(f"{trace}-wal").exists(), "the end of the recorder")
    assert not Path(f"{trace}-shm").exists()
    small.press("q")
    small.wait_for(r"(?m)^exit code 0$")
    with closing(sqlite3.connect(trace)) as db:
        asked = db.execute("SELECT count(*) FROM events WHERE op = 'read' AND file LIKE '%tree/data'").fetchone()
    assert asked == (12,)


def test_sigterm_ends_the_view_and_the_program(small: Terminal, tree: Path) -> None:
    small.run(
        "run", "--live", "-q", *script(tree, "trap 'echo asked; exit 4' TERM", "pages 3", "while :; do sleep 0.1; done")
    )
    small.wait_for("tree/data +3 ")
    run, _ = run_and_view(small)
    os.kill(run, signal.SIGTERM)
    assert small.wait_for(r"(?m)^exit code").strip() == "asked\nexit code 4"
    assert small.modes == WHERE_IT_STOOD


def test_a_program_that_is_stopped_leaves_the_view_to_look_at(small: Terminal, tree: Path) -> None:
    """As by kill -TSTP to the whole group."""
    program = script(tree, "pages 3", "wait_", "kill -TSTP 0", "pages 4 3", "exit 9")
    small.shell("set -m; " + shlex.join([*RUN, "--live", "-q", *program]))  # a group of its own, which may be stopped
    small.wait_for("tree/data +3 ")
    run, view = run_and_view(small)
    go_on(tree)
    children = Path(f"/proc/{run}/task/{run}/children").read_text().split()
    (bash,) = (int(child) for child in children if Path(f"/proc/{child}/comm").read_text() == "bash\n")
    wait_until(lambda: state(bash) == "T", "the program to be stopped")
    assert state(view) != "T" and state(run) != "T"
    os.kill(bash, signal.SIGCONT)
    small.wait_for("ENDED: bash has ended")
    assert "tree/data" in small.wait_for(r"tree/data +7 ")
    small.press("q")
    small.wait_for(r"(?m)^exit code 9$")


def test_sigterm_closes_the_view_of_a_program_that_has_ended(small: Terminal, tree: Path) -> None:
    small.run("run", "--live", *script(tree, "echo said", "pages 3", "exit 6"))
    small.wait_for("ENDED: bash has ended")
    run, _ = run_and_view(small)
    os.kill(run, signal.SIGTERM)
    small.wait_for(r"(?m)^exit code 6$")
    assert re.search(r"^said\nstart: ", small.history, re.MULTILINE)


def test_a_view_that_is_killed_harms_nobody(small: Terminal, tree: Path) -> None:
    small.run("run", "--live", "-q", *script(tree, "echo held", "pages 3", "wait_", "stty -a < /dev/tty", "exit 3"))
    small.wait_for("tree/data +3 ")
    _, view = run_and_view(small)
    os.kill(view, signal.SIGKILL)
    assert small.wait_for("view ended").strip() == "held\nmapfs: the view ended: Killed"
    assert small.modes == WHERE_IT_STOOD
    go_on(tree)
    screen = small.wait_for(r"(?m)^exit code 3$")
    assert {"icanon", "echo", "isig", "icrnl"} <= set(screen.split())


def test_a_run_that_is_killed_takes_the_view_with_it(small: Terminal, tree: Path, nothing_is_left: Path) -> None:
    """Not the program, whose lines are shown, and which is served on. What the shell said is on the view's screen."""
    trace = tree.parent / "t.db"
    small.run("run", "--live", "-q", "-o", str(trace), *script(tree, "echo held", "pages 3", "wait_", "echo later"))
    small.wait_for("tree/data +3 ")
    run, _ = run_and_view(small)
    os.kill(run, signal.SIGKILL)
    assert small.wait_for("held").strip() == "held"
    assert small.modes == WHERE_IT_STOOD
    go_on(tree)
    small.wait_for("later")
    wait_until(lambda: not Path(f"{trace}-wal").exists(), "the end of the recorder")
    (place,) = nothing_is_left.iterdir()
    place.rmdir()


def test_a_terminal_that_goes_away_takes_all_with_it(small: Terminal, tree: Path) -> None:
    small.run("run", "--live", "-q", *script(tree, "pages 3", "wait_"))
    small.wait_for("tree/data +3 ")
    watched = run_and_view(small)
    small.close()
    wait_until(lambda: {state(pid) for pid in watched} == {"Z"}, "the end of both")


def test_a_program_that_cannot_be_started_leaves_the_terminal_as_it_was(small: Terminal, tree: Path) -> None:
    lost = tree / "lost"
    lost.write_text("#!/no/such/interpreter\n")
    lost.chmod(0o755)
    small.run("run", "--live", "--tree", str(tree), "--", str(lost))
    small.wait_for(r"(?m)^exit code 127$")
    assert "its interpreter may be missing" in small.history
    assert small.modes == WHERE_IT_STOOD


def test_where_there_is_no_terminal_a_sentence_and_no_program(tmp_path: Path) -> None:
    made = tmp_path / "made"
    done = subprocess.run(
        [*RUN, "--live", "--", "touch", str(made)],
        start_new_session=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WITHIN, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--live needs a terminal; without one keep the trace with -o TRACE" in done.stderr
    assert not made.exists()


def test_in_the_background_likewise(small: Terminal, tmp_path: Path) -> None:
    made = tmp_path / "made"
    small.shell(f"set -m; {shlex.join([*RUN, '--live', '--', 'touch', str(made)])} & wait $!")
    assert "--live needs the terminal, where something else runs" in small.wait_for(r"(?m)^exit code 2$")
    assert not made.exists()


def test_without_textual_it_says_what_to_install_before_the_program_runs(small: Terminal, tmp_path: Path) -> None:
    (tmp_path / "textual.py").write_text("raise ModuleNotFoundError(name='textual')")
    made = tmp_path / "made"
    small.run("run", "--live", "--", "touch", str(made), PYTHONPATH=str(tmp_path))
    assert "install it with pip install 'mapfs[live]'" in small.wait_for(r"(?m)^exit code 1$")
    assert not made.exists()


def test_a_trace_that_is_still_written_is_followed(small: Terminal, tree: Path, tmp_path: Path) -> None:
    """`mapfs live --follow`: what there is at once, and what comes, until the mount ends."""
    trace = tmp_path / "t.db"
    mount = tmp_path / "mount"
    mount.mkdir()
    mapfs("mount", str(mount), "a=pages:64p", "--daemon", "-q", "--trace", str(trace))
    try:
        client("touch", f"{mount}/a", "0-9")
        small.run("live", "--follow", str(trace))
        assert " LIVE " in small.wait_for(r"^a +10 |\na +10 ")
        client("touch", f"{mount}/a", "20-24")
        small.wait_for(r"\na +15 ")
    finally:
        mapfs("umount", str(mount))
    small.wait_for("ENDED: the mount has ended")
    small.press("q")
    assert "next: mapfs summary" in small.wait_for(r"(?m)^exit code 0$")


def test_sigterm_to_live_leaves_the_terminal_as_it_was(small: Terminal, tree: Path, tmp_path: Path) -> None:
    trace = tmp_path / "t.db"
    mapfs("run", "-q", "-o", str(trace), *script(tree, "pages 3"))
    small.run("live", str(trace))
    small.wait_for("REPLAY|ENDED")
    words = [b"mapfs", b"live", os.fsencode(trace), b""]
    (live,) = (p for p in Path("/proc").glob("[0-9]*") if (p / "cmdline").read_bytes().split(b"\0")[-4:] == words)
    os.kill(int(live.name), signal.SIGTERM)
    small.wait_for(r"(?m)^exit code 143$")
    assert small.modes == WHERE_IT_STOOD
