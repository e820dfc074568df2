"""The contract tests over every wrapper, set up so that the bytes stay those of the source inside, and over stacks."""

import os
from collections.abc import Callable

from tests.contract.places import (
    AT_ONCE,
    CAN_SHRINK,
    CONTENT,
    KINDS,
    SIZE,
    Place,
    Served,
    pages_content,
    spec_of,
)

PAGES = 300_001  # bytes of `pages:`
MADE = pages_content(PAGES)


def around_file(*options: str, content: bytes = CONTENT) -> Callable[[Place], Served]:
    """A file with wrappers around it. HOME is the directory of the test."""

    def made(place: Place) -> Served:
        path = place.file()
        spec = ",".join([spec_of("file", path), *options]).replace("HOME", str(place.path))
        return Served(place.open(spec), content, lambda size: os.truncate(path, size))

    return made


def around_pages(*options: str, content: bytes = MADE) -> Callable[[Place], Served]:
    """The same around what is in memory."""
    return lambda place: Served(place.open(",".join([f"pages:{PAGES}", *options])), content)


def around_entry(*options: str) -> Callable[[Place], Served]:
    """The same around a file of a directory."""

    def made(place: Place) -> Served:
        path = place.file("sub/file")
        directory = place.directory(",".join([spec_of("dir", place.path), *options]))
        return Served(directory.open(b"sub/file"), CONTENT, lambda size: os.truncate(path, size))

    return made


MIDDLE = slice(5000, 5000 + 200_000)
SHRINKING: dict[str, Callable[[Place], Served]] = {
    "delay": around_file("delay=20ms:0%"),
    "error": around_file("error=EIO@0-:0.0"),
    "write-error": around_file("write-error=ENOSPC"),
    "corrupt": around_file("corrupt=random@1000000-"),
    "rate": around_file("rate=1G"),
    "cow": around_file("cow"),
    "cow-in": around_file("cow=HOME"),
    "dir-entry-delay-error": around_entry("delay=10ms-20ms:0%", "error=ENOSPC:0%"),
}
MEMORY: dict[str, Callable[[Place], Served]] = {
    "delay-memory": around_pages("delay=20ms:0%"),
    "error-memory": around_pages("error=EIO:0%", "write-error=EIO", "corrupt=zero:0%"),
    "rate-memory": around_pages("rate=1T"),
    "retry-memory": around_pages("retry=3"),
    "cow-memory": around_pages("cow"),
    "slice-memory": around_pages("slice=5000+200000", content=MADE[MIDDLE]),
    "slice-none": around_pages("slice=300001+0", content=b""),
    "truncate-memory": around_pages("truncate=8193", content=MADE[:8193]),
    "truncate-longer-memory": around_pages("truncate=400000", content=MADE + bytes(400_000 - PAGES)),
}
KINDS |= SHRINKING
KINDS |= MEMORY
KINDS |= {
    "retry": around_file("retry=2:1ms"),
    "cache": around_file("cache=8M"),
    "cache-small": around_file("cache=64K/8K"),
    "cache-in": around_file("cache=1M/16K:HOME"),
    "slice": around_file("slice=5000+200000", content=CONTENT[MIDDLE]),
    "truncate": around_file("truncate=100000", content=CONTENT[:100_000]),
    "truncate-longer": around_file("truncate=4M", content=CONTENT + bytes((4 << 20) - SIZE)),
    "delay-cache-slice": around_file("delay=1ms:0%", "cache=256K/8K", "slice=5000+200000", content=CONTENT[MIDDLE]),
    "error-cow": around_file("error=EIO:0%", "cow"),
    "truncate-cow-cache": around_pages("truncate=400000", "cow", "cache=1M", content=MADE + bytes(400_000 - PAGES)),
}
AT_ONCE |= set(MEMORY)
CAN_SHRINK += list(SHRINKING)
