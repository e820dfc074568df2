"""What a mount's events add up to: for each file, each process, over time, and who profited from whom.

`scan` reads the tables of docs/TRACE.md once, in ranges of serial numbers that `mapfs.views.spread` gives to the CPUs;
the other modules here turn what it found into the dataclasses of `model`, and `render` prints those. Every number is
exact. A number that the evidence of the trace cannot tell is None, and is shown as `?`.
"""

from mapfs.views.summary.build import summarise
from mapfs.views.summary.model import Counts, Summary
from mapfs.views.summary.ranks import nearest_rank
from mapfs.views.summary.render import render

__all__ = ["Counts", "Summary", "nearest_rank", "render", "summarise"]
