"""How far a benchmark is, on standard error, where that is a terminal."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn


@contextlib.contextmanager
def progress() -> Iterator[Callable[[float, str], None]]:
    """A bar that is gone at the end; what is given takes the share that is done, 0 to 1, and what is next."""
    console = Console(stderr=True)
    shows = sys.stderr.isatty() and not console.is_dumb_terminal  # whatever FORCE_COLOR makes rich think
    columns = (BarColumn(20), TaskProgressColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not shows) as shown:
        task = shown.add_task("mounting", total=1.0)

        def tell(share: float, what: str) -> None:
            shown.update(task, completed=share, description=what)

        yield tell
