"""Content as a tree that is never expanded: runs of bytes, integers that count, sequences and repeats.

A repeat of 10^12 times is one node. A range is read by going down to the nodes that it touches, so that it costs
time in proportion to the range, wherever it lies. Many rounds of a repeat are made at once: the first round
times their number, and over it, for each byte of each integer, a column of what it counts through.
"""

import struct
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import Literal

_FOLD = 1024  # bytes up to which a repeat of fixed bytes becomes a run: memory stays in proportion to the text
_MANY = 8  # rounds from which on columns are faster
Order = Literal["little", "big"]
#: How often each repeat around a node has gone round, the innermost last.
Counts = tuple[int, ...]


class Node(ABC):
    """`size` bytes. `columnar`: `columns` may be called."""

    columnar = True

    def __init__(self, size: int) -> None:
        self.size = size

    @abstractmethod
    def emit(self, out: list[bytes | bytearray], offset: int, size: int, counts: Counts) -> None:
        """Appends pieces that make up `size` bytes from `offset` on; both lie within the node."""

    def columns(self, out: bytearray, at: int, stride: int, counts: tuple[int | range, ...]) -> None:
        """Corrects rounds of the node, each `stride` bytes after the last and the first one at `at`.

        All are as the first round should be. The one range among `counts` tells them apart.
        """


class Run(Node):
    """Bytes as they are."""

    def __init__(self, content: bytes) -> None:
        super().__init__(len(content))
        self.content = content

    def emit(self, out: list[bytes | bytearray], offset: int, size: int, counts: Counts) -> None:
        out.append(self.content[offset : offset + size])


class Counted(Node):
    """The integer `factor * n + added`, modulo 2^bits; n is the count of a repeat, `level` repeats out."""

    def __init__(self, width: int, order: Order, level: int, factor: int, added: int) -> None:
        super().__init__(width)
        self._order = order
        self._level = level
        self._factor = factor
        self._added = added
        self._mask = (1 << 8 * width) - 1

    def emit(self, out: list[bytes | bytearray], offset: int, size: int, counts: Counts) -> None:
        value = (self._factor * counts[-1 - self._level] + self._added) & self._mask
        data = value.to_bytes(self.size, self._order)
        out.append(data if size == self.size else data[offset : offset + size])

    def columns(self, out: bytearray, at: int, stride: int, counts: tuple[int | range, ...]) -> None:
        rounds = counts[-1 - self._level]
        if isinstance(rounds, int):
            return
        period = rounds[: self._mask + 1]
        packed = struct.pack(f"<{len(period)}Q", *[(self._factor * n + self._added) & self._mask for n in period])
        times = -(-len(rounds) // len(period))
        for byte in range(self.size):
            place = at + (byte if self._order == "little" else self.size - 1 - byte)
            out[place::stride] = (packed[byte::8] * times)[: len(rounds)]


class Sequence(Node):
    """Nodes one after another, none of them empty."""

    def __init__(self, nodes: list[Node]) -> None:
        super().__init__(sum(node.size for node in nodes))
        self._nodes = nodes
        self._starts = [0, *accumulate(node.size for node in nodes)]
        self.columnar = all(node.columnar for node in nodes)

    def emit(self, out: list[bytes | bytearray], offset: int, size: int, counts: Counts) -> None:
        number = bisect_right(self._starts, offset) - 1
        offset -= self._starts[number]
        while size:
            node = self._nodes[number]
            part = min(size, node.size - offset)
            node.emit(out, offset, part, counts)
            number, offset, size = number + 1, 0, size - part

    def columns(self, out: bytearray, at: int, stride: int, counts: tuple[int | range, ...]) -> None:
        for node, start in zip(self._nodes, self._starts, strict=False):  # the last start is the end
            node.columns(out, at + start, stride, counts)


class Repeat(Node):
    """`body`, which is not empty, again and again until there are `size` bytes."""

    def __init__(self, body: Node, size: int) -> None:
        super().__init__(size)
        self._body = body
        self.columnar = body.columnar and (isinstance(body, Run) or not size % body.size)

    def emit(self, out: list[bytes | bytearray], offset: int, size: int, counts: Counts) -> None:
        body = self._body
        number, skip = divmod(offset, body.size)
        if isinstance(body, Run):
            times = -(-(skip + size) // body.size)
            out.append((body.content * times)[skip : skip + size])
            return
        while size:
            rounds = 1
            if not skip and body.columnar and size >= _MANY * body.size:
                rounds = size // body.size
                part = rounds * body.size
                out.append(self._many(range(number, number + rounds), counts))
            else:
                part = min(size, body.size - skip)
                body.emit(out, skip, part, (*counts, number))
            number, skip, size = number + rounds, 0, size - part

    def _many(self, rounds: range, counts: Counts) -> bytearray:
        first: list[bytes | bytearray] = []
        self._body.emit(first, 0, self._body.size, (*counts, rounds.start))
        out = bytearray(b"".join(first) * len(rounds))
        self._body.columns(out, 0, self._body.size, (*counts, rounds))
        return out

    def columns(self, out: bytearray, at: int, stride: int, counts: tuple[int | range, ...]) -> None:
        if not isinstance(self._body, Run):
            for number in range(self.size // self._body.size):
                self._body.columns(out, at + number * self._body.size, stride, (*counts, number))


def sequence(nodes: Iterable[Node]) -> Node:
    """The nodes one after another, runs that meet made one."""
    parts: list[Node] = []
    runs: list[bytes] = []
    for node in nodes:
        if isinstance(node, Run):
            runs.append(node.content)
            continue
        if any(runs):
            parts.append(Run(b"".join(runs)))
        runs.clear()
        if node.size:
            parts.append(node)
    if any(runs) or not parts:
        parts.append(Run(b"".join(runs)))
    return parts[0] if len(parts) == 1 else Sequence(parts)


def repeat(body: Node, size: int) -> Node:
    """`body` again and again until there are `size` bytes; of an empty body there are none."""
    if not size:
        return Run(b"")
    made = Repeat(body, size)
    if size > _FOLD or not isinstance(body, Run):
        return made
    out: list[bytes | bytearray] = []
    made.emit(out, 0, size, ())
    return Run(b"".join(out))
