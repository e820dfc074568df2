"""The blocks that a cache keeps: which there are, in which slot of a file their bytes lie, which are being fetched.

The least recently used block gives its slot to a new one. Whoever reads a slot looks afterwards whether the block is
still the one that it was, so that no slot is locked while it is read. A block that is dropped while it is fetched is
detached: who waits for it already gets it, and it is not kept.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable

from mapfs.errors import SourceError, errno_of, reason_of
from mapfs.sources.backing import DescriptorSource
from mapfs.sources.base import Buffer


class Block:
    """A block that is kept: `length` bytes of it."""

    __slots__ = ("length", "slot")

    def __init__(self, slot: int, length: int) -> None:
        self.slot = slot
        self.length = length


class Flight:
    """A block that some thread fetches, for all who want it."""

    __slots__ = ("_data", "_done", "_error")

    def __init__(self) -> None:
        self._done = threading.Event()
        self._data: memoryview = memoryview(b"")
        self._error: BaseException | None = None

    def land(self, data: memoryview) -> None:
        """The bytes are there."""
        self._data = data
        self._done.set()

    def fail(self, error: BaseException) -> None:
        """They cannot be had."""
        self._error = error
        self._done.set()

    def wait(self) -> memoryview:
        """The bytes, once they are there. Raises SourceError where the fetch failed."""
        self._done.wait()
        if self._error is not None:
            raise SourceError(reason_of(self._error), errno_of(self._error)) from self._error
        return self._data


class Blocks:
    """At most `slots` blocks of `block` bytes in `store`, which this takes over. Thread-safe."""

    def __init__(self, store: DescriptorSource, slots: int, block: int) -> None:
        self._store = store
        self._most = slots
        self._block = block
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Block] = OrderedDict()
        self._flights: dict[int, Flight] = {}
        self._free: list[int] = []
        self._used = 0  # slots that were ever used
        #: Bytes that are kept.
        self.bytes = 0

    def find(self, number: int, length: int) -> Block | None:
        """Block `number`, if `length` bytes of it are kept; it counts as used."""
        with self._lock:
            block = self._kept.get(number)
            if block is None or block.length < length:
                return None
            self._kept.move_to_end(number)
            return block

    def read(self, number: int, block: Block, skip: int, size: int, *, wait: bool) -> Buffer | None:
        """Bytes of a block that was found; None where it is gone by now or, unless `wait`, where it takes time."""
        offset = block.slot * self._block + skip
        try:
            data = self._store.read(offset, size) if wait else self._store.try_read(offset, size)
        except (SourceError, OSError):  # of the store; the source itself is asked then
            self.drop(number, number + 1)
            return None
        return data if self._kept.get(number) is block else None

    def board(self, number: int, length: int) -> tuple[Block | Flight, Flight | None]:
        """Block `number` where it is kept, else the flight that fetches it; and again, if the caller has to fly it."""
        with self._lock:
            block = self._kept.get(number)
            if block is not None and block.length >= length:
                self._kept.move_to_end(number)
                return block, None
            flight = self._flights.get(number)
            if flight is not None:
                return flight, None
            flight = self._flights[number] = Flight()
            return flight, flight

    def absent(self, numbers: Iterable[int]) -> list[int]:
        """Those of `numbers` that are neither kept nor being fetched."""
        with self._lock:
            return [number for number in numbers if number not in self._kept and number not in self._flights]

    def land(self, number: int, flight: Flight, data: memoryview) -> None:
        """Keeps what `flight` fetched, if it can be kept, and gives it to who waits."""
        slot = self._slot()
        written = False
        try:
            if slot is not None:
                self._store.write(slot * self._block, data)
                written = True
        except OSError:
            pass  # no room: it is not kept
        finally:
            with self._lock:
                wanted = self._flights.get(number) is flight
                if wanted:
                    del self._flights[number]
                if slot is not None and wanted and written:
                    self._forget(number)
                    self._kept[number] = Block(slot, len(data))
                    self.bytes += len(data)
                elif slot is not None:
                    self._free.append(slot)
            flight.land(data)

    def fail(self, number: int, flight: Flight, error: BaseException) -> None:
        """Nothing is kept; who waits gets the error."""
        with self._lock:
            if self._flights.get(number) is flight:
                del self._flights[number]
        flight.fail(error)

    def drop(self, first: int, stop: int | None) -> None:
        """Keeps no block from `first` up to `stop` (None: to the end), those that are being fetched neither."""
        with self._lock:
            for known in (self._kept, self._flights):
                if stop is None or stop - first > len(known):
                    numbers = [one for one in known if one >= first and (stop is None or one < stop)]
                else:
                    numbers = [one for one in range(first, stop) if one in known]
                for number in numbers:
                    self._forget(number)
                    self._flights.pop(number, None)

    def close(self) -> None:
        """Gives the store back."""
        self._store.close()

    def _slot(self) -> int | None:
        """A slot to write in; None where all are being written."""
        with self._lock:
            if self._free:
                return self._free.pop()
            if self._used < self._most:
                self._used += 1
                return self._used - 1
            if not self._kept:
                return None
            _, block = self._kept.popitem(last=False)
            self.bytes -= block.length
            return block.slot

    def _forget(self, number: int) -> None:
        """With the lock held."""
        block = self._kept.pop(number, None)
        if block is not None:
            self.bytes -= block.length
            self._free.append(block.slot)
