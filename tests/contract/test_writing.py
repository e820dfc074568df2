"""The writing half of the contract of a source, held by every kind that is writable."""

import contextlib
import os
import random
import threading
from collections.abc import Iterator

import pytest

from mapfs.errors import errno_of
from tests.contract.places import KINDS, WITHIN, Place, Served

PUNCH, KEEP_SIZE = 2, 1  # fallocate(2)


@pytest.fixture
def served(place: Place, request: pytest.FixtureRequest) -> Iterator[Served]:
    """Each kind; what turns out not to be writable is refused as it should be, and has no more to show."""
    served = KINDS[str(request.param)](place)
    yield served
    served.source.close()


def everything(served: Served) -> bytes:
    return bytes(served.source.read(0, served.source.size))


EVERY = pytest.mark.parametrize("served", KINDS, indirect=True)


@EVERY
def test_what_is_written_is_read_back_or_refused(served: Served) -> None:
    source, model = served.source, bytearray(served.content)
    if not source.writable:
        for refused in (
            lambda: source.write(0, b"x"),
            lambda: source.resize(len(model) + 1),
            lambda: source.allocate(0, 0, 1),
        ):
            with pytest.raises(Exception) as caught:
                refused()  # type: ignore[no-untyped-call] # a lambda
            assert errno_of(caught.value), caught.value
        assert everything(served) == served.content
        return
    dice = random.Random(5)
    for _ in range(60):
        size = min(len(model), dice.choice((1, 100, 4096, 5000, 70_000)))
        offset = dice.randint(0, len(model) - size)
        data = dice.randbytes(size)
        source.write(offset, data)
        model[offset : offset + size] = data
        assert bytes(source.read(offset, size)) == data
        quick = source.try_read(offset, size)
        assert quick is None or bytes(quick) == data
    source.flush()
    assert everything(served) == bytes(model)


@EVERY
def test_writing_past_the_end_and_resizing_leave_zeroes_between(served: Served) -> None:
    source, size = served.source, len(served.content)
    if not source.writable:
        return
    try:
        source.resize(size)
    except Exception as error:
        assert errno_of(error) in (30, 22, 95, 1), error  # a device, a slice: of a fixed size
        with contextlib.suppress(Exception):
            source.write(size + 10, b"x")
        assert source.size == size
        return
    source.write(size + 5000, b"end")
    assert source.size == size + 5003
    assert everything(served) == served.content + bytes(5000) + b"end"
    source.resize(10)
    source.resize(9000)
    assert everything(served) == served.content[:10].ljust(10, b"\0") + bytes(8990)
    assert source.entry().size == source.size == 9000


@EVERY
def test_eight_threads_write_their_own_blocks(served: Served) -> None:
    source = served.source
    if not source.writable or source.size < 64 * 4096:
        return
    wrong: list[int] = []
    ready = threading.Barrier(8)

    def work(number: int) -> None:
        ready.wait(WITHIN)
        for block in range(number, 64, 8):
            data = bytes([block]) * 4096
            source.write(block * 4096, data)
            if bytes(source.read(block * 4096, 4096)) != data:
                wrong.append(block)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN)
    assert wrong == []
    whole = everything(served)
    assert whole[: 64 * 4096] == b"".join(bytes([block]) * 4096 for block in range(64))
    assert whole[64 * 4096 :] == served.content[64 * 4096 :]


@EVERY
def test_a_hole_is_zeroes_or_refused(served: Served) -> None:
    source, content = served.source, served.content
    if not source.writable or source.size < 32 * 4096:
        return
    try:
        source.allocate(PUNCH | KEEP_SIZE, 5000, 50_000)
    except Exception as error:
        assert errno_of(error) in (95, 30, 19), error  # EOPNOTSUPP, EROFS, ENODEV
        assert everything(served) == content
        return
    assert everything(served) == content[:5000] + bytes(50_000) + content[55_000:]


@EVERY
def test_data_and_holes_cover_the_file(served: Served) -> None:
    """SEEK_DATA and SEEK_HOLE, as lseek(2) has them: where there is data, no hole is claimed."""
    source, size = served.source, len(served.content)
    if not size:
        return
    at = 0
    while at < size:
        try:
            data = source.seek(at, os.SEEK_DATA)
        except Exception as error:
            assert errno_of(error) in (6, 22, 29), error  # ENXIO: nothing but a hole; EINVAL, ESPIPE: not known
            data = size if errno_of(error) == 6 else at
            if data == at:
                return
        assert data >= at
        assert not any(served.content[at:data])
        if data >= size:
            break
        hole = source.seek(data, os.SEEK_HOLE)
        assert data < hole <= size
        at = hole
