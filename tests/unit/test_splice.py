"""Messages that are spliced: whole, one after another, also behind one that could not be made."""

import os
from pathlib import Path

import pytest

from mapfs.fuse.splice import Splicer
from mapfs.sources.ahead import AUTO, parse_prefetch, prefetch_of
from mapfs.units import PAGE_SIZE


def test_a_message_is_the_head_and_what_the_file_has(tmp_path: Path) -> None:
    data = os.urandom(8 * PAGE_SIZE)
    (tmp_path / "data").write_bytes(data)
    ours, device = os.pipe()
    splicer, fd = Splicer(), os.open(tmp_path / "data", os.O_RDONLY)
    try:
        assert splicer.most >= 8 * PAGE_SIZE
        assert splicer.move(device, b"head", fd, 2 * PAGE_SIZE, 3 * PAGE_SIZE)
        assert os.read(ours, 1 << 20) == b"head" + data[2 * PAGE_SIZE : 5 * PAGE_SIZE]
        assert not splicer.move(device, b"more", fd, 7 * PAGE_SIZE, 2 * PAGE_SIZE), "the file ends before"
        with pytest.raises(OSError, match="Bad file descriptor"):
            splicer.move(device, b"none", -1, 0, PAGE_SIZE)
        assert splicer.move(device, b"last", fd, 0, PAGE_SIZE)
        assert os.read(ours, 1 << 20) == b"last" + data[:PAGE_SIZE], "nothing of those that failed comes before it"
    finally:
        for one in (ours, device, fd):
            os.close(one)


def test_windows() -> None:
    assert (parse_prefetch("auto"), parse_prefetch("off"), parse_prefetch("0"), parse_prefetch("1M")) == (
        AUTO,
        0,
        0,
        1 << 20,
    )
    assert prefetch_of({}) is None
    assert (prefetch_of({"prefetch": None}), prefetch_of({"prefetch": "off"})) == (AUTO, 0)
