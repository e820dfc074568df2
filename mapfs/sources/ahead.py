"""`prefetch=auto|off|SIZE`, an option of every kind: how far a file whose demands run forward is pushed ahead."""

from collections.abc import Mapping

from mapfs.errors import SpecError
from mapfs.units import PAGE_SIZE, parse_size

OPTIONS = frozenset({"prefetch"})
AUTO = 4 << 20  # bytes: two milliseconds of pushing
_LARGEST = 1 << 30


def parse_prefetch(text: str) -> int:
    """Bytes of the largest window, 0: nothing is pushed. Raises SpecError."""
    if text in ("auto", "off"):
        return AUTO if text == "auto" else 0
    size = parse_size(text)
    if size and not PAGE_SIZE <= size <= _LARGEST:
        raise SpecError(f"prefetch={text} is no window; write auto, off, or a size from {PAGE_SIZE} to 1G")
    return size


def prefetch_of(options: Mapping[str, str | None]) -> int | None:
    """What the options of a spec say; None: nothing. Raises SpecError."""
    if "prefetch" not in options:
        return None
    return parse_prefetch(options["prefetch"] or "auto")
