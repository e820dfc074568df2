"""What the kinds that are objects of this machine say when they cannot be opened."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mapfs.errors import MapfsError, SourceError, SpecError
from mapfs.sources import catalogue
from tests.contract.places import WITHIN, Place
from tests.contract.places_objects import Other, new_key, segment
from tests.contract.test_opening import nobody

NO_ID = "2147483000"  # IDs count up slowly
LARGEST = (1 << 63) - 1
ALSO = "write START-END in hex, as in /proc/PID/maps"


@pytest.fixture
def odd(place: Place) -> dict[str, str]:
    """Things that are no source of some kind, by the name that stands for them in a spec."""
    other = Other(place)
    file = place.file("file")
    shm = place.shm()
    reading, _ = other.tell("pipe")
    only_read, only_write = (other.tell("opened", str(file), flags) for flags in (os.O_RDONLY, os.O_WRONLY))
    folder = other.tell("opened", str(place.path), os.O_RDONLY)
    append = os.open(file, os.O_RDWR | os.O_APPEND)
    mine_only_read, mine_only_write = os.open(file, os.O_RDONLY), os.open(file, os.O_WRONLY)
    for fd in (append, mine_only_read, mine_only_write):
        place.stack.callback(os.close, fd)
    gone = subprocess.Popen(["true"])
    gone.wait(WITHIN)
    return {
        "OTHER": str(other.pid),
        "PIPE": str(reading),
        "O-READ": str(only_read),
        "O-WRITE": str(only_write),
        "O-DIR": str(folder),
        "FD-APPEND": str(append),
        "FD-READ": str(mine_only_read),
        "FD-WRITE": str(mine_only_write),
        "GONE": str(gone.pid),
        "SELF": str(os.getpid()),
        "SHM": shm.name,
        "HOME": str(place.path),
    }


NO_PROCESS = "there is no process GONE; ps -e lists those that there are"
NO_FD = "is not a process and a descriptor of it; write fd:PID:N, as in fd:1234:3"
NO_RANGE = "is no range of addresses; write START-END in hex, [heap], [stack] or a path"
NO_PAGES = "is neither a file nor a block device, so it has no pages to map"
NO_SEGMENT = "is no System V segment; write its key as 0x1f or its ID as 42 (ipcs -m)"
TOGETHER = "create and size= go together: a System V segment is made with its size, and keeps it"
REFUSED: list[tuple[str, type[MapfsError], str]] = [
    ("shm:,rw", SpecError, "shm: without a name lists all objects and takes no option of its own; name one"),
    ("shm:/,create", SpecError, "shm: without a name lists all objects and takes no option of its own; name one"),
    ("shm:SHM,size=4K", SpecError, "size= makes shared memory longer, so it takes rw or create too"),
    ("shm:SHM,rw,size", SpecError, "'' is not a size; write 4096, 64K, 1.5G or 3p (pages)"),
    ("shm:SHM,rw=1", SpecError, "rw takes no value; write rw alone"),
    ("shm:mapfs-missing,rw", SourceError, "cannot open shared memory 'mapfs-missing': No such file or directory; ls /dev/shm lists what there is"),
    ("shm:mapfs-missing,remove", SourceError, "cannot open shared memory 'mapfs-missing': No such file or directory; ls /dev/shm lists what there is"),
    ("memfd:", SpecError, "'' is not a size; write 4096, 64K, 1.5G or 3p (pages)"),
    ("memfd:4K,rw", SpecError, "memfd: has no option 'rw'; it takes none of its own (a comma in ARG is doubled)"),
    ("device:,rw", SpecError, "device: without a path lists the block devices and takes no size= and no rw"),
    ("device:HOME,rw", SourceError, "device 'HOME' is no device; write file: for a file and dir: for a directory"),
    ("device:HOME/file,rw", SourceError, "device 'HOME/file' is no device; write file: for a file and dir: for a directory"),
    ("fd:FD-READ,rw", SourceError, "descriptor FD-READ cannot be written: it is not open for reading and writing; start mapfs with <>FILE"),
    ("fd:FD-WRITE,rw", SourceError, "descriptor FD-WRITE cannot be read: it was opened for writing only"),
    ("fd:FD-APPEND,rw", SourceError, "descriptor FD-APPEND was opened for appending, where a write takes no offset; open it without O_APPEND"),
    ("fd:12:", SpecError, f"'12:' {NO_FD}"),
    ("fd::3", SpecError, f"':3' {NO_FD}"),
    ("fd:1:2:3", SpecError, f"'1:2:3' {NO_FD}"),
    ("fd:GONE:3", SourceError, NO_PROCESS),
    ("fd:OTHER:999", SourceError, "descriptor 999 of process OTHER is not open; ls -l /proc/OTHER/fd lists what is"),
    ("fd:OTHER:PIPE", SourceError, f"descriptor PIPE of process OTHER {NO_PAGES}"),
    ("fd:OTHER:O-DIR", SourceError, f"descriptor O-DIR of process OTHER {NO_PAGES}"),
    ("fd:OTHER:O-READ,rw", SourceError, "descriptor O-READ of process OTHER cannot be written: it is not open for reading and writing; leave rw out"),
    ("fd:OTHER:O-WRITE,rw", SourceError, "descriptor O-WRITE of process OTHER cannot be written: it is not open for reading and writing; leave rw out"),
    ("process:", SpecError, "'' is no process and range; write process:PID, or process:PID:RANGE as in 1:[heap]"),
    ("process:self", SpecError, "'self' is no process and range; write process:PID, or process:PID:RANGE as in 1:[heap]"),
    ("process:1:", SpecError, "'1:' is no process and range; write process:PID, or process:PID:RANGE as in 1:[heap]"),
    ("process:1:heap", SpecError, f"'heap' {NO_RANGE}"),
    ("process:1:1000", SpecError, f"'1000' {NO_RANGE}"),
    ("process:1:0x2000-0x1000", SpecError, f"'0x2000-0x1000' ends before it begins; {ALSO}"),
    ("process:1:1000-1000", SpecError, f"'1000-1000' ends before it begins; {ALSO}"),
    ("process:1:0-ffffffffffffffff", SpecError, "'0-ffffffffffffffff' is longer than a file can be"),
    ("process:GONE", SourceError, NO_PROCESS),
    ("process:GONE:[heap]", SourceError, NO_PROCESS),
    ("process:0", SourceError, "there is no process 0; ps -e lists those that there are"),
    ("process:SELF", SourceError, "process SELF is mapfs itself, whose memory changes by being read; name another"),
    ("process:OTHER:0-1000", SourceError, "process OTHER maps nothing at 0-1000; see /proc/OTHER/maps"),
    ("process:OTHER:/no/such", SourceError, "process OTHER maps nothing at /no/such; see /proc/OTHER/maps"),
    ("process:OTHER/x", SourceError, "process OTHER maps nothing that is called 'x'; list its directory"),
    ("sysv:", SpecError, f"'' {NO_SEGMENT}"),
    ("sysv:1f", SpecError, f"'1f' {NO_SEGMENT}"),
    ("sysv:0x123456789", SpecError, f"'0x123456789' {NO_SEGMENT}"),
    ("sysv:9999999999", SpecError, f"'9999999999' {NO_SEGMENT}"),
    ("sysv:0x0", SpecError, "the key 0x0 is that of every private segment (IPC_PRIVATE); write the ID (ipcs -m)"),
    ("sysv:12,create,size=4K", SpecError, "create makes a segment with a key, as in sysv:0x1f; the kernel chooses the ID"),
    ("sysv:0x12,create", SpecError, TOGETHER),
    ("sysv:0x12,rw,size=4K", SpecError, TOGETHER),
    ("sysv:0x12,create,size=0", SpecError, "a System V segment has at least one byte; write size=4K, for instance"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "error", "sentence"), REFUSED, ids=[spec for spec, _, _ in REFUSED])
def test_what_cannot_be_opened_says_why_in_one_sentence(
    odd: dict[str, str], spec: str, error: type[MapfsError], sentence: str
) -> None:
    for name, value in odd.items():
        spec, sentence = spec.replace(name, value), sentence.replace(name, value)
    refuses(spec, error, sentence)


def refuses(spec: str, error: type[MapfsError], sentence: str) -> MapfsError:
    """What opening `spec` raises, and that nothing stays open."""
    before = os.listdir("/proc/self/fd")
    with pytest.raises(error) as caught:
        catalogue.open_spec(catalogue.parse(spec))
    assert type(caught.value) is error
    assert str(caught.value) == sentence
    assert len(os.listdir("/proc/self/fd")) == len(before)
    return caught.value


def test_segments_that_are_not_there() -> None:
    pytest.importorskip("sysv_ipc")
    key = f"{new_key():#x}"
    refuses(f"sysv:{key}", SourceError, f"there is no System V segment {key}; ipcs -m lists what there is")
    refuses(f"sysv:{NO_ID}", SourceError, f"there is no System V segment {NO_ID}; ipcs -m lists what there is")
    refuses(f"sysv:{NO_ID},rw", SourceError, f"there is no System V segment {NO_ID}; ipcs -m lists what there is")


def test_a_segment_that_exists_with_less(place: Place) -> None:
    _, key, _ = segment(place, b"few")
    refuses(
        f"sysv:{key:#x},create,size=1M",
        SourceError,
        f"System V segment {key:#x} exists with less than 1048576 bytes, or so many cannot be had",
    )


def test_a_segment_that_is_too_large() -> None:
    pytest.importorskip("sysv_ipc")
    key = f"{new_key():#x}"
    with pytest.raises(SourceError, match="cannot be had"):
        catalogue.open_spec(catalogue.parse(f"sysv:{key},create,size={LARGEST}"))
    refuses(f"sysv:{key}", SourceError, f"there is no System V segment {key}; ipcs -m lists what there is")


def test_the_package_that_is_missing() -> None:
    """In a program of its own, whose import of it fails as where it is not installed."""
    program = (
        "import sys; sys.modules['sysv_ipc'] = None\n"
        "from mapfs.sources import catalogue\n"
        "try: catalogue.open_spec(catalogue.parse('sysv:0x12'))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=WITHIN)
    assert run.stdout == ("SourceError sysv: needs the package sysv_ipc; install it with pip install 'mapfs[sysv]'\n")


def test_memory_that_is_too_much(place: Place) -> None:
    name = "mapfs-test-too-much"
    with resource_limit(1 << 20):
        refuses("memfd:2M", SourceError, "anonymous memory of 2097152 bytes cannot be had: File too large")
        refuses(
            f"shm:{name},create,size=2M",
            SourceError,
            f"shared memory {name!r} cannot be made 2097152 bytes long: File too large",
        )
    assert not os.path.exists(f"/dev/shm/{name}"), "what was made for a source that cannot be had is removed"


@contextlib.contextmanager
def resource_limit(size: int) -> Iterator[None]:
    """No file may become longer than `size` bytes."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("spec", ["process:{pid}", "process:{pid}:[heap]", "fd:{pid}:{fd}"])
def test_what_is_another_users(place: Place, spec: str) -> None:
    if os.geteuid():
        pytest.skip("takes root, to be two users")
    other = Other(place)
    spec = spec.format(pid=other.pid, fd=other.tell("memfd", str(place.file())))
    with nobody():
        error = refuses(
            spec,
            SourceError,
            f"process {other.pid} is not yours to look into: Permission denied; run mapfs as its user or as root, "
            "with the right to trace it (ptrace(2), /proc/sys/kernel/yama/ptrace_scope)",
        )
    assert isinstance(error, SourceError) and error.errno == 13


def test_memory_that_is_another_users(place: Place) -> None:
    if os.geteuid():
        pytest.skip("takes root, to be two users")
    shm = place.shm()
    shm.chmod(0o644)
    _, key, number = segment(place)
    with nobody():
        for spec, what, rights in (
            (f"sysv:{key:#x}", f"{key:#x}", "read"),
            (f"sysv:{number}", f"{number}", "read"),
            (f"sysv:{number},rw", f"{number}", "read and written"),
        ):
            sentence = f"System V segment {what} may not be {rights} by this user; ipcs -m shows who may"
            refuses(spec, SourceError, sentence)
        refuses(
            f"shm:{shm.name},remove",
            SourceError,
            f"shared memory {shm.name!r} belongs to another user, who alone may remove it; leave remove out",
        )
        refuses(
            f"shm:{shm.name},rw",
            SourceError,
            f"cannot open shared memory {shm.name!r}: Permission denied; run as a user who may read it",
        )


def test_a_segment_that_only_its_owner_may_remove(place: Place) -> None:
    if os.geteuid():
        pytest.skip("takes root, to be two users")
    sysv_ipc = pytest.importorskip("sysv_ipc")
    _, _, number = segment(place)
    sysv_ipc.attach(number).mode = 0o644
    with nobody():
        refuses(
            f"sysv:{number},remove",
            SourceError,
            f"System V segment {number} belongs to another user, who alone may remove it; leave remove out",
        )


def test_a_thread_of_the_kernel_has_no_memory(place: Place) -> None:
    with open("/proc/2/comm", encoding="ascii") as name:
        if name.read() != "kthreadd\n":
            pytest.skip("in a container: no threads of the kernel")
    if os.geteuid():
        pytest.skip("takes root")
    with pytest.raises(SourceError, match="process 2 has (no memory: it is a thread of the kernel, or has )?ended"):
        catalogue.open_spec(catalogue.parse("process:2"))


def test_a_thread_is_no_process() -> None:
    import threading

    leave = threading.Event()
    thread = threading.Thread(target=leave.wait, args=(WITHIN,))
    thread.start()
    try:
        refuses(
            f"process:{thread.native_id}",
            SourceError,
            f"{thread.native_id} is a thread of process {os.getpid()}; name the process",
        )
    finally:
        leave.set()
        thread.join(WITHIN)
