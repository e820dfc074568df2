"""`zero:SIZE`: nothing but zero bytes."""

from mapfs.sources.generated import GeneratedSource
from mapfs.sources.spec import Spec
from mapfs.units import PAGE_SIZE, parse_size

_ZEROES = bytes(1 << 20)


class ZeroSource(GeneratedSource):
    """`length` zero bytes."""

    def __init__(self, length: int) -> None:
        super().__init__(length, PAGE_SIZE)

    def block(self, number: int) -> bytes:
        return _ZEROES[:PAGE_SIZE]

    def read(self, offset: int, size: int) -> bytes:
        return _ZEROES[:size] if size <= len(_ZEROES) else bytes(size)


def open_zero(spec: Spec) -> ZeroSource:
    """Raises SpecError where SIZE is no size."""
    return ZeroSource(parse_size(spec.arg))
