"""`pages:SIZE`: each page tells its own number, so that a program can check that it got the right one.

A page is, in this order: its number as a 64-bit little-endian integer; the line `page N at 0xOFFSET`, a
newline; then byte i of the page is `(i + 31 * N) % 251`.
"""

import struct

from mapfs.sources.generated import GeneratedSource
from mapfs.sources.spec import Spec
from mapfs.units import PAGE_SIZE, parse_size

_PERIOD = 251
_PATTERN = bytes(range(_PERIOD)) * (PAGE_SIZE // _PERIOD + 2)
_NUMBER = struct.Struct("<Q")


def page_bytes(number: int) -> bytes:
    """The whole page `number` of any `pages:` file."""
    head = _NUMBER.pack(number) + b"page %d at %#x\n" % (number, number * PAGE_SIZE)
    start = (len(head) + 31 * number) % _PERIOD
    return head + _PATTERN[start : start + PAGE_SIZE - len(head)]


class PagesSource(GeneratedSource):
    """`length` bytes of pages that carry their own number."""

    def __init__(self, length: int) -> None:
        super().__init__(length, PAGE_SIZE)

    def block(self, number: int) -> bytes:
        return page_bytes(number)


def open_pages(spec: Spec) -> PagesSource:
    """Raises SpecError where SIZE is no size."""
    return PagesSource(parse_size(spec.arg))
