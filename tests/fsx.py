"""A random exerciser of one file, after the idea of fsx: `python -m tests.fsx PATH COUNT SEED`.

read(2), write(2), loads and stores through a shared mapping, truncation both ways, holes, msync, fsync, closing and
opening again, in random order; what the file is to hold is kept in memory, and each read is compared with it.
"""

import ctypes
import json
import mmap
import os
import random
import sys
from collections.abc import Callable

PAGE = mmap.PAGESIZE
MOST = 64 * PAGE + 1234
PUNCH_HOLE, KEEP_SIZE = 2, 1
_libc = ctypes.CDLL(None, use_errno=True)


class Exerciser:
    """The file, and what it has to hold."""

    def __init__(self, path: str, seed: int) -> None:
        self.path = path
        self.dice = random.Random(seed)
        self.model = bytearray()
        self.fd = -1
        self.map: mmap.mmap | None = None
        self.counts: dict[str, int] = {}
        self.reopen()

    def reopen(self) -> None:
        """Closes mapping and descriptor, and opens the file again."""
        self.unmap()
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = os.open(self.path, os.O_RDWR)

    def unmap(self) -> None:
        """A mapping is as long as the file was when it was made."""
        if self.map is not None:
            self.map.close()
            self.map = None

    def mapped(self) -> mmap.mmap:
        """A shared mapping of the whole file, which is not empty."""
        if self.map is None or len(self.map) != len(self.model):
            self.unmap()
            self.map = mmap.mmap(self.fd, len(self.model))
        return self.map

    def place(self, end: int) -> tuple[int, int]:
        """Offset and size of something that ends at `end` at the latest."""
        offset = self.dice.randrange(end)
        return offset, self.dice.randint(1, min(end - offset, self.dice.choice((10, PAGE, 5 * PAGE))))

    def compare(self, data: bytes, offset: int, how: str) -> None:
        """Fails where `data` is not what the file has to hold at `offset`."""
        wanted = bytes(self.model[offset : offset + len(data)])
        if data != wanted:
            at = next(i for i, (a, b) in enumerate(zip(data, wanted, strict=False)) if a != b)
            raise SystemExit(f"{how} at {offset + at}: {data[at]:#x} where {wanted[at]:#x} was stored; {self.counts}")

    def read(self) -> None:
        offset, size = self.place(MOST)
        data = os.pread(self.fd, size, offset)
        if len(data) != max(0, min(size, len(self.model) - offset)):
            raise SystemExit(f"read at {offset}: {len(data)} bytes of {size}, the file has {len(self.model)}")
        self.compare(data, offset, "read")

    def write(self) -> None:
        offset, size = self.place(MOST)
        data = self.dice.randbytes(size)
        assert os.pwrite(self.fd, data, offset) == size
        if offset + size > len(self.model):
            self.model.extend(bytes(offset + size - len(self.model)))
        self.model[offset : offset + size] = data

    def load(self) -> None:
        if self.model:
            offset, size = self.place(len(self.model))
            self.compare(self.mapped()[offset : offset + size], offset, "load")

    def store(self) -> None:
        if self.model:
            offset, size = self.place(len(self.model))
            data = self.dice.randbytes(size)
            self.mapped()[offset : offset + size] = data
            self.model[offset : offset + size] = data

    def truncate(self) -> None:
        size = self.dice.randint(0, MOST)
        self.unmap()  # a mapping longer than the file is SIGBUS
        os.ftruncate(self.fd, size)
        del self.model[size:]
        self.model.extend(bytes(size - len(self.model)))

    def punch(self) -> None:
        if self.model:
            offset, size = self.place(len(self.model))
            mode, c = ctypes.c_int(PUNCH_HOLE | KEEP_SIZE), ctypes.c_int64
            if _libc.fallocate64(self.fd, mode, c(offset), c(size)):
                raise SystemExit(f"punch: {os.strerror(ctypes.get_errno())}")
            self.model[offset : offset + size] = bytes(size)

    def sync(self) -> None:
        if self.map is not None and self.dice.random() < 0.5:
            self.map.flush()
        else:
            os.fsync(self.fd)

    def look(self) -> None:
        if os.stat(self.path).st_size != len(self.model):
            raise SystemExit(f"stat: {os.stat(self.path).st_size}, not {len(self.model)}")


def main() -> None:
    """Does `COUNT` operations."""
    path, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    one = Exerciser(path, seed)
    does: list[tuple[Callable[[], None], int]] = [
        (one.read, 25), (one.write, 20), (one.load, 20), (one.store, 20), (one.truncate, 4), (one.punch, 4),
        (one.sync, 2), (one.look, 4), (one.reopen, 1),
    ]  # fmt: skip
    for _ in range(count):
        do = one.dice.choices([each for each, _ in does], [weight for _, weight in does])[0]
        one.counts[do.__name__] = one.counts.get(do.__name__, 0) + 1
        do()
    one.reopen()
    one.compare(os.pread(one.fd, MOST + 1, 0), 0, "the end")
    os.fsync(one.fd)
    print(json.dumps({"counts": one.counts, "size": len(one.model), "content": bytes(one.model).hex()}))


if __name__ == "__main__":
    main()
