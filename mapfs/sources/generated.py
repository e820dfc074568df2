"""What generated content has in common: it is made on the spot, block by block, and never changes."""

from abc import abstractmethod

from mapfs.sources.base import Entry, Source


class GeneratedSource(Source):
    """`length` bytes made of blocks of `block_size`; block n is the same whenever it is asked for."""

    def __init__(self, length: int, block_size: int) -> None:
        self._length = length
        self._block_size = block_size
        self._entry = Entry(size=length)

    @property
    def size(self) -> int:
        return self._length

    @abstractmethod
    def block(self, number: int) -> bytes:
        """The `block_size` bytes of block `number`, past the end of the file too."""

    def read(self, offset: int, size: int) -> bytes:
        first, skip = divmod(offset, self._block_size)
        if not skip and size == self._block_size:
            return self.block(first)
        last = -(-(offset + size) // self._block_size)
        data = b"".join([self.block(number) for number in range(first, last)])
        return data[skip : skip + size]

    def try_read(self, offset: int, size: int) -> bytes:
        return self.read(offset, size)

    def entry(self) -> Entry:
        return self._entry
