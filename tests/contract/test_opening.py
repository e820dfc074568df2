"""What each kind says when it cannot be opened: one sentence, the right class of error, nothing left open."""

import contextlib
import os
from collections.abc import Iterator

import pytest

from mapfs.errors import MapfsError, SourceError, SpecError
from mapfs.sources import catalogue
from tests.contract.places import Place


@pytest.fixture
def odd(place: Place) -> dict[str, str]:
    """Things that are no source of some kind, by the name that stands for them in a spec."""
    os.mkfifo(place.path / "fifo")
    place.file("file")
    shm = place.shm()
    link, folder = shm.with_name(shm.name + "-link"), shm.with_name(shm.name + "-dir")
    link.symlink_to(shm)
    folder.mkdir()
    place.stack.callback(link.unlink)
    place.stack.callback(folder.rmdir)
    reading, writing = os.pipe()
    only_write = os.open(place.path / "file", os.O_WRONLY)
    only_path = os.open(place.path / "file", os.O_PATH)
    folder_fd = os.open(place.path, os.O_RDONLY)
    closed = os.dup(reading)
    os.close(closed)
    for fd in (reading, writing, only_write, only_path, folder_fd):
        place.stack.callback(os.close, fd)
    return {
        "HOME": str(place.path),
        "SHM-LINK": link.name,
        "SHM-DIR": folder.name,
        "FD-PIPE": str(reading),
        "FD-WRITE": str(only_write),
        "FD-PATH": str(only_path),
        "FD-DIR": str(folder_fd),
        "FD-CLOSED": str(closed),
    }


MISSING = "No such file or directory; check the path"
REFUSED: list[tuple[str, type[MapfsError], str]] = [
    ("file:", SourceError, f"cannot open file '': {MISSING}"),
    ("file:HOME/missing", SourceError, f"cannot open file 'HOME/missing': {MISSING}"),
    ("file:HOME/file/x", SourceError, "cannot open file 'HOME/file/x': Not a directory"),
    ("file:HOME", SourceError, "'HOME' is a directory; mirror it with dir:HOME"),
    ("file:HOME/fifo", SourceError, "'HOME/fifo' is not a regular file, so it has no pages to map"),
    ("file:/dev/zero", SourceError, "'/dev/zero' is a device; write device:/dev/zero"),
    ("dir:", SourceError, f"cannot open directory '': {MISSING}"),
    ("dir:HOME/missing", SourceError, f"cannot open directory 'HOME/missing': {MISSING}"),
    ("dir:HOME/file", SourceError, "'HOME/file' is not a directory; write file:HOME/file"),
    ("dir:HOME/fifo", SourceError, "'HOME/fifo' is not a directory; write file:HOME/fifo"),
    ("device:/dev/missing", SourceError, f"cannot open device '/dev/missing': {MISSING}"),
    ("device:HOME/file", SourceError, "device 'HOME/file' is no device; write file: for a file and dir: for a directory"),
    ("device:HOME", SourceError, "device 'HOME' is no device; write file: for a file and dir: for a directory"),
    ("device:HOME/fifo", SourceError, "device 'HOME/fifo' is no device; write file: for a file and dir: for a directory"),
    (
        "device:/dev/zero",
        SpecError,
        "device '/dev/zero' is a character device, which has no size of its own; add size=, as in size=64K",
    ),
    (
        "device:/dev/zero,size",
        SpecError,
        "device '/dev/zero' is a character device, which has no size of its own; add size=, as in size=64K",
    ),
    ("device:/dev/zero,size=x", SpecError, "'x' is not a size; write 4096, 64K, 1.5G or 3p (pages)"),
    ("device:,size=4K", SpecError, "device: without a path lists the block devices and takes no size= and no rw"),
    ("shm:missing-mapfs-test", SourceError, "cannot open shared memory 'missing-mapfs-test': No such file or directory; ls /dev/shm lists what there is"),
    ("shm:a/b", SpecError, "'a/b' is no shm name; it has no slash but a leading one (shm_overview(7))"),
    ("shm://a", SpecError, "'//a' is no shm name; it has no slash but a leading one (shm_overview(7))"),
    ("shm:..", SpecError, "'..' is no shm name; it has no slash but a leading one (shm_overview(7))"),
    ("shm:/.", SpecError, "'/.' is no shm name; it has no slash but a leading one (shm_overview(7))"),
    ("shm:SHM-LINK", SourceError, "cannot open shared memory 'SHM-LINK': Too many levels of symbolic links"),
    ("shm:SHM-DIR", SourceError, "shared memory 'SHM-DIR' is not a shared-memory object"),
    ("fd:", SpecError, "'' is not the number of a descriptor; write fd:3 and start mapfs with 3<FILE"),
    ("fd:x", SpecError, "'x' is not the number of a descriptor; write fd:3 and start mapfs with 3<FILE"),
    ("fd:-1", SpecError, "'-1' is not the number of a descriptor; write fd:3 and start mapfs with 3<FILE"),
    ("fd:\u0663", SpecError, "'\u0663' is not the number of a descriptor; write fd:3 and start mapfs with 3<FILE"),
    ("fd:9999999999", SpecError, "'9999999999' is not the number of a descriptor; write fd:3 and start mapfs with 3<FILE"),
    ("fd:999999999", SourceError, "descriptor 999999999 is not open; start mapfs with 999999999<FILE"),
    ("fd:FD-CLOSED", SourceError, "descriptor FD-CLOSED is not open; start mapfs with FD-CLOSED<FILE"),
    ("fd:FD-WRITE", SourceError, "descriptor FD-WRITE cannot be read: it was opened for writing only"),
    ("fd:FD-PIPE", SourceError, "descriptor FD-PIPE is neither a file nor a block device, so it has no pages to map"),
    ("fd:FD-DIR", SourceError, "descriptor FD-DIR is neither a file nor a block device, so it has no pages to map"),
    ("zero:", SpecError, "'' is not a size; write 4096, 64K, 1.5G or 3p (pages)"),
    ("pages:many", SpecError, "'many' is not a size; write 4096, 64K, 1.5G or 3p (pages)"),
    ("random:-1", SpecError, "'-1' is not a size; write 4096, 64K, 1.5G or 3p (pages)"),
    ("random:1K,seed=x", SpecError, "'x' is not a seed; write a number from 0 to 2^64-1, as in seed=42"),
    ("random:1K,seed=-1", SpecError, "'-1' is not a seed; write a number from 0 to 2^64-1, as in seed=42"),
    ("random:1K,seed=", SpecError, "seed= needs a number, as in seed=42"),
    ("random:1K,seed", SpecError, "seed= needs a number, as in seed=42"),
    (
        f"random:1K,seed={2**64}",
        SpecError,
        f"'{2**64}' is not a seed; write a number from 0 to 2^64-1, as in seed=42",
    ),
    ("text:a\\q", SpecError, r"'\\q' is not an escape of text:; write \n, \t, \\ or \xHH"),
    ("text:a\\", SpecError, r"'\\' is not an escape of text:; write \n, \t, \\ or \xHH"),
    ("text:\\x1", SpecError, r"'\\x' is not an escape of text:; write \n, \t, \\ or \xHH"),
    ("text:\\\n", SpecError, r"'\\\n' is not an escape of text:; write \n, \t, \\ or \xHH"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "error", "sentence"), REFUSED, ids=[spec for spec, _, _ in REFUSED])
def test_what_cannot_be_opened_says_why_in_one_sentence(
    odd: dict[str, str], spec: str, error: type[MapfsError], sentence: str
) -> None:
    for name, value in odd.items():
        spec, sentence = spec.replace(name, value), sentence.replace(name, value)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(error) as caught:
        catalogue.open_spec(catalogue.parse(spec))
    assert type(caught.value) is error
    assert str(caught.value) == sentence
    assert "\n" not in sentence
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_descriptor_that_can_do_nothing(odd: dict[str, str]) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        catalogue.open_spec(catalogue.parse(f"fd:{odd['FD-PATH']}"))


def test_an_escape_that_is_no_ascii() -> None:
    with pytest.raises(SpecError, match="is not an escape of text:"):
        catalogue.open_spec(catalogue.parse("text:\\\u00e9"))


def test_a_terminal_has_no_pages() -> None:
    ours, theirs = os.openpty()
    try:
        with pytest.raises(SourceError, match="cannot be read at an offset, so it has no pages to map"):
            catalogue.open_spec(catalogue.parse(f"device:{os.ttyname(theirs)},size=4K"))
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_block_device_knows_its_size(place: Place) -> None:
    with pytest.raises(SpecError, match="is a block device and knows its own size; leave size= out"):
        catalogue.open_spec(catalogue.parse(f"device:{place.loop()},size=4K"))


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """A user without rights, where this is root."""
    before = os.geteuid()
    if not before:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("spec", ["file:HOME/secret", "dir:HOME/closed"])
def test_what_may_not_be_read(place: Place, spec: str) -> None:
    secret, closed = place.file("secret"), place.path / "closed"
    secret.chmod(0)
    closed.mkdir(mode=0)
    with nobody(), pytest.raises(SourceError, match="Permission denied; run as a user who may read it") as caught:
        catalogue.open_spec(catalogue.parse(spec.replace("HOME", str(place.path))))
    assert caught.value.errno == 13
