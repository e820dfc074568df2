"""What the tests run as client programs: `python -m tests.client COMMAND ARG...`, one JSON object on standard output.

A client is always another process: a page demand of the test process itself could wait for a daemon that the
test is about to break.
"""

import json
import mmap
import os
import random
import sys
import threading
from collections.abc import Callable
from typing import Any

PAGE = mmap.PAGESIZE


def mapped(path: str) -> mmap.mmap:
    """`path`, mapped for reading."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    finally:
        os.close(fd)


def number_at(memory: mmap.mmap, page: int) -> int:
    """The number that a page of `pages:` begins with."""
    return int.from_bytes(memory[page * PAGE : page * PAGE + 8], "little")


def touch(path: str, *pages: str) -> dict[str, Any]:
    """Touches pages in the order given; `a-b` is a range."""
    memory = mapped(path)
    wanted = [page for text in pages for page in _range(text)]
    return {"pid": os.getpid(), "numbers": [number_at(memory, page) for page in wanted]}


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def shuffled(path: str, count: str, seed: str) -> dict[str, Any]:
    """Touches `count` distinct pages at random."""
    memory = mapped(path)
    pages = list(range(len(memory) // PAGE))
    random.Random(int(seed)).shuffle(pages)
    wrong = [page for page in pages[: int(count)] if number_at(memory, page) != page]
    return {"pid": os.getpid(), "tid": threading.get_native_id(), "wrong": wrong, "pages": pages[: int(count)]}


def threads(path: str, count: str, each: str) -> dict[str, Any]:
    """`count` threads, each with a share of pages of its own; then a forked child with one more share."""
    memory = mapped(path)
    shares: dict[str, list[int]] = {}
    wrong: list[int] = []

    def work(share: range) -> None:
        shares[str(threading.get_native_id())] = list(share)
        wrong.extend(page for page in share if number_at(memory, page) != page)

    size = int(each)
    started = threading.Barrier(int(count))  # all at once, so that no thread id is used twice

    def run(index: int) -> None:
        started.wait(30)
        work(range(index * size, (index + 1) * size))
        started.wait(30)

    workers = [threading.Thread(target=run, args=(index,)) for index in range(int(count))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    child = os.fork()
    if not child:
        last = range(int(count) * size, (int(count) + 1) * size)
        os._exit(any(number_at(memory, page) != page for page in last))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"pid": os.getpid(), "shares": shares, "child": child, "wrong": wrong, "status": status}


def hold(path: str, *pages: str) -> dict[str, Any]:
    """Maps, touches, says so, and keeps the mapping until standard input ends."""
    memory = mapped(path)
    numbers = [number_at(memory, page) for text in pages for page in _range(text)]
    print(json.dumps({"pid": os.getpid(), "numbers": numbers}), flush=True)
    sys.stdin.read()
    return {"again": [number_at(memory, page) for text in pages for page in _range(text)]}


def read(path: str, offset: str, size: str) -> dict[str, Any]:
    """One pread(2): the bytes in hex, or the errno of what failed."""
    try:
        fd = os.open(path, os.O_RDONLY)
        return {"data": os.pread(fd, int(size), int(offset)).hex()}
    except OSError as error:
        return {"errno": error.errno}


def main() -> None:
    """Runs the command that is named."""
    name, *args = sys.argv[1:]
    commands: dict[str, Callable[..., dict[str, Any]]] = {
        "touch": touch,
        "shuffled": shuffled,
        "threads": threads,
        "hold": hold,
        "read": read,
    }
    print(json.dumps(commands[name](*args)), flush=True)


if __name__ == "__main__":
    main()
