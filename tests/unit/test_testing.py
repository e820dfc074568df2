"""mapfs.testing: the fake that others use, and the check of the contract."""

import errno
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Hashable
from typing import Any

import pytest

import mapfs
from mapfs.errors import SourceError
from mapfs.sources import foreign
from mapfs.sources.base import Buffer, Entry, Source
from mapfs.testing import FakeSource, check_source
from tests.support import ROOT, WITHIN
from tests.unit.test_docs import SOURCES, section

CONTENT = bytes(range(256)) * 40


def test_the_fake_keeps_the_contract() -> None:
    check_source(FakeSource(CONTENT), CONTENT)
    check_source(FakeSource(b""), b"")
    check_source(FakeSource(CONTENT, writable=True), CONTENT, threads=2)


def test_the_fake_records_what_it_was_asked_for() -> None:
    source = FakeSource(CONTENT)
    assert source.read(5, 10) == CONTENT[5:15]
    assert source.try_read(0, 1) == b"\0"
    assert source.reads == [(5, 10), (0, 1)]


def test_the_fake_fails_when_it_is_told_to() -> None:
    source = FakeSource(CONTENT)
    source.error = SourceError("no link", errno.EHOSTUNREACH)
    for read in (source.read, source.try_read):
        with pytest.raises(SourceError, match="no link"):
            read(0, 1)
    source.error = None
    assert source.read(0, 1) == b"\0"


def test_the_fake_waits_when_it_is_told_to() -> None:
    source = FakeSource(CONTENT)
    source.gate = threading.Event()
    got: list[Buffer] = []
    reader = threading.Thread(target=lambda: got.append(source.read(1, 2)))
    reader.start()
    assert source.try_read(0, 1) is None
    assert got == []
    source.gate.set()
    reader.join(WITHIN)
    assert got == [CONTENT[1:3]]


def test_the_fake_changes() -> None:
    source = FakeSource(CONTENT)
    before = source.version()
    source.content = b"new"
    assert (source.size, source.read(0, 3)) == (3, b"new")
    assert source.version() != before
    changes: list[Callable[[], None]] = [lambda: source.write(0, b"x"), lambda: source.resize(0)]
    for change in changes:
        with pytest.raises(SourceError) as caught:
            change()
        assert caught.value.errno == errno.EROFS


def test_the_fake_is_written() -> None:
    source = FakeSource(b"abc", writable=True)
    source.write(5, memoryview(b"xy"))
    source.write(1, b"B")
    assert source.content == b"aBc\0\0xy"
    source.resize(2)
    source.resize(4)
    assert source.content == b"aB\0\0"
    source.close()
    with pytest.raises(AssertionError, match="closed twice"):
        source.close()


def answering(wrong: Callable[[bytes], Any]) -> Source:
    source = FakeSource(CONTENT)
    source.wrong = wrong
    return source


class Restless(FakeSource):
    """Has another version and another entry each time."""

    def version(self) -> Hashable:
        self._version += 1
        return self._version


class Dated(FakeSource):
    """Is as old as the question."""

    def entry(self) -> Entry:
        self._version += 1
        return Entry(size=self.size, mtime_ns=self._version)


class Impatient(FakeSource):
    """Is put off by less than nothing."""

    def hold(self, offset: int, size: int) -> float:
        return -1.0


class Odd(FakeSource):
    """Is a directory, it says."""

    def entry(self) -> Entry:
        return Entry(mode=0o40755, size=self.size)


class Guess(FakeSource):
    """Answers at once, with something else."""

    def try_read(self, offset: int, size: int) -> Buffer | None:
        return bytes(size)


class Single(FakeSource):
    """Can be read by the thread that made it only."""

    def read(self, offset: int, size: int) -> Buffer:
        own = threading.current_thread() is threading.main_thread()
        return super().read(offset, size) if own else bytes(size)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (FakeSource(CONTENT[:-1]), "size is 10239, its content has 10240 bytes"),
        (FakeSource(CONTENT + b"x"), "size is 10241, its content has 10240 bytes"),
        (answering(lambda data: data[:-1]), r"try_read\(0, 10240\) gave 10239 bytes"),
        (answering(lambda data: data + b"x"), r"try_read\(0, 10240\) gave 10241 bytes"),
        (answering(lambda data: data[::-1]), r"try_read\(0, 10240\) gave other bytes than the content has there"),
        (answering(lambda data: data.decode("latin-1")), r"try_read\(0, 10240\) gave a str"),
        (answering(lambda data: memoryview(data * 8).cast("Q")), "is not of single bytes in a row"),
        (answering(lambda data: memoryview(data + data)[::2]), "is not of single bytes in a row"),
        (Restless(CONTENT), r"version\(\) changed though the content did not"),
        (Dated(CONTENT), r"entry\(\) changes though the content does not"),
        (Impatient(CONTENT), r"hold\(0, 10240\) is -1.0 s"),
        (Odd(CONTENT), "is no regular file's"),
        (Guess(CONTENT), r"try_read\(0, 10240\) gave other bytes"),
        (Single(CONTENT), "by 8 threads at once: "),
    ],
)  # fmt: skip
def test_what_breaks_the_contract_is_told(source: Source, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_source(source, CONTENT)


def test_a_source_that_cannot_be_read_raises_its_own_error() -> None:
    source = FakeSource(CONTENT)
    source.error = ValueError("mine")
    with pytest.raises(ValueError, match="mine"):
        check_source(source, CONTENT)


def test_what_a_source_needs_is_at_the_top_of_the_package() -> None:
    assert mapfs.Source is Source
    assert mapfs.SourceError is SourceError
    assert {"Buffer", "DirectorySource", "Source", "SourceError"} <= set(mapfs.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Sauce'"):
        mapfs.Sauce  # noqa: B018 -- that it is not there is the point


def test_importing_mapfs_imports_nothing_else() -> None:
    program = "import sys; before = set(sys.modules); import mapfs; print(sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=WITHIN, check=True
    )
    assert done.stdout == "['mapfs']\n"


def test_the_source_of_the_documentation_works() -> None:
    text = section(SOURCES, "Writing a source")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    made: dict[str, Any] = {}
    exec(code, made)  # noqa: S102 -- our own documentation
    check_source(made["Squares"]("1000"), bytes(number * number % 256 for number in range(1000)))
    (toml,) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert list(tomllib.loads(toml)["project"]["entry-points"]) == [foreign.GROUP]
