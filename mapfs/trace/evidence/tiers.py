"""Which evidence there can be here, and why not more."""

from mapfs.errors import EvidenceError
from mapfs.trace.evidence import faults, tracepoints

REQUESTS_ALONE, FAULTS, KERNEL = "requests", "faults", "kernel"
TIERS = (REQUESTS_ALONE, FAULTS, KERNEL)
AUTO = "auto"
_PROBES = {FAULTS: faults.probe, KERNEL: tracepoints.probe}


def refused(tier: str) -> EvidenceError | None:
    """Why there cannot be the evidence of `tier`; None: there can."""
    try:
        _PROBES.get(tier, lambda: None)()
    except EvidenceError as error:
        return error
    return None


def choose(wanted: str) -> str:
    """The tier for `wanted`, which is one of TIERS or AUTO: the best there is. Raises EvidenceError."""
    if wanted == AUTO:
        return next(tier for tier in reversed(TIERS) if refused(tier) is None)
    error = refused(wanted)
    if error is not None:
        raise error
    return wanted
