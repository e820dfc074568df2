"""Errnos, exit codes and sentences."""

import errno

import pytest

from mapfs.errors import (
    MapfsError,
    MountError,
    SourceError,
    SpecError,
    TraceError,
    UsageError,
    errno_name,
    errno_of,
    lack_of,
    of_path,
    reason_of,
)
from tests.support import python


def test_exit_codes() -> None:
    assert [kind.exit_code for kind in (SpecError, UsageError)] == [2, 2]
    assert [kind.exit_code for kind in (MapfsError, MountError, TraceError, SourceError)] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (SourceError("x"), errno.EIO),
        (SourceError("x", errno.ENXIO), errno.ENXIO),
        (FileNotFoundError(errno.ENOENT, "x"), errno.ENOENT),
        (OSError("no number"), errno.EIO),
        (ValueError("x"), errno.EIO),
        (SourceError("x", 0), errno.EIO),
        (SourceError("x", -5), errno.EIO),
        (SourceError("x", 4096), errno.EIO),
    ],
)
def test_errno_of(error: BaseException, number: int) -> None:
    assert errno_of(error) == number


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SourceError("the disk\n  is\tgone"), "the disk is gone"),
        (OSError(errno.EIO, "ignored", "/x"), "Input/output error"),
        (KeyError("k"), "KeyError: 'k'"),
        (ValueError(), "ValueError"),
        (SourceError(""), "SourceError"),
        (ValueError("x" * 1000), ("ValueError: " + "x" * 1000)[:400]),
    ],
)
def test_reasons_are_one_short_line(error: BaseException, text: str) -> None:
    assert reason_of(error) == text


def test_errno_names() -> None:
    assert errno_name(5) == "EIO"
    assert errno_name(4095) == "4095"


def test_an_error_of_opening_has_its_errno_and_a_remedy() -> None:
    error = of_path(PermissionError(errno.EACCES, "x"), "file '/x'")
    assert error.errno == errno.EACCES
    assert str(error) == "cannot open file '/x': Permission denied; run as a user who may read it"
    assert str(of_path(OSError(errno.ENXIO, "x"), "it")) == "cannot open it: No such device or address"
    assert of_path(OSError("no number"), "it").errno == errno.EIO


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (OSError(errno.EMFILE, "x"), "ulimit -n"),
        (OSError(errno.ENFILE, "x"), "fs.file-max"),
        (OSError(errno.ENOMEM, "x"), "ulimit -v"),
        (MemoryError(), "ulimit -v"),
        (ExceptionGroup("x", [ExceptionGroup("y", [MemoryError()]), ValueError()]), "ulimit -v"),
    ],
)
def test_a_shortage_has_its_remedy(error: BaseException, part: str) -> None:
    assert part in str(lack_of(error))


def test_the_words_of_python_for_no_more_threads_are_known() -> None:
    code = """
import resource, sys, threading
from mapfs.errors import lack_of
resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))
threading.stack_size(1 << 29)
try:
    threading.Thread(target=print).start()
except RuntimeError as error:
    print(lack_of(error))
"""
    assert "ulimit -u" in python(code).stdout


@pytest.mark.parametrize("error", [OSError(errno.EIO, "x"), ValueError("x"), RuntimeError("x"), OSError("no number")])
def test_what_is_no_shortage(error: BaseException) -> None:
    assert lack_of(error) is None
