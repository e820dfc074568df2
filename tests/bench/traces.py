"""A long trace, made up but consistent: what a recorder would have written of files larger than the page cache.

Twenty processes of two threads walk through fifty files, hot ones more often, mostly page by page. A page is asked for
where the page cache lacks it, and is the oldest to leave it once the cache is full; so there are cold pages first, and
re-faults later, never a request for a page that is there. Some pages fail, some are written back, and some of those
that were there are shared or joined by another process. Every page of it comes from the seed.
"""

import math
import random
import sqlite3
from collections.abc import Iterator
from typing import Any

from mapfs.trace.events import FAULT, READ, WRITE
from mapfs.trace.facts import FileFact, MountFact, ThreadFact
from mapfs.trace.store import Store
from mapfs.units import PAGE_SIZE

_FILES, _PROCESSES, _THREADS = 50, 20, 40
_GAP = 900  # ns between two requests
_BATCH = 50_000  # requests between two writes of the other tables
_ABSENT, _PRESENT, _NEVER = 1, 2, 0
Row = tuple[Any, ...]


def write_trace(path: str, requests: int, seed: int = 1) -> None:
    """Writes a trace of the tier kernel with `requests` requests, and a tenth as many page faults, into `path`."""
    store = Store(path)
    pages = max(16, requests // 20)  # of the largest file
    sizes = [max(8, int(pages / (1 + number) ** 0.5)) for number in range(_FILES)]
    store.fact(MountFact("/mnt/x", "0", "own", PAGE_SIZE, 0, 1, 0, 1_700_000_000_000_000_000, "kernel"))
    for number, size in enumerate(sizes):
        spec = f"file:/data/{number}.bin"
        store.fact(FileFact(number + 1, number + 2, f"data/{number}.bin", spec, size * PAGE_SIZE - number, 1))
    for number in range(_THREADS):
        pid = 1000 + number % _PROCESSES * 10
        name = f"worker{number % _PROCESSES}"
        store.fact(ThreadFact(number + 1, pid + number // _PROCESSES, name, pid, 5, name, name, None, 0))
    db = store.connection
    db.execute("BEGIN")
    made = _Made(random.Random(seed), sizes, cache=max(64, sum(sizes) // 2))
    left = requests
    while left:
        count = min(_BATCH, left)
        left -= count
        db.executemany(f"INSERT INTO requests VALUES ({', '.join('?' * 18)})", made.requests(count))  # noqa: S608
        made.flush(db)
    db.execute("COMMIT")
    store.close(made.time_ns)


class _Made:
    """The state of the page cache, and rows of it."""

    def __init__(self, some: random.Random, sizes: list[int], cache: int) -> None:
        self.time_ns = 1_000_000
        self._bits = some.getrandbits
        self._sizes = sizes
        weights = [1 / (1 + number) for number in range(_FILES)]
        self._files = some.choices(range(_FILES), weights, k=1 << 12)
        self._waits = [int(math.exp(some.gauss(10, 0.7))) for _ in range(1 << 12)]
        self._state = [bytearray(size) for size in sizes]
        self._at = [0] * _FILES
        self._fifo = [0] * cache  # page * _FILES + file, the oldest at `_oldest`
        self._oldest, self._filled = 0, 0
        self._serial = 0
        self._brought = [0] * _FILES  # by which thread lately
        self._faults: list[Row] = []
        self._evictions: list[Row] = []

    def requests(self, count: int) -> Iterator[Row]:
        """The rows of the next `count` requests."""
        bits, files, waits, sizes, at = self._bits, self._files, self._waits, self._sizes, self._at
        while count:
            drawn = bits(48)
            file = files[drawn & 4095]
            size, thread = sizes[file], 1 + (drawn >> 12) % _THREADS
            page = at[file] + 1 if drawn >> 24 & 63 else (drawn >> 30) % size
            page = at[file] = page if page < size else 0
            state = self._state[file][page]
            if state == _PRESENT:
                if not drawn >> 20 & 7:
                    self._got(file, page, thread, drawn)
                continue
            count -= 1
            self.time_ns += _GAP
            self._serial += 1
            wait = waits[drawn >> 34 & 4095] + (drawn & 1023)
            length = PAGE_SIZE - (file if page == size - 1 else 0)
            head = (self._serial, self.time_ns - wait, wait)
            if not drawn >> 24 & 1023:  # fails, or is written back
                failed = drawn >> 46 & 1
                kind = (READ, "ERROR") if failed else (WRITE, "WRITE")
                yield (*head, *kind, file + 1, page * PAGE_SIZE, length, thread if failed else None,
                    1000 + thread if failed else 0, 5 * failed, None, 0, 0, self._serial, None, None, None)  # fmt: skip
                continue
            again = int(state == _ABSENT)
            yield (*head, READ, "REFAULT" if again else "COLD", file + 1, page * PAGE_SIZE, length, thread,
                1000 + thread, 0, None, again, 0, self._serial, "fault", page, wait + 2_000)  # fmt: skip
            self._brought[file] = thread
            self._state[file][page] = _PRESENT
            self._evict(file, page)

    def _got(self, file: int, page: int, thread: int, drawn: int) -> None:
        by = self._brought[file]
        if not by or by % _PROCESSES == thread % _PROCESSES:
            return
        cls = "SHARED" if drawn >> 40 & 31 else "JOINED"
        self._serial += 1
        wait = self._waits[drawn >> 34 & 4095] if cls == "JOINED" else None
        where = (file + 1, page * PAGE_SIZE, PAGE_SIZE, thread, 1000 + thread, by)
        self._faults.append((self._serial, self.time_ns, wait, wait, FAULT, cls, *where))

    def _evict(self, file: int, page: int) -> None:
        """Takes the oldest page out where `page` has no room."""
        if self._filled == len(self._fifo):
            old_page, old = divmod(self._fifo[self._oldest], _FILES)
            self._state[old][old_page] = _ABSENT
            self._serial += 1
            self._evictions.append((self._serial, self.time_ns, old + 1, old_page * PAGE_SIZE, PAGE_SIZE, None, 0))
        else:
            self._filled += 1
        self._fifo[self._oldest] = page * _FILES + file
        self._oldest = (self._oldest + 1) % len(self._fifo)

    def flush(self, db: sqlite3.Connection) -> None:
        """Writes the rows of the other tables."""
        db.executemany("INSERT INTO faults VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._faults)
        db.executemany("INSERT INTO evictions VALUES (?, ?, ?, ?, ?, ?, ?)", self._evictions)
        self._faults, self._evictions = [], []
