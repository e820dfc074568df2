"""`corrupt=flip|zero|random[@PAGES][:LIMIT]`: bytes are wrong, the size is not.

`flip` turns one bit of each page, whose place follows from the number of the page; `zero` and `random` replace the
whole page. A page that is corrupted is so in the same way each time. What is written goes to the source as it is.
"""

from collections.abc import Callable

from mapfs.sources.base import Source
from mapfs.sources.wrap.faults import rule
from mapfs.sources.wrap.inject import Injected, Rules


def make_corrupt(value: str | None) -> Callable[[Source], Source]:
    """Raises SpecError for a way that is none of the three."""
    rules = Rules(rule("corrupt", value))
    return lambda inner: Injected(inner, rules)
