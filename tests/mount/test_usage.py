"""Bad input: one clear sentence, the right exit code, nothing mounted and nothing left behind."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mapfs.fuse.device import mounted_at
from tests.conftest import Mounter
from tests.support import WITHIN, Holder, client, mapfs, wait_until

BAD_FILES = [
    ("a=nonsense:x", 2, "no source of the kind 'nonsense'"),
    ("a=pagse:4p", 2, "did you mean pages:"),
    ("a", 2, "is not NAME=SPEC"),
    ("a=", 2, "is not a spec"),
    ("=zero:4K", 2, "is not a name"),
    ("../a=zero:4K", 2, "is not a name"),
    ("a//b=zero:4K", 2, "is not a name"),
    (".mapfs/x=zero:4K", 2, "is the control directory"),
    ("a=zero:4X", 2, "is not a size"),
    ("a=zero:-1", 2, "is not a size"),
    ("a=zero:9E", 2, "is not a size"),
    ("a=zero:99999999T", 2, "larger than a file can be"),
    ("a=zero:4K,seed=1", 2, "has no option 'seed'"),
    ("a=random:4K,seed=x", 2, "is not a seed"),
    ("a=random:4K,seed=1,seed=2", 2, "twice"),
    ("a=text:a\\q", 2, "is not an escape"),
    ("a=file:/does/not/exist", 1, "No such file or directory; check the path"),
    ("a=file:/etc", 1, "is a directory; mirror it with dir:/etc"),
    ("a=file:/dev/zero", 1, "is a device; write device:/dev/zero"),
    ("a=dir:/etc/hostname", 1, "is not a directory; write file:/etc/hostname"),
    ("a=dir:/does/not/exist", 1, "No such file or directory"),
    ("a=device:/dev/zero", 2, "character device, which has no size of its own; add size="),
    ("a=device:/dev/zero,size=many", 2, "is not a size"),
    ("a=device:/etc/hostname", 1, "is no device; write file:"),
    ("a=device:/dev/tty,size=4K", 1, "device '/dev/tty'"),
    ("a=shm:no-such-object", 1, "No such file or directory"),
    ("a=shm:a/b", 2, "is no shm name"),
    ("a=fd:99", 1, "is not open; start mapfs with 99<FILE"),
    ("a=fd:x", 2, "is not the number of a descriptor"),
]


def refused(code: int, sentence: str, *args: str) -> None:
    """`mapfs args` ends with `code` and exactly one line, which has `sentence` in it."""
    done = mapfs(*args, check=False)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    lines = done.stderr.splitlines()
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(lines) == 1 or lines[0].startswith("Usage: "), lines


@pytest.mark.parametrize(("text", "code", "sentence"), BAD_FILES)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, code: int, sentence: str) -> None:
    mount = tmp_path / "mnt"
    refused(code, sentence, "mount", str(mount), text)
    assert not mount.exists()


def test_names_that_clash_are_refused(tmp_path: Path) -> None:
    mount = str(tmp_path / "mnt")
    refused(2, "given twice", "mount", mount, "a=zero:4K", "a=zero:8K")
    refused(2, "to be a directory", "mount", mount, "a=zero:4K", "a/b=zero:8K")
    refused(2, "given twice", "mount", mount, "a/b=zero:4K", "a=zero:8K")
    assert not os.path.exists(mount)


def _file(path: Path) -> Path:
    path.write_text("x")
    return path


def _full(path: Path) -> Path:
    path.mkdir()
    _file(path / "x")
    return path


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda base: base / "no" / "mnt", "does not exist; make it with mkdir -p"),
        (lambda base: _file(base / "file"), "is not a directory"),
        (lambda base: _full(base / "full"), "is not empty; choose another directory, or cover it with --nonempty"),
    ],
)
def test_a_bad_mount_point_is_refused(tmp_path: Path, make: Callable[[Path], Path], sentence: str) -> None:
    refused(1, sentence, "mount", str(make(tmp_path)), "a=zero:4K")


def test_a_full_directory_is_covered_with_nonempty(mount: Mounter, tmp_path: Path) -> None:
    full = _full(tmp_path / "mnt")
    daemon = mount("a=pages:2p", "--nonempty")
    assert sorted(os.listdir(full)) == [".mapfs", "a"]
    assert daemon.umount() == 0
    assert os.listdir(full) == ["x"]


def test_what_is_mounted_already_is_refused(mount: Mounter) -> None:
    daemon = mount("a=pages:2p")
    refused(1, "is mounted already (fuse.mapfs); unmount it with mapfs umount", "mount", daemon.path, "a=zero:4K")
    assert client("touch", daemon.file("a"), "1")["numbers"] == [1]


def test_a_source_inside_the_mount_itself_is_refused(tmp_path: Path) -> None:
    full = _full(tmp_path / "mnt")
    for spec in (f"file:{full}/x", f"dir:{full}"):
        refused(1, "lies inside the mount point", "mount", str(full), f"a={spec}", "--nonempty")
    assert mounted_at(str(full)) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("colour = 1", "unknown key 'colour'"),
        ("threads = 'many'", "threads must be of the type int"),
        ("threads = true", "threads must be of the type int"),
        ("threads = 0", "threads must be 1 or more"),
        ("link = 'tight'", "link must be own or plain"),
        ("readahead = 'far'", "is not a size"),
        ("[files]\na = 3", "must be a spec in quotes"),
        ("[files]\na.b = 'zero:4K'", "must be a spec in quotes, or a table with the key spec"),
        ("[files]\na = { spec = 'zero:4K', delay = [1] }", "the option 'delay' of the file 'a' must be a string"),
        ("[files]\na = { spec = 'zero:4K', delay = '2h' }", "the longest is 1h"),
        ("[files]\na = { spec = 'zero:4K', delai = '2s' }", "zero: has no option 'delai'"),
        ("[files]\na.b = 'zero:4K'", "quote a name that holds a dot"),
        ("[files]\na = 'zero:'", "is not a size"),
        ("= 3", "is not TOML"),
        ("\xff", "is not TOML"),
    ],
)
def test_a_bad_toml_file_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    config = tmp_path / "mapfs.toml"
    config.write_bytes(text.encode("latin-1"))
    refused(2, sentence, "mount", str(tmp_path / "mnt"), "-c", str(config))
    assert not (tmp_path / "mnt").exists()


def test_a_toml_file_says_everything_and_the_command_line_overrides(mount: Mounter, tmp_path: Path) -> None:
    config = tmp_path / "mapfs.toml"
    config.write_text(
        f"mountpoint = '{tmp_path}/elsewhere'\nreadahead = '128K'\nthreads = 2\nlink = 'own'\n"
        f"trace = '{tmp_path}/t.db'\n[files]\n'a/b.bin' = 'pages:8p'\n"
    )
    daemon = mount("-c", str(config), "c=pages:2p", "--readahead", "0")
    assert client("touch", daemon.file("a/b.bin"), "2")["numbers"] == [2]
    assert client("touch", daemon.file("c"), "1")["numbers"] == [1]
    assert [(event["file"], event["pages"]) for event in daemon.events()] == [("a/b.bin", 1), ("c", 1)]
    assert daemon.umount() == 0
    assert (tmp_path / "t.db").exists()


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["mount"], 2, "where to mount is missing"),
        (["mount", "/tmp/x", "-c", "/does/not/exist"], 2, "cannot read /does/not/exist"),
        (["mount", "/tmp/x", "--threads", "0"], 2, "--threads"),
        (["mount", "/tmp/x", "--link", "x"], 2, "--link"),
        (["mount", "/tmp/x", "--readahead", "x"], 2, "is not a size"),
        (["mount", "/tmp/x", "--readahead", "1M", "--link=plain"], 2, "needs the own link"),
        (["mount", "/tmp/x", "--spin", "often"], 2, "'often' is not a time"),
        (["mount", "/tmp/x", "--spin", "off", "--link=plain"], 2, "need the own link"),
        (["mount", "/tmp/x", "--low-latency", "--link=plain"], 2, "need the own link"),
        (["mount", "/tmp/no-such-mapfs", "--trace", "/does/not/exist/t.db"], 1, "cannot write the trace"),
        (["log", "/does/not/exist"], 1, "does not exist; give a trace"),
        (["log", "/etc/hostname"], 1, "is not a trace"),
        (["log", "/etc"], 1, "no mapfs mount"),
        (["summary", "/etc/hostname"], 1, "is not a trace"),
        (["umount", "/does/not/exist"], 1, "nothing is mounted on"),
        (["umount", "/proc"], 2, "is no mapfs mount but proc"),
        (["nonsense"], 2, "No such command 'nonsense'"),
    ],
)
def test_a_bad_command_line_is_refused(args: list[str], code: int, sentence: str) -> None:
    refused(code, sentence, *args)


def test_a_trace_is_not_overwritten_but_with_force(mount: Mounter, tmp_path: Path) -> None:
    trace, mnt = tmp_path / "t.db", str(tmp_path / "refused")
    assert mount("a=zero:4K", "--trace", str(trace)).umount() == 0
    refused(
        1, "exists; choose another name, or replace it with --force", "mount", mnt, "a=zero:4K", "--trace", str(trace)
    )
    assert mount("a=zero:4K", "--trace", str(trace), "--force").umount() == 0
    other = _file(tmp_path / "precious")
    refused(1, "is not a trace, so --force", "mount", mnt, "a=zero:4K", "--trace", str(other), "--force")
    assert other.read_text() == "x"
    assert not os.path.exists(mnt)


def test_a_trace_of_a_mount_that_failed_is_not_left(tmp_path: Path) -> None:
    refused(
        1, "No such file", "mount", str(tmp_path / "mnt"), "a=file:/does/not/exist", "--trace", str(tmp_path / "t.db")
    )
    assert os.listdir(tmp_path) == []


def test_umount_of_a_busy_mount_says_who_and_lazy_detaches(mount: Mounter) -> None:
    daemon = mount("pages=pages:8p")
    with Holder(daemon.file("pages"), "3") as holder:
        refused(1, f"/{holder.said['pid']}; end them, or detach it with --lazy", "umount", daemon.path)
        assert mounted_at(daemon.path) is not None
        done = mapfs("umount", "--lazy", daemon.path)
        assert "ends with the last program" in done.stdout
        assert mounted_at(daemon.path) is None
        assert holder.release() == {"again": [3]}
    assert daemon.wait_end() == 0


def test_umount_of_a_busy_mount_of_an_unknown_daemon_does_not_detach_it(mount: Mounter) -> None:
    """Its process is not recognised, as from another pid namespace; that it answers is enough."""
    daemon = mount("pages=pages:8p", command=[sys.executable, "-m", "tests.faulty"])
    with Holder(daemon.file("pages"), "3") as holder:
        refused(1, "is busy", "umount", daemon.path)
        assert mounted_at(daemon.path) is not None
        holder.release()
    assert daemon.umount() == 0


def test_daemon_returns_when_the_mount_answers(tmp_path: Path) -> None:
    mount = str(tmp_path / "mnt")
    done = mapfs("mount", "--daemon", mount, "pages=pages:4p")
    try:
        assert re.search("is mounted; next: mapfs log -f ", done.stdout)
        assert client("touch", os.path.join(mount, "pages"), "2")["numbers"] == [2]
    finally:
        mapfs("umount", mount)
    assert not os.path.exists(mount)
    refused(1, "No such file", "mount", "--daemon", mount, "a=file:/does/not/exist")
    refused(1, "does not exist", "mount", "--daemon", str(tmp_path / "no" / "mnt"))


def test_doctor_finds_a_working_machine() -> None:
    done = mapfs("doctor")
    assert "one touch is one request, by the right process" in done.stdout
    assert "\x1b" not in done.stdout


def _asked(path: str) -> tuple[str, str]:
    """What `doctor --mounts` finds of the mount at `path`: others may be there, too."""
    done = mapfs("doctor", "--mounts", "--json", check=False)
    (found,) = [each for each in json.loads(done.stdout) if each["what"].startswith(f"{path} ")]
    assert found["state"] == "ok" or done.returncode == 1
    return found["state"], found["what"].removeprefix(f"{path} ")


def test_doctor_asks_the_mounts_that_there_are(mount: Mounter) -> None:
    daemon = mount("pages=pages:4p")
    fine = ("ok", "answers")
    wait_until(lambda: _asked(daemon.path) == fine, "an answer")  # one within 5 s, on a machine that may be busy
    assert daemon.all_events() == []
    daemon.process.send_signal(signal.SIGSTOP)
    assert _asked(daemon.path) == ("no", "does not answer within 5 s")
    daemon.process.send_signal(signal.SIGCONT)
    wait_until(lambda: _asked(daemon.path) == fine, "an answer")
    daemon.process.kill()
    daemon.wait_end()
    assert _asked(daemon.path) == ("no", "does not answer: Transport endpoint is not connected")


def test_a_restart_mounts_over_what_a_killed_daemon_left(mount: Mounter) -> None:
    first = mount("pages=pages:4p")
    kept = os.open(first.file("pages"), os.O_RDONLY)
    first.process.kill()
    first.wait_end()
    second = mount("pages=pages:4p")
    assert "was left by a daemon that was killed; it is detached" in second.lines[0]
    assert client("touch", second.file("pages"), "3")["numbers"] == [3]
    with pytest.raises(OSError, match="not connected"):
        os.pread(kept, 1, 0)
    with pytest.raises(OSError, match="not connected"):
        os.close(kept)
    assert second.umount() == 0
    assert mounted_at(second.path) is None


def test_a_daemon_that_only_hangs_keeps_its_mount(mount: Mounter) -> None:
    daemon = mount("pages=pages:4p")
    daemon.process.send_signal(signal.SIGSTOP)
    refused(1, "is mounted already (fuse.mapfs)", "mount", daemon.path, "pages=pages:4p")
    daemon.process.send_signal(signal.SIGCONT)
    assert client("touch", daemon.file("pages"), "1")["numbers"] == [1]


def test_output_that_nobody_reads_any_more_is_no_error(mount: Mounter) -> None:
    daemon = mount("pages=pages:4000p")
    client("touch", daemon.file("pages"), "0-3999")
    log = subprocess.Popen(
        [sys.executable, "-m", "mapfs", "log", daemon.path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert log.stdout and log.stderr
    assert "page 0" in log.stdout.readline()
    log.stdout.close()
    assert log.wait(WITHIN) == 0
    assert log.stderr.read() == ""
    log.stderr.close()


def test_follow_ends_with_ctrl_c_and_with_the_mount(mount: Mounter) -> None:
    daemon = mount("pages=pages:8p")
    command = [sys.executable, "-m", "mapfs", "log", "-f", daemon.path]
    logs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    client("touch", daemon.file("pages"), "5")
    for log in logs:
        assert log.stdout
        assert "page 5" in log.stdout.readline()
    logs[0].send_signal(signal.SIGINT)
    assert logs[0].wait(WITHIN) == -signal.SIGINT
    refused(1, "is busy", "umount", daemon.path)
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.wait_end() == 0
    assert logs[1].wait(WITHIN) == 0
    for log in logs:
        assert log.stdout
        log.stdout.close()


def test_wrappers_and_options_in_toml(mount: Mounter, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"x" * 8192)
    (tmp_path / "mapfs.toml").write_text(
        f"[files]\n'a.bin' = {{ spec = 'file:{tmp_path}/data', rw = true, error = 'EIO@1,7-', cow = false }}\n"
        "n = { spec = 'pages:4p', slice = '4096+8192', interval = 2, coherency = 'live' }\n"
    )
    daemon = mount("-c", str(tmp_path / "mapfs.toml"))
    assert os.getxattr(daemon.file("a.bin"), "user.mapfs.spec") == f"file:{tmp_path}/data,rw,error=EIO@1,,7-".encode()
    assert client("read", daemon.file("a.bin"), "0", "1")["data"] == "78"
    assert "errno" in client("read", daemon.file("a.bin"), "4096", "1")
    assert client("read", daemon.file("n"), "0", "1")["data"] == "01"
