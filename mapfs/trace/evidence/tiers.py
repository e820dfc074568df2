"""Which evidence there can be here, and why not more."""

from collections.abc import Callable, Sequence

from mapfs.errors import EvidenceError
from mapfs.trace.evidence import faults, tracepoints
from mapfs.trace.evidence.perf import Shared, close_rings

REQUESTS_ALONE, FAULTS, KERNEL = "requests", "faults", "kernel"
TIERS = (REQUESTS_ALONE, FAULTS, KERNEL)
AUTO = "auto"

Rings = Sequence[tuple[str, Shared]]
_OPENERS: dict[str, Callable[[], Rings]] = {FAULTS: faults.open_rings, KERNEL: tracepoints.open_rings}


def opened(wanted: str) -> tuple[str, Rings]:
    """The tier for `wanted`, which is one of TIERS or AUTO, the best there is; and its rings. Raises EvidenceError."""
    if wanted == REQUESTS_ALONE:
        return wanted, []
    if wanted != AUTO:
        return wanted, _OPENERS[wanted]()
    for tier in (KERNEL, FAULTS):
        try:
            return tier, _OPENERS[tier]()
        except EvidenceError:
            continue
    return REQUESTS_ALONE, []


def refused(tier: str) -> EvidenceError | None:
    """Why there cannot be the evidence of `tier`; None: there can."""
    try:
        close_rings(opened(tier)[1])
    except EvidenceError as error:
        return error
    return None
