"""`random:SIZE,seed=N`: bytes without a pattern, the same for every read order, machine and version.

Block n of 4096 bytes is SHAKE-128 (FIPS 202) of the 64-bit little-endian seed and block number.
"""

import hashlib
import struct

from mapfs.errors import SpecError
from mapfs.sources.generated import GeneratedSource
from mapfs.sources.spec import Spec
from mapfs.units import parse_size

_BLOCK = 4096  # part of the definition, whatever the page size
_KEY = struct.Struct("<QQ")


class RandomSource(GeneratedSource):
    """`length` seeded random bytes."""

    def __init__(self, length: int, seed: int = 0) -> None:
        super().__init__(length, _BLOCK)
        self._seed = seed

    def block(self, number: int) -> bytes:
        return hashlib.shake_128(_KEY.pack(self._seed, number)).digest(_BLOCK)


def open_random(spec: Spec) -> RandomSource:
    """Raises SpecError where SIZE is no size, or seed= no 64-bit number."""
    seed = spec.options.get("seed", "0")
    if not seed:
        raise SpecError("seed= needs a number, as in seed=42")
    if not (seed.isascii() and seed.isdigit()) or len(seed) > 20 or int(seed) >= 1 << 64:
        raise SpecError(f"{seed!r} is not a seed; write a number from 0 to 2^64-1, as in seed=42")
    return RandomSource(parse_size(spec.arg), int(seed))
