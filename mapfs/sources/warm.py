"""`warm=TRACE`, an option of every kind: what the recorded run needed of the file is pushed before it is demanded.

Sources know nothing of it. Whoever makes the mount reads the trace, and hands the mount a plan.
"""

from collections.abc import Mapping

from mapfs.errors import SpecError
from mapfs.sources.spec import Spec

OPTIONS = frozenset({"warm"})


def trace_of(options: Mapping[str, str | None]) -> str | None:
    """The trace that the options of a spec name. Raises SpecError where `warm` has no value."""
    if "warm" in options and not options["warm"]:
        raise SpecError("warm= names no trace; write warm=run.db, recorded by mapfs mount --trace run.db")
    return options.get("warm")


def warmed_by(specs: Mapping[str, Spec]) -> dict[str, str]:
    """The trace of each of `specs` that has one, by its name in the mount."""
    found = ((name, trace_of(spec.options)) for name, spec in specs.items())
    return {name: trace for name, trace in found if trace is not None}
