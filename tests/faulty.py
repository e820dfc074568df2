"""mapfs with sources that misbehave on demand: `python -m tests.faulty mount MNT NAME=raises:KeyError`.

raises:NAME   a read raises the built-in exception NAME
returns:NAME  a read gives what it must not: short, long, none, text, wide
gate:PATH     pages of numbers; a read of page n waits until the file PATH, or PATH.n, exists
stuck:PATH    begins what is written (PATH.begun), and waits with it until the file PATH exists (PATH.written)
"""

import builtins
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mapfs.commands import main
from mapfs.sources import catalogue
from mapfs.sources.base import Buffer, Source
from mapfs.sources.pages import PagesSource
from mapfs.sources.spec import Spec
from mapfs.units import PAGE_SIZE

_PAGES = 64


class Mute(Exception):  # noqa: N818 -- as foreign sources have them
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Surrogate(Exception):  # noqa: N818
    """Says what no UTF-8 can hold."""

    def __str__(self) -> str:
        return "bad \udcff name"


class Raises(Source):
    """Raises; for `now`, already in try_read, where the leader itself meets it."""

    def __init__(self, name: str) -> None:
        self._now = name.startswith("now-")
        own = {"Mute": Mute, "Surrogate": Surrogate}
        name = name.removeprefix("now-")
        self._error = own.get(name) or getattr(builtins, name)

    @property
    def size(self) -> int:
        return _PAGES * PAGE_SIZE

    def read(self, offset: int, size: int) -> Buffer:
        raise self._error("on purpose")

    def try_read(self, offset: int, size: int) -> Buffer | None:
        if self._now:
            raise self._error("on purpose")
        return None


class Returns(Source):
    """Gives something wrong."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._pages = PagesSource(_PAGES * PAGE_SIZE)

    @property
    def size(self) -> int:
        return self._pages.size

    def read(self, offset: int, size: int) -> Any:
        data = self._pages.read(offset, size)
        wrong = {
            "short": data[:-1],
            "long": data + b"x",
            "none": None,
            "text": "x" * size,
            "wide": memoryview(data * 8).cast("Q"),
        }
        return wrong[self._name]


class Gate(Source):
    """Waits for a file to appear."""

    def __init__(self, path: str) -> None:
        self._pages = PagesSource(_PAGES * PAGE_SIZE)
        self._path = path

    @property
    def size(self) -> int:
        return self._pages.size

    def read(self, offset: int, size: int) -> bytes:
        own = f"{self._path}.{offset // PAGE_SIZE}"
        while not (os.path.exists(self._path) or os.path.exists(own)):
            time.sleep(0.002)
        return self._pages.read(offset, size)


class Stuck(Gate):
    """Waits with what is written."""

    writable = True

    def read(self, offset: int, size: int) -> bytes:
        return self._pages.read(offset, size)

    def write(self, offset: int, data: Buffer) -> None:
        Path(f"{self._path}.begun").touch()
        Gate.read(self, offset, len(data))
        Path(f"{self._path}.written").write_bytes(data)


def open_faulty(spec: Spec) -> Source:
    """What the kinds above stand for."""
    kinds: dict[str, Callable[[str], Source]] = {"raises": Raises, "returns": Returns, "gate": Gate, "stuck": Stuck}
    return kinds[spec.kind](spec.arg)


if __name__ == "__main__":
    for kind in ("raises", "returns", "gate", "stuck"):
        catalogue.KINDS[kind] = catalogue.Kind("tests.faulty", "open_faulty", "for tests")
    main()
