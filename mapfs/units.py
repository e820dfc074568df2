"""Pages, sizes and times, as people write them and as mapfs prints them.

A page is the client's page size, `os.sysconf("SC_PAGE_SIZE")`, never 4096 by hand. K, M, G and T are
powers of 1024; `p` counts pages.
"""

import mmap
import re
from fractions import Fraction

from mapfs.errors import SpecError

PAGE_SIZE = mmap.PAGESIZE

_SIZE = re.compile(r"(\d{1,99}(?:\.\d{1,99})?)\s*([KMGT](?:iB|B)?|[Bp])?", re.ASCII)
_FACTORS = {"": 1, "B": 1, "p": PAGE_SIZE, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_LARGEST = (1 << 63) - 1  # off_t


def parse_size(text: str) -> int:
    """Bytes in `4096`, `64K`, `1.5G`, `3p` (pages). Raises SpecError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise SpecError(f"{text!r} is not a size; write 4096, 64K, 1.5G or 3p (pages)")
    unit = match[2] or ""
    size = Fraction(match[1]) * _FACTORS[unit if unit in _FACTORS else unit[0]]
    if size.denominator != 1:
        raise SpecError(f"{text!r} is not a whole number of bytes")
    if size > _LARGEST:
        raise SpecError(f"{text!r} is larger than a file can be (8E)")
    return int(size)


def format_size(size: int) -> str:
    """`5.0 KiB`, `128 B`: for people, three figures."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if abs(value) < 1024 or unit == "PiB":
            break
        value /= 1024
    if unit == "B" or value >= 100:
        return f"{value:.0f} {unit}"
    return f"{value:.1f} {unit}"


def format_ns(nanoseconds: float) -> str:
    """`870 ns`, `18 us`, `4.2 ms`, `1.50 s`."""
    if nanoseconds < 1e3:
        return f"{nanoseconds:.0f} ns"
    for factor, unit in ((1e3, "us"), (1e6, "ms")):
        value = nanoseconds / factor
        if value < 999.5:
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
    return f"{nanoseconds / 1e9:.2f} s"


def page_count(size: int, page_size: int = PAGE_SIZE) -> int:
    """How many pages hold `size` bytes."""
    return -(-size // page_size)


def page_span(offset: int, size: int) -> range:
    """The pages that `size` bytes at `offset` touch; a request for nothing still concerns its page."""
    first = offset // PAGE_SIZE
    return range(first, max(first + 1, page_count(offset + size)))


def tail_waste(size: int, page_size: int = PAGE_SIZE) -> int:
    """Bytes of a file's last page that hold nothing: its internal fragmentation."""
    return -size % page_size


_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ns|us|ms|s|m|h)?", re.ASCII)
_SECOND_FACTORS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_seconds(text: str) -> float:
    """Seconds in `20ms`, `1.5s`, `2m` (minutes); a number alone is seconds. Raises SpecError for anything else."""
    match = _SECONDS.fullmatch(text.strip())
    if match is None:
        raise SpecError(f"{text!r} is not a time; write 20ms, 1.5s or 2m")
    return float(match[1]) * _SECOND_FACTORS[match[2] or "s"]
