"""`mapfs run`: real programs in a namespace of their own, compared with the same programs without mapfs."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import sqlite3
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mapfs.fuse.device import mount_points
from tests.mount.test_places import needs_root
from tests.support import ROOT, WITHIN, mapfs, wait_until

RUN = [sys.executable, "-m", "mapfs", "run"]
PAGE = os.sysconf("SC_PAGE_SIZE")
# what a program is given, but for the process ids that differ in each run
GIVEN = """
import json, os, resource, sys
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "argv": sys.argv, "directory": os.getcwd(), "environment": dict(os.environ),
    "descriptors": sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
        if int(fd) > 2 and os.path.exists(f"/proc/self/fd/{fd}")),
    "signals": [status[name] for name in ("SigBlk", "SigIgn", "SigCgt")],
    "who": [status[name] for name in ("Uid", "Gid", "Groups", "CapEff", "NoNewPrivs", "Seccomp")],
    "umask": status["Umask"], "group": os.getpgrp(), "session": os.getsid(0),
    "limits": {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT")},
    "input": sys.stdin.read(),
}))
print("to standard error", file=sys.stderr)
sys.exit(3)
"""


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The runs of a test make their directories in the one that is given here, and leave none, no mount, no process."""
    place = tmp_path / "runs"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    yield place
    wait_until(lambda: not processes_with(f"TMPDIR={place}"), "the end of all processes")
    assert [mount.path for mount in mount_points() if mount.path.startswith(str(place))] == []
    assert list(place.iterdir()) == []


def processes_with(setting: str) -> list[str]:
    """The living processes that were started with this in their environment."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (directory / "environ").read_bytes().split(b"\0")
            if setting.encode() in words and (directory / "stat").read_text().rpartition(") ")[2][0] != "Z":
                found.append(f"{directory.name} {(directory / 'cmdline').read_bytes()!r}")
    return found


def run(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`mapfs run` with these arguments."""
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "cwd": ROOT, **options}
    return subprocess.run(
        [*RUN, *args], capture_output=True, text=True, timeout=WITHIN * 2, check=False,
        **given,
    )  # fmt: skip


def same(*argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Asserts that output and exit code are those of a run without mapfs; the run with it."""
    if "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    given: dict[str, Any] = {"capture_output": True, "text": True, "timeout": WITHIN * 2, "check": False, **options}
    alone = subprocess.run([*argv], **given)
    watched = subprocess.run([*RUN, "-q", "--", *argv], **given)
    assert (watched.stdout, watched.stderr, watched.returncode) == (alone.stdout, alone.stderr, alone.returncode)
    return watched


def requested(trace: Path) -> dict[str, set[int]]:
    """The pages of each file that a trace has requests for."""
    connection = sqlite3.connect(trace)
    try:
        assert connection.execute("SELECT count(*) FROM losses").fetchone() == (0,)
        found: dict[str, set[int]] = {}
        for path, offset, size in connection.execute(
            "SELECT path, offset, r.size FROM requests r JOIN files f ON f.id = r.file WHERE op = 1 AND errno = 0"
        ):
            found.setdefault(path, set()).update(range(offset // PAGE, -(-(offset + size) // PAGE)))
        return found
    finally:
        connection.close()


@pytest.mark.parametrize(
    "argv",
    [
        (sys.executable, "-c", "import json; print(json.dumps([1]))"),
        ("sqlite3", ":memory:", "select sum(value) from generate_series(1, 10)"),
        ("bash", "-c", "seq 100 | sort -r | (head -2; cat >/dev/null); ls /usr; cat <(echo one) <(echo two); exit 7"),
        ("sh", "-c", "kill -TERM $$"),
        (sys.executable, "-c", "import ctypes; ctypes.string_at(0)"),
        ("bash", "-c", "echo out; echo err >&2; false"),
    ],
    ids=["python", "sqlite3", "bash", "sigterm", "sigsegv", "false"],
)
def test_output_and_exit_code_are_those_of_the_program(argv: tuple[str, ...]) -> None:
    same(*argv)


def test_a_program_is_given_what_it_would_be_given_without_mapfs(tmp_path: Path) -> None:
    """Arguments, environment, directory, descriptors, signals, limits, user, group, session, input."""
    with open(tmp_path / "open", "w") as file:
        watched = same(
            sys.executable, "-c", GIVEN, "a b", "", "--json", "-x",
            cwd=tmp_path, input="line\nanother", env={**os.environ, "PWD": "/odd", "MARK": "ä"}, umask=0o027,
            pass_fds=[file.fileno()], preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        )  # fmt: skip
    said = json.loads(watched.stdout)
    assert said["descriptors"] == [str(tmp_path / "open")]
    assert int(said["signals"][1], 16) == 1 << signal.SIGHUP - 1 | 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1


def test_the_trace_has_executables_libraries_sections_and_pages(tmp_path: Path) -> None:
    trace = tmp_path / "t.db"
    done = run("-o", str(trace), "--json", "--", "ls", "-d", "/")
    assert (done.returncode, done.stdout) == (0, "/\n")
    said = json.loads(done.stderr)
    program = os.path.realpath("/bin/ls").lstrip("/")
    binaries = {row["file"]: row for row in said["binaries"]}
    libc = next(name for name in binaries if "/libc.so.6" in name)
    found = requested(trace)
    for name in (program, libc):
        sections = {row["section"]: row for row in binaries[name]["sections"]}
        assert 0 < sections[".text"]["needed"] <= sections[".text"]["of_pages"]
        assert binaries[name]["needed"] == len(found[name]) <= binaries[name]["of_pages"]
    assert binaries[libc]["symbols"] > 0
    (start,) = said["starts"]
    assert start["pages"] == sum(len(pages) for pages in found.values()) == said["summary"]["total"]["pages"]
    assert said["complete"] is True
    again = run("-o", str(trace), "--", "true")
    assert again.returncode == 1 and "mapfs: " in again.stderr
    assert run("-q", "-f", "-o", str(trace), "--", "true").returncode == 0
    assert requested(trace).keys() != found.keys()


def test_a_later_start_shares_what_the_first_demanded() -> None:
    done = run("--repeat", "3", "--json", "--", "ls", "-d", "/")
    assert done.stdout == "/\n" * 3
    said = json.loads(done.stderr)
    first, *later = said["starts"]
    assert first["pages"] > 0 and first["shared"] in (0, None)
    for start in later:
        # the machine may take a page away meanwhile: then it is a re-fault, and no page is demanded for the first time
        assert start["pages"] == start["demands"] == start["refaults"] < first["pages"]
        if said["evidence"] == "kernel":
            assert start["shared"] == first["pages"] - start["pages"]


def test_read_ahead_that_nobody_used_is_told(tmp_path: Path) -> None:
    done = run("--json", "--readahead", "128K", "--", "ls", "-d", "/")
    said = json.loads(done.stderr)
    (start,) = said["starts"]
    assert start["demands"] < start["pages"]
    if said["evidence"] == "kernel":
        alone = json.loads(run("--json", "--", "ls", "-d", "/").stderr)["starts"][0]
        assert 0 < start["unused"] < start["pages"]
        assert start["pages"] - start["unused"] >= alone["pages"] - alone["refaults"] - start["unused"]
    else:
        assert start["unused"] is None


SOURCE = """
#define FAR __attribute__((noinline, aligned(65536)))
FAR int never(int x) { return x * 3; }
FAR int last(int x) { return x + 1; }
FAR int unused(int x) { return x * 5; }
FAR int first(int x) { return x + 2; }
__attribute__((aligned(65536))) int main(void) { return first(last(first(0)) - 5) != 0; }
int (*volatile kept[])(int) = {never, unused};
"""


def test_the_order_of_symbols_is_one_for_a_linker(tmp_path: Path) -> None:
    """Of functions far apart, those that were called in the order of their calls; a linker puts them in this order."""
    source, program, order = tmp_path / "a.c", tmp_path / "a", tmp_path / "order"
    source.write_text(SOURCE)
    build = ["gcc", "-O1", "-fno-inline", "-ffunction-sections", "-fuse-ld=gold", "-o", str(program), str(source)]
    subprocess.run(build, check=True, timeout=WITHIN)
    done = run("-q", "--tree", str(tmp_path), "--symbol-order", str(order), "--", str(program))
    assert (done.returncode, done.stderr) == (0, "")
    ours = [name for name in order.read_text().split() if name in ("never", "unused", "first", "last", "main")]
    assert ours == ["main", "first", "last"]
    refused = run("-q", "--symbol-order", str(order), "--", str(program))
    assert refused.returncode == 2 and "--force" in refused.stderr

    sections = tmp_path / "sections"
    sections.write_text("".join(f".text.{name}\n" for name in ours))
    subprocess.run([*build, f"-Wl,--section-ordering-file={sections}"], check=True, timeout=WITHIN)
    named = subprocess.run(["nm", "-n", str(program)], capture_output=True, text=True, timeout=WITHIN, check=True)
    placed = [line.split()[2] for line in named.stdout.splitlines() if len(line.split()) == 3]
    assert [name for name in placed if name in ours] == ours
    assert run("-q", "-f", "--tree", str(tmp_path), "--symbol-order", str(order), "--", str(program)).returncode == 0


def test_a_report_of_the_run(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = run("-q", "--tree", str(tmp_path), "--tree", "/usr/bin", "--report", str(page), "--", "/usr/bin/env", "true")
    assert (done.returncode, done.stderr) == (0, "")
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>") and '"usr/bin/env"' in page.read_text("utf-8")
    refused = run("-q", "--report", str(page), "--", "true")
    assert refused.returncode == 2 and "replace it with --force" in refused.stderr


def test_without_symbols_a_sentence_and_the_programs_exit_code(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\nexit 4\n")
    script.chmod(0o755)
    done = run("-q", "--symbol-order", str(tmp_path / "order"), "--", str(script))
    assert done.returncode == 4 and "it must be an ELF file that is not stripped" in done.stderr
    assert not (tmp_path / "order").exists()


def test_standard_error_that_nobody_reads_does_not_change_the_exit_code() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with open(theirs, "w") as closed:
        done = subprocess.run(
            [*RUN, "--", "sh", "-c", "exit 3"],
            stdin=subprocess.DEVNULL, stderr=closed, timeout=WITHIN, check=False, cwd=ROOT,
        )  # fmt: skip
    assert done.returncode == 3


def test_a_run_within_a_run() -> None:
    """The mirror of a mirror."""
    done = run("-q", "--", *RUN, "--json", "--", "echo", "nested")
    assert (done.returncode, done.stdout) == (0, "nested\n")
    assert json.loads(done.stderr)["starts"][0]["pages"] > 0


def test_a_tree_of_its_own_and_a_single_file(tmp_path: Path) -> None:
    """Only what was named is seen, under the path that it has; what is written is written."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(b"a" * 3 * PAGE)
    (tmp_path / "model, odd.bin").write_bytes(b"m" * 5 * PAGE)
    (tmp_path / "other").write_text("unseen")
    (tmp_path / "link").symlink_to(tree)
    trace = tmp_path / "t.db"
    done = subprocess.run(
        [*RUN, "-q", "-o", str(trace), "--tree", str(tmp_path / "link"), "--file", str(tmp_path / "model, odd.bin"), "--",
         "bash", "-c", 'cat a ../other; dd if="../model, odd.bin" bs=4096 skip=3 count=1 status=none; echo more > b; pwd'],
        cwd=tree, capture_output=True, text=True, timeout=WITHIN, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout == "a" * 3 * PAGE + "unseen" + "m" * PAGE + f"{tree}\n"
    assert (tree / "b").read_text() == "more\n"
    name = str(tmp_path).lstrip("/")
    assert requested(trace) == {f"{name}/tree/a": {0, 1, 2}, f"{name}/model, odd.bin": {3}}


def test_rules_break_a_file_or_all(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 3 * PAGE)
    (tmp_path / "b").write_bytes(b"b" * 3 * PAGE)
    tree = str(tmp_path)
    one = run("--tree", tree, "--inject", f"{tree}/a:error=EIO@1", "--", "cat", f"{tree}/a", f"{tree}/b")
    assert one.returncode == 1 and one.stdout == "a" * PAGE + "b" * 3 * PAGE
    assert "Input/output error" in one.stderr
    everything = run("-q", "--tree", tree, "--inject", "error=EIO@2", "--", "cat", f"{tree}/a", f"{tree}/b")
    assert everything.stdout == "a" * 2 * PAGE + "b" * 2 * PAGE
    elsewhere = run("--tree", tree, "--inject", "/etc/passwd:error=EIO", "--", "true")
    assert elsewhere.returncode == 2 and "it is in no --tree" in elsewhere.stderr


@pytest.mark.parametrize(
    ("args", "code", "part"),
    [
        (("--", "no-such-program"), 127, "it is in no directory of PATH"),
        (("--", "/etc/passwd"), 126, "check its mode"),
        (("--", "./no-such"), 127, "check the path"),
        (("--tree", "/no-such", "--", "true"), 2, "does not exist"),
        (("--tree", "/", "--", "true"), 2, "cannot be mirrored"),
        (("--tree", "/etc/passwd", "--", "true"), 2, "write --file"),
        (("--file", "/etc", "--", "true"), 2, "write --tree"),
        (("--inject", "slow", "--", "true"), 2, "it is no rule"),
        (("--inject", "delay=slow", "--", "true"), 2, "is not a time"),
        ((), 2, "Missing argument"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(args: tuple[str, ...], code: int, part: str) -> None:
    done = run(*args)
    assert done.returncode == code and part in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_script_without_its_first_line_and_one_without_its_interpreter(tmp_path: Path) -> None:
    for name, text in (("plain", 'echo "$0 $1"'), ("lost", "#!/no/such/interpreter\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    assert run("-q", "--", str(tmp_path / "plain"), "x").stdout == f"{tmp_path}/plain x\n"
    lost = run("--", str(tmp_path / "lost"))
    assert lost.returncode == 127 and "its interpreter may be missing" in lost.stderr


def test_a_program_that_a_signal_kills_is_reported_by_the_same_signal() -> None:
    done = run("--", "sh", "-c", "kill -USR1 $$")
    assert done.returncode == -signal.SIGUSR1
    assert "mapfs: sh was killed by SIGUSR1 (User defined signal 1)" in done.stderr


def test_a_signal_to_mapfs_reaches_the_program() -> None:
    """And is the program's to answer."""
    script = 'trap "echo asked to end; exit 5" TERM; echo ready; while :; do sleep 0.1; done'
    with subprocess.Popen(
        [*RUN, "-q", "--", "bash", "-c", script], stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=WITHIN)
    assert (out, process.returncode) == ("asked to end\n", 5)


def test_a_signal_that_comes_before_the_program_is_started_ends_it_all() -> None:
    """The program that would be started a second time is not, and nothing is left."""
    with subprocess.Popen(
        [*RUN, "--repeat", "100000", "--", "sh", "-c", "echo up; trap '' TERM"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        process.stdout.readline()
        while process.poll() is None:  # until it comes between two starts: a program may ignore it
            process.send_signal(signal.SIGTERM)
            if not process.stdout.readline():
                break
        assert process.wait(WITHIN) == -signal.SIGTERM


class Terminal:
    """A shell with job control on a terminal of its own."""

    def __init__(self) -> None:
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], {**os.environ, "PS1": "$ ", "TERM": "dumb"})  # noqa: S606
        self.text = ""
        self.wait_for(r"\$ $")

    def type(self, text: str) -> None:
        """Types it."""
        self.text = ""
        os.write(self.fd, text.encode())

    def wait_for(self, pattern: str) -> "re.Match[str]":
        """What the terminal shows, once it matches."""
        while not (match := re.search(pattern, self.text, re.DOTALL)):
            assert select.select([self.fd], [], [], WITHIN)[0], f"{pattern!r} did not come: {self.text!r}"
            self.text += os.read(self.fd, 1 << 16).decode(errors="replace").replace("\r", "")
        return match

    def close(self) -> None:
        """Ends the shell, and what it runs."""
        os.close(self.fd)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def command(*args: str) -> str:
    return " ".join([sys.executable, "-m", "mapfs", "run", *args])


def test_ctrl_c_ends_the_program_and_mapfs_tells_what_it_needed(terminal: Terminal) -> None:
    terminal.type(command("--", "bash", "-c", "'echo up; exec sleep 600'") + "; echo code=$?\n")
    terminal.wait_for(r"\nup\n")
    terminal.type("\x03")
    terminal.wait_for(r"killed by SIGINT.*start: [^\n]*, killed by SIGINT; [^\n]*\n.*next: mapfs run.*\$ $")
    terminal.type("echo code=$?\n")
    terminal.wait_for(r"code=130\n")


def test_ctrl_c_is_the_programs_own_matter(terminal: Terminal) -> None:
    code = "import signal; signal.pthread_sigmask(0, {2}); print('up'); signal.sigwait({2}); print('caught'); exit(4)"
    terminal.type(command("-q", "--", sys.executable, "-uc", f'"{code}"') + "\n")
    terminal.wait_for(r"\nup\n")
    terminal.type("\x03")
    terminal.wait_for(r"caught\n.*\$ $")
    terminal.type("echo code=$?\n")
    terminal.wait_for(r"code=4\n")


def test_ctrl_z_stops_both_and_fg_goes_on(terminal: Terminal) -> None:
    terminal.type(command("-q", "--", "bash", "-c", "'echo up; read line; echo got $line; exit 6'") + "\n")
    terminal.wait_for(r"\nup\n")
    terminal.type("\x1a")
    terminal.wait_for(r"Stopped.*\$ $")
    terminal.type("jobs; fg\n")
    terminal.wait_for(r"Stopped.*mapfs run")
    terminal.type("text\n")
    terminal.wait_for(r"got text\n.*\$ $")
    terminal.type("echo code=$?\n")
    terminal.wait_for(r"code=6\n")


def test_a_shell_with_job_control_of_its_own_runs_below(terminal: Terminal) -> None:
    terminal.type(command("-q", "--", "bash", "--norc", "--noprofile", "-i") + "\n")
    terminal.wait_for(r"\$ $")
    terminal.type("sh -c 'echo up; exec sleep 600'\n")
    terminal.wait_for(r"\nup\n")
    terminal.type("\x1a")
    terminal.wait_for(r"Stopped +sh -c.*\$ $")
    terminal.type("kill %1; wait; tty; exit 9\n")
    terminal.wait_for(r"/dev/pts/\d+\n.*\$ $")
    terminal.type("echo code=$?\n")
    terminal.wait_for(r"code=9\n")
    assert termios.tcgetattr(terminal.fd)


DAEMON = """
import os, sys
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
null = os.open(os.devnull, os.O_RDWR)
for fd in range(3):
    os.dup2(null, fd)
with open(sys.argv[1], "w") as file:
    file.write(str(os.getpid()))
os.rename(sys.argv[1], sys.argv[2])
with open(sys.argv[3]) as pipe:  # until the test opens it
    pipe.read()
import decimal  # from the mount
os.rename(sys.argv[2], sys.argv[1])
"""


@pytest.mark.parametrize("how", ["wait", "--no-wait", "ctrl-c"])
def test_a_program_that_leaves_a_daemon_behind(how: str, tmp_path: Path) -> None:
    """It is waited for, or left alone and served on."""
    before, up, pipe, trace = (tmp_path / name for name in ("before", "up", "pipe", "t.db"))
    os.mkfifo(pipe)
    option = [how] if how.startswith("--") else []
    with subprocess.Popen(
        [*RUN, *option, "-o", str(trace), "--", sys.executable, "-c", DAEMON, str(before), str(up), str(pipe)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
    ) as process:  # fmt: skip
        assert process.stderr
        wait_until(up.exists, "the daemon")
        daemon = os.pidfd_open(int(up.read_text()))
        if how != "--no-wait":
            line = process.stderr.readline()
            assert f"/{up.read_text()} behind; waiting for the end" in line
            assert process.poll() is None
        if how == "ctrl-c":
            process.send_signal(signal.SIGINT)
        if how != "wait":
            _, said = process.communicate(timeout=WITHIN)
            assert process.returncode == 0 and "start: " in said
            assert select.select([daemon], [], [], 0)[0] == []
        pipe.write_text("go on")
        assert select.select([daemon], [], [], WITHIN)[0]
        os.close(daemon)
        assert before.exists() and not up.exists()
        _, said = process.communicate(timeout=WITHIN) if how == "wait" else ("", "")
        assert process.returncode == 0 and ("start: " in said or how != "wait")

    def complete() -> bool:
        connection = sqlite3.connect(trace)
        try:
            return bool(connection.execute("SELECT ended_ns FROM mount").fetchone()[0])
        finally:
            connection.close()

    wait_until(complete, "the end of the trace")
    wait_until(lambda: not Path(f"{trace}-wal").exists(), "the end of the recorder")
    assert any("decimal" in name for name in requested(trace))


def test_kill_9_of_mapfs_leaves_the_program_and_then_nothing(tmp_path: Path, nothing_is_left: Path) -> None:
    """The program is served on; daemon and mount end with it."""
    trace, pipe = tmp_path / "t.db", tmp_path / "pipe"
    os.mkfifo(pipe)
    script = f"echo $$; read line < {pipe}; ls /usr >/dev/null && echo $line"
    with subprocess.Popen(
        [*RUN, "-o", str(trace), "--", "bash", "-c", script],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        bash = os.pidfd_open(int(process.stdout.readline()))
        place = next(nothing_is_left.glob("mapfs-run-*"))
        process.kill()
        process.wait(WITHIN)
        pipe.write_text("still served\n")
        assert process.stdout.readline() == "still served\n"
        assert select.select([bash], [], [], WITHIN)[0]
        os.close(bash)
    wait_until(lambda: not Path(f"{trace}-wal").exists(), "the end of the recorder")
    assert os.path.realpath("/bin/ls").lstrip("/") in requested(trace)
    assert [path.name for path in place.iterdir()] == []
    place.rmdir()


def test_nobody_else_sees_the_mount(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    script = f"stat -c %d {tmp_path}; grep -c mapfs-run- /proc/self/mountinfo; echo up; read line"
    with subprocess.Popen(
        [*RUN, "-q", "--tree", str(tmp_path), "--", "bash", "-c", script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        device, named, up = (process.stdout.readline().strip() for _ in range(3))
        assert up == "up" and named == "0"
        assert int(device) != os.stat(tmp_path).st_dev
        assert [mount for mount in mount_points() if mount.device == int(device)] == []
        process.communicate("", timeout=WITHIN)


USERS = """
set -u
cd "$HOME"
"$PYTHON" -m mapfs run -o t.db --json -- bash -c 'id -u; id -g; ls -d /usr; exit 3' 2> said
echo "code $?"
tail -1 said
"$PYTHON" -m mapfs run --json --repeat 2 -- true 2>&1
"$PYTHON" -m mapfs run -q -- "$PYTHON" -c 'import json, os; print(json.dumps(os.getuid()))'
echo "code $?"
grep -c mapfs-run- /proc/self/mountinfo
ls -d "$TMPDIR"/mapfs-run-* 2>/dev/null
exit 0
"""


@pytest.mark.timeout(700)
@needs_root
def test_a_plain_user_runs_a_program_in_a_user_namespace(
    readable_python: str,
    tmp_path: Path,
) -> None:
    done = _as_user(readable_python, tmp_path, USERS)
    uid, gid, listed, code, said, repeated, second, second_code, mounts, *rest = done.stdout.splitlines()
    assert (uid, gid, listed, code) == ("65534", "65534", "/usr", "code 3"), done.stderr
    assert (second, second_code, mounts, rest) == ("65534", "code 0", "0", [])
    told = json.loads(said)
    assert told["starts"][0]["pages"] > 0
    one, two = json.loads(repeated)["starts"]
    assert one["pages"] > 0 and two["pages"] == two["refaults"]
    assert 0 < two["shared"] <= one["pages"], "by page faults alone, where not all are seen"
    assert any(".text" in {part["section"] for part in row["sections"]} for row in told["binaries"])


FORBID = """
import ctypes, os, platform, struct, sys
number = {"x86_64": 272, "aarch64": 97}[platform.machine()]  # of unshare(2)
code = b"".join(struct.pack("HBBI", *one) for one in [(0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000)])
kept = ctypes.create_string_buffer(code)
assert not ctypes.CDLL(None).prctl(22, 2, struct.pack("HQ", 4, ctypes.addressof(kept)))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@needs_root
def test_where_namespaces_are_forbidden_a_sentence_says_what_helps() -> None:
    """By a filter of system calls (seccomp(2)), as a container has it."""

    def forbidden(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", FORBID, "-m", "mapfs", *args],
            capture_output=True, text=True, timeout=WITHIN, check=False, cwd=ROOT,
        )  # fmt: skip

    done = forbidden("run", "--", "true")
    assert done.returncode == 1
    assert re.fullmatch(
        r"mapfs: cannot make a private mount namespace: unshare: Operation not permitted; run as root, or [^\n]*\n",
        done.stderr,
    )
    said = forbidden("doctor")
    assert said.returncode == 0 and "--  mapfs run is not possible: cannot make" in said.stdout
    assert "ok  mapfs run is possible" in mapfs("doctor").stdout


def _as_user(python: str, scratch: Path, script: str) -> subprocess.CompletedProcess[str]:
    home = Path(python).parents[2]
    place = home / "run"
    place.mkdir(exist_ok=True)
    os.chown(place, 65534, 65534)
    node = scratch / "fuse"
    os.mknod(node, 0o666 | 0o020000, os.makedev(10, 229))
    os.chmod(node, 0o666)
    return subprocess.run(
        [
            "unshare", "--mount", "--", "bash", "-euc",
            'mount --bind "$NODE" /dev/fuse; exec setpriv --reuid 65534 --regid 65534 --clear-groups bash -c "$SCRIPT"',
        ],
        env={
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "NODE": str(node), "SCRIPT": script, "PYTHON": python,
            "HOME": str(place), "TMPDIR": str(place), "PYTHONDONTWRITEBYTECODE": "1",
        },
        cwd=home / "src", capture_output=True, text=True, timeout=WITHIN * 2, check=False,
    )  # fmt: skip
