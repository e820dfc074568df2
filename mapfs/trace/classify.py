"""COLD or REFAULT: what the requests alone (tier T0) can tell of a page.

The kernel asks for a page only if its page cache lacks it. So a page that was brought in before and is asked
for again had left the cache. A set of pages for each file remembers which were; it starts anew when the
content of the file changes. Where events were lost, a page that is not in the set may have been there all
the same: then the class is None, shown as `?`.
"""

from mapfs.trace.events import COLD, DROP, ERROR, PUSH, REFAULT, WRITE, WRITTEN
from mapfs.trace.ring import DIRECT, Record
from mapfs.units import PAGE_SIZE, page_span

_CHUNK = 1 << 15  # pages a chunk: 4 KiB of bits


class PageSet:
    """A set of page numbers; 1 TiB of demanded pages takes 32 MiB, an untouched range nothing."""

    def __init__(self) -> None:
        self._chunks: dict[int, bytearray] = {}
        self.count = 0

    def add(self, page: int) -> bool:
        """Adds `page`; False if it was in the set."""
        number, bit = page // _CHUNK, page % _CHUNK
        chunk = self._chunks.get(number)
        if chunk is None:
            chunk = self._chunks[number] = bytearray(_CHUNK // 8)
        at, mask = bit >> 3, 1 << (bit & 7)
        if chunk[at] & mask:
            return False
        chunk[at] |= mask
        self.count += 1
        return True


class Classifier:
    """Told of each event in order, says what class it is of. A file whose content changed has a new id."""

    def __init__(self) -> None:
        self._seen: dict[int, PageSet] = {}
        self._doubted: set[int] = set()

    def known(self, file: int) -> None:
        """Events of `file` may come from now on, or its size is another."""
        self._seen.setdefault(file, PageSet())

    def lost(self) -> None:
        """Events are missing here: of the files known so far, no page can be called COLD any more."""
        self._doubted.update(self._seen)

    def classify(self, record: Record) -> tuple[str | None, int]:
        """The class, and how many of its pages had been brought in before."""
        if record.errno:
            return ERROR, 0
        if record.op == WRITE:
            return WRITTEN, 0
        if record.op == DROP:
            return None, 0
        if record.flags & DIRECT:  # a read(2) brings no page in, a page fault does; who knows which it was
            return None, 0
        seen = self._seen.get(record.file)
        if seen is None:  # its fact did not get through
            seen = self._seen[record.file] = PageSet()
        if record.size <= PAGE_SIZE and not record.offset % PAGE_SIZE and record.op != PUSH:  # as mostly: quicker
            if not seen.add(record.offset // PAGE_SIZE):
                return REFAULT, 1
            return (None if record.file in self._doubted else COLD), 0
        pages = page_span(record.offset, record.size)
        new = sum([seen.add(page) for page in pages])
        if record.op == PUSH:  # they are in the cache now: whoever asks for one later asks again
            return None, len(pages) - new
        if not new:
            return REFAULT, len(pages)
        return (None if record.file in self._doubted else COLD), len(pages) - new
