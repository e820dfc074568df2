"""Closing while others read: each read that had begun is right or an error, and nothing stays open after the last."""

import os
import threading

import pytest

from mapfs.sources import catalogue
from mapfs.sources.spec import Spec
from mapfs.tree.filenodes import FixedFile
from mapfs.tree.nodes import FixedDirectory
from mapfs.units import PAGE_SIZE
from tests.contract.places import KINDS, WITHIN, Place


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_closed_while_it_is_read(place: Place, kind: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    served = KINDS[kind](place)
    content = served.content
    node = FixedFile(2, FixedDirectory(1, None, b""), b"f", kind, served.source, catalogue.terms(Spec("zero", "1")))
    wrong: list[object] = []
    ended: list[str] = []
    started = threading.Barrier(9)

    def read(seed: int) -> None:
        started.wait(WITHIN)
        try:
            for turn in range(100_000):
                offset = (seed * 31 + turn * 7) * PAGE_SIZE % max(1, len(content))
                size = min(PAGE_SIZE, len(content) - offset)
                with node.using() as source:
                    if bytes(source.read(offset, size)) != content[offset : offset + size]:
                        wrong.append((offset, size))
        except AssertionError:  # closed: there is no source any more
            ended.append("closed")
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    started.wait(WITHIN)
    node.close()
    for thread in threads:
        thread.join(WITHIN)
    assert wrong == []
    assert ended == ["closed"] * 8
    place.stack.close()
    assert len(os.listdir("/proc/self/fd")) == before
