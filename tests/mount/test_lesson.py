"""`mapfs lesson`: real processes on real mounts, a verdict from what was measured, and nothing left behind."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mapfs.errors import MapfsError
from mapfs.fuse.device import TYPE, mount_points
from mapfs.lessons import NAMES, copy_on_write, demand_paging, sharing
from mapfs.lessons.client import Client
from mapfs.lessons.give import give
from mapfs.lessons.lesson import Lesson
from mapfs.lessons.stage import Settings
from mapfs.lessons.teller import Teller
from mapfs.trace.evidence import tiers
from tests.mount.test_places import needs_root
from tests.support import ROOT, WITHIN, mapfs, wait_until

PAGE = os.sysconf("SC_PAGE_SIZE")
BEST = next(tier for tier in reversed(tiers.TIERS) if tiers.refused(tier) is None)
#: What each lesson cannot show with less evidence: how its claims begin.
UNSEEN = {
    tiers.REQUESTS_ALONE: {
        "sharing": ["pages SHARED"],
        "read-ahead": ["page 84 counts as AHEAD"],
        "mmap-vs-read": ["how each came"],
        "eviction": ["pages that were seen leaving"],
    },
    tiers.FAULTS: {"mmap-vs-read": ["how each came"], "eviction": ["pages that were seen leaving"]},
    tiers.KERNEL: {},
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where lessons make their directories and mounts; empty when they are over."""
    where = tmp_path / "tmp"
    where.mkdir()
    monkeypatch.setenv("TMPDIR", str(where))
    monkeypatch.setattr(tempfile, "tempdir", str(where))
    yield where
    assert list(where.iterdir()) == []
    assert processes(where) == []


def processes(where: Path) -> list[str]:
    """The processes that were started for a lesson below `where`."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(where) in line:
            found.append(line)
    return found


def given(*args: str, code: int = 0) -> list[dict[str, Any]]:
    """The JSON of lessons."""
    done = mapfs("lesson", "--json", *args, check=False)
    assert (done.returncode, done.stderr) == (code, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def verdicts(outcome: dict[str, Any]) -> dict[str, bool | None]:
    return {claim["claim"]: claim["verdict"] for claim in outcome["claims"]}


@pytest.mark.parametrize("name", NAMES)
def test_each_lesson_is_borne_out(name: str) -> None:
    (outcome,) = given(name)
    assert (outcome["lesson"], outcome["evidence"], outcome["verdict"]) == (name, BEST, True)
    unseen = [claim for claim, verdict in verdicts(outcome).items() if verdict is None]
    begins = UNSEEN[BEST].get(name, [])
    assert len(unseen) == len(begins) and all(map(str.startswith, unseen, begins))
    assert outcome["events"] and all(claim["measured"] is not None or claim["why"] for claim in outcome["claims"])


@pytest.mark.parametrize("tier", [tiers.REQUESTS_ALONE, tiers.FAULTS])
def test_what_lesser_evidence_cannot_show_is_no_claim(tier: str) -> None:
    if tiers.refused(tier) is not None:
        pytest.skip(f"there is no evidence of the tier {tier} here")
    outcomes = given("--evidence", tier, *UNSEEN[tier])
    for outcome in outcomes:
        assert (outcome["evidence"], outcome["verdict"]) == (tier, True)
        (claim,) = [claim for claim in outcome["claims"] if claim["verdict"] is None]
        assert claim["claim"].startswith(UNSEEN[tier][outcome["lesson"]][0])
        assert claim["measured"] is None and f"this is {tier}" in claim["why"]
    assert [outcome["lesson"] for outcome in outcomes] == [*UNSEEN[tier]]


def test_what_was_measured_is_in_the_events() -> None:
    outcomes = {outcome["lesson"]: outcome for outcome in given("demand-paging", "eviction", "sigbus", "loading")}

    def of(name: str) -> list[tuple[str, str, str, int, int]]:
        return [
            (one["op"], one["class"], one["command"], one["page"], one["pages"]) for one in outcomes[name]["events"]
        ]

    assert of("demand-paging") == [("read", "COLD", "reader", page, 1) for page in (3, 17, 40)]
    assert [one[2:] for one in of("eviction") if one[1] == "REFAULT"] == [("reader", page, 1) for page in range(10, 14)]
    assert {one[3] for one in of("sigbus") if one[1] == "ERROR"} == {3}
    assert {one["file"] for one in outcomes["loading"]["events"]} >= {"program/sort", "program/libc.so.6"}


def test_all_of_them_are_told_in_80_columns() -> None:
    done = mapfs("lesson", "--all", "--yes")
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
    assert f"{len(NAMES)} of {len(NAMES)} lessons borne out" in done.stdout
    assert [name for name in NAMES if not re.search(rf"^{name}: ", done.stdout, re.MULTILINE)] == []
    assert re.search(r"^  COLD     reader/\d+ +book +page 17 ", done.stdout, re.MULTILINE)
    assert "\x1b" not in done.stdout and "\nNO" not in done.stdout
    assert done.stdout.endswith("\nnext: mapfs mount /tmp/x\n")


def test_without_a_name_they_are_listed() -> None:
    lines = mapfs("lesson").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [*NAMES, "next:"] and max(map(len, lines)) <= 80
    told = [json.loads(line) for line in mapfs("lesson", "--json").stdout.splitlines()]
    assert [one["lesson"] for one in told] == [*NAMES] and all(one["title"] for one in told)


def test_what_makes_no_sense_is_a_sentence() -> None:
    for args, sentence in (
        (("nought",), "there is no lesson 'nought'; mapfs lesson lists them"),
        (("sharing", "--all"), "give names or --all, not both"),
        (("sharing", "--readahead", "many"), "'many' is not a size"),
    ):
        done = mapfs("lesson", *args, check=False)
        assert done.returncode == 2 and sentence in done.stderr and done.stdout == ""


def test_a_mount_that_reads_ahead_contradicts_demand_paging() -> None:
    done = mapfs("lesson", "demand-paging", "--readahead", "128K", check=False)
    assert done.returncode == 1 and done.stderr == ""
    assert re.search(
        r"^NO   pages asked for by touching three: .*\n.*should have been 3, 17, 40$", done.stdout, re.MULTILINE
    )
    assert "The evidence contradicts this lesson" in done.stdout
    (outcome,) = given("demand-paging", "--readahead", "128K", code=1)
    assert outcome["verdict"] is False
    assert verdicts(outcome)["requests made by mapping 64 pages"] is True, "this is so all the same"
    (asked,) = [one for one in outcome["claims"] if one["claim"] == "pages asked for by touching three"]
    assert asked["expected"] == [3, 17, 40] and set(asked["measured"]) > {3, 17, 40} and not asked["verdict"]


def test_a_mount_that_does_not_read_ahead_contradicts_read_ahead() -> None:
    (outcome,) = given("read-ahead", "--readahead", "0", code=1)
    assert outcome["verdict"] is False
    (brought,) = [one for one in outcome["claims"] if one["claim"] == "pages that they brought"]
    assert (brought["expected"], brought["measured"]) == ((128 << 10) // PAGE, 1)


def otherwise(module: Any, monkeypatch: pytest.MonkeyPatch, **changed: object) -> dict[str, Any]:
    """The outcome of a lesson whose text stays what it is, while something else is done."""
    for name, value in changed.items():
        monkeypatch.setattr(module, name, value)
    lesson: Lesson = module.LESSON
    return give(lesson, Teller(silent=True), Settings()).as_json()


def test_a_lesson_in_which_something_else_is_done_is_contradicted(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = otherwise(demand_paging, monkeypatch, TOUCHED=(3, 17))
    assert outcome["verdict"] is False
    assert verdicts(outcome)["pages of 64 in the page cache afterwards"] is False


def test_a_writer_that_shares_contradicts_copy_on_write(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sharing(Client):
        def ask(self, order: str) -> list[int]:
            return super().ask("map write" if order == "map private" else order)

    monkeypatch.setattr("mapfs.lessons.stage.Client", Sharing)
    outcome = otherwise(copy_on_write, monkeypatch)
    assert verdicts(outcome)["what each sees in page 3 now"] is False
    assert outcome["verdict"] is False


def test_a_process_that_dies_is_a_sentence_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "PAGES", (3, 999))  # beyond the end: an IndexError there
    with pytest.raises(MapfsError, match="the process 'first' of this lesson ended by exit code 1 at 'touch 3 999'"):
        give(sharing.LESSON, Teller(silent=True), Settings())


@contextmanager
def at_a_terminal(*args: str, **env: str) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[str], str], int]]:
    """A lesson with a terminal of its own: the process, what waits for a text and gives all up to it, the terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mapfs", "lesson", *args],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, cwd=ROOT,
        env={**os.environ, "TERM": "xterm", **env}, preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
    )  # fmt: skip
    os.close(theirs)
    seen = b""

    def until(text: str) -> str:
        nonlocal seen
        while text.encode() not in seen:
            assert select.select([ours], [], [], WITHIN)[0], f"no {text!r} in {seen!r}"
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # EIO: nobody has the other end any more
                piece = b""
            assert piece, f"no {text!r} in {seen!r}"
            seen += piece
        return seen.decode().replace("\r\n", "\n")

    try:
        yield process, until, ours
    finally:
        process.kill()
        process.wait(WITHIN)
        os.close(ours)


def test_predictions_are_asked_for_and_held_against_what_was_measured() -> None:
    with at_a_terminal("demand-paging", "sigbus", NO_COLOR="1") as (process, until, terminal):
        until("Your prediction, a number: ")
        os.write(terminal, b"many\n")
        assert "'many' is not a valid integer" in until("a number: many\n".replace("\n", "\r\n")) + until("integer")
        os.write(terminal, b"64\n")
        assert "You predicted: 64. Measured: 3\n" in until("Your prediction, 1 to 3: ")
        os.write(terminal, b"3\n")
        told = until("next: mapfs mount /tmp/x")
        assert "You predicted it: it is killed by SIGBUS\n" in told and "You predicted 1 of 2.\n" in told
        assert "\x1b" not in told and "Think first" not in told
        assert process.wait(WITHIN) == 0


def test_yes_asks_nothing_and_colours_are_for_terminals() -> None:
    with at_a_terminal("demand-paging", "--yes", NO_COLOR="", FORCE_COLOR="") as (process, until, _):
        told = until("next: mapfs lesson sharing")
        assert "Think first" in told and "Your prediction" not in told
        assert "\x1b[36mCOLD   \x1b[0m" in told and "\x1b[32myes\x1b[0m" in told
        assert process.wait(WITHIN) == 0


def test_ctrl_c_at_a_question_ends_it() -> None:
    with at_a_terminal("sharing") as (process, until, terminal):
        until("Your prediction, a number: ")

        def ended() -> bool:  # again and again: input(3) may miss one that comes just before it waits
            os.write(terminal, b"\x03")
            return process.poll() is not None

        wait_until(ended, "the end")
        assert process.returncode == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_its_midst_leaves_nothing(place: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mapfs", "lesson", "--all", "--yes"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: mounts(place) != [] and processes_named("reader", process.pid), "a client of the lesson")
        os.killpg(process.pid, number)  # as a terminal does
        _, said = process.communicate(timeout=WITHIN)
    finally:
        process.kill()
        process.wait(WITHIN)
    assert process.returncode == (130 if number == signal.SIGINT else 128 + number)
    assert "Traceback" not in said
    assert mounts(place) == []


@pytest.mark.parametrize("whole", [True, False], ids=["a terminal's", "to it alone"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_mount_is_being_made_leaves_nothing(
    place: Path, number: signal.Signals, whole: bool
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mapfs", "lesson", "sharing", "--yes"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: processes(place) != [], "the daemon's process")
        os.killpg(process.pid, number) if whole else process.send_signal(number)
        _, said = process.communicate(timeout=WITHIN)
    finally:
        process.kill()
        process.wait(WITHIN)
    assert process.returncode == (130 if number == signal.SIGINT else 128 + number)
    assert said.strip() == "" and mounts(place) == []


def test_a_reader_that_has_seen_enough_leaves_nothing(place: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", '"$0" -m mapfs lesson --all --yes | head -3; exit "${PIPESTATUS[0]}"', sys.executable],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WITHIN * 2, check=False, cwd=ROOT,
    )  # fmt: skip
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 3)
    assert mounts(place) == []


def mounts(place: Path) -> list[str]:
    return [one.path for one in mount_points() if one.type == TYPE and one.path.startswith(str(place))]


def processes_named(name: str, parent: int) -> bool:
    """Whether the process `parent` has a child that calls itself `name`."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        try:
            if Path(f"/proc/{child}/comm").read_text().strip() == name:
                return True
        except OSError:
            continue
    return False


PLAIN = """
mount --bind "$NODE" /dev/fuse
exec setpriv --reuid 65534 --regid 65534 --clear-groups "$PYTHON" -m mapfs lesson --all --json
"""


@pytest.mark.timeout(700)
@needs_root
def test_a_plain_user_is_taught_too(readable_python: str, place: Path) -> None:
    home = Path(readable_python).parents[2]
    work = home / "lessons"
    work.mkdir()
    os.chown(work, 65534, 65534)
    node = home / "lesson-fuse"
    os.mknod(node, 0o666 | 0o020000, os.makedev(10, 229))
    os.chmod(node, 0o666)
    done = subprocess.run(
        ["unshare", "--mount", "--", "bash", "-euc", PLAIN],
        env={
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "NODE": str(node), "PYTHON": readable_python, "TMPDIR": str(work),
            "HOME": str(work), "PYTHONDONTWRITEBYTECODE": "1",
        },
        cwd=home / "src", capture_output=True, text=True, timeout=WITHIN * 4, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["lesson"], one["verdict"]) for one in outcomes] == [(name, True) for name in NAMES]
    assert {one["evidence"] for one in outcomes} == {tiers.FAULTS}
    for outcome in outcomes:
        unseen = [claim for claim, verdict in verdicts(outcome).items() if verdict is None]
        assert len(unseen) == len(UNSEEN[tiers.FAULTS].get(outcome["lesson"], []))
    assert list(work.iterdir()) == []
