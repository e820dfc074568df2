"""The bytes that labels are read from: a file on disk, read sparingly and within bounds.

What a file says of itself is not believed: each format reads through a `Content`, which gives exactly the bytes asked
for or raises UnreadableError, and no more of them, and no longer, than its budget allows. A file that is damaged, or
made to waste memory or time, so costs its own labels and nothing else.
"""

import io
import os
import time

MOST_SECONDS = 10.0
_SMALLEST = 512  # bytes that a read counts for at least: many small ones take their time too


class UnreadableError(Exception):
    """The file has no labels: it is damaged, or more would have to be read than is good."""


class Content:
    """An open file of `size` bytes. The budget is of bytes and seconds, over all calls of `read`."""

    def __init__(self, fd: int, size: int, *, most_bytes: int, seconds: float = MOST_SECONDS) -> None:
        self.size = size
        self._fd = fd
        self._left = most_bytes
        self._deadline = time.monotonic() + seconds

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes at `offset`. Raises UnreadableError where they are not there, or past the budget."""
        if not (0 <= offset <= self.size and 0 <= size <= self.size - offset):
            raise UnreadableError(f"{size} bytes at {offset} do not lie within the file")
        self._left -= max(size, _SMALLEST)
        if self._left < 0 or time.monotonic() > self._deadline:
            raise UnreadableError("it takes too much to read")
        try:
            data = os.pread(self._fd, size, offset)
        except OSError as error:
            raise UnreadableError(str(error)) from error
        if len(data) != size:
            raise UnreadableError("it is shorter than it was")
        return data

    def head(self, size: int) -> bytes:
        """The first `size` bytes, or what there is of them."""
        return self.read(0, min(size, self.size))


class ContentFile(io.RawIOBase):
    """A `Content` as a file object, for libraries that take one. Reading past the budget raises UnreadableError."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._content.size}[whence]
        if base + offset < 0:
            raise OSError("before the beginning")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._content.size - self._at)
        size = left if size is None or size < 0 else min(size, left)
        data = self._content.read(self._at, size) if size else b""
        self._at += len(data)
        return data
