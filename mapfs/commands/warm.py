"""`mapfs warm MNT TRACE...`: pushes what a recorded run needed into a running mount, before it is demanded."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mapfs.client import ask
from mapfs.errors import MapfsError, TraceError
from mapfs.trace.plan import Plan
from mapfs.trace.planning import plan_of
from mapfs.trace.reader import reading
from mapfs.trace.sinks import warn
from mapfs.units import PAGE_SIZE, format_ns, format_size
from mapfs.views.score import render, score_of

_PIPE_WIDTH = 200  # a name that is folded cannot be found by grep


@dataclass
class _Done:
    """What was pushed of each file of the plan, by its index, and why the others were not."""

    pushed: dict[int, int] = field(default_factory=dict)
    reads: int = 0
    why: dict[int, str] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)


@click.command(short_help="Push what a recorded run needed, before it is demanded.")
@click.argument("mount", metavar="MNT")
@click.argument("traces", metavar="TRACE...", nargs=-1)
@click.option("--score", is_flag=True, help="Push nothing: what became of the pages that were pushed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(mount: str, traces: tuple[str, ...], *, score: bool, as_json: bool) -> None:
    """Push the pages of TRACE into the page cache of the mount, in the order in which they were needed.

    TRACE is a trace (mapfs mount --trace), or a list of mapfs export --to prefetch; several are merged. A file of
    another version than the one that was recorded is refused. With --score, MNT may also be the trace of a run that was
    warmed, and TRACE tells how long each page took when it was not.
    """
    if score:
        _score(mount, traces, as_json=as_json)
        return
    if not traces:
        raise TraceError("name the trace of a run to warm from, as in mapfs warm /tmp/x run.db")
    plan = plan_of(traces)
    if not plan.runs:
        raise TraceError(f"{', '.join(traces)}: no page was demanded in it, so there is nothing to push")
    began = time.monotonic()
    done = _push(mount, plan)
    seconds = time.monotonic() - began
    pushed = sum(done.pushed.values())
    if as_json:
        click.echo(msgspec.json.encode(_told(mount, plan, done, seconds)))
    else:
        click.echo(
            f"{pushed:,} of {plan.pages:,} pages pushed ({format_size(pushed * PAGE_SIZE)}, {done.reads:,} reads) "
            f"in {format_ns(seconds * 1e9)}; next, when they were used: mapfs warm --score {mount} {traces[0]}"
        )
    for place, why in done.why.items():
        warn(f"{plan.files[place].path} {'is refused' if place in done.refused else 'is not all pushed'}: {why}")
    if done.refused:
        raise MapfsError("what is refused is as it was; record a trace of what is served now")


def _told(mount: str, plan: Plan, done: _Done, seconds: float) -> dict[str, Any]:
    planned = dict.fromkeys(range(len(plan.files)), 0)
    for run in plan.runs:
        planned[run.file] += run.pages
    return {
        "mount": mount,
        "planned": plan.pages,
        "pushed": sum(done.pushed.values()),
        "reads": done.reads,
        "seconds": round(seconds, 6),
        "files": [
            {
                "file": file.path,
                "planned": planned[place],
                "pushed": done.pushed.get(place, 0),
                "refused": done.why[place] if place in done.refused else None,
                "failed": done.why.get(place) if place not in done.refused else None,
            }
            for place, file in enumerate(plan.files)
        ],
    }


def _push(mount: str, plan: Plan) -> _Done:
    done = _Done()
    with _bar(plan) as advance:
        for batch in plan.batches():
            with contextlib.ExitStack() as opened:
                _push_batch(mount, plan, batch, done, opened)
            advance(sum(pages for runs in batch.values() for _, pages in runs))
    return done


def _push_batch(
    mount: str, plan: Plan, batch: dict[int, list[tuple[int, int]]], done: _Done, opened: contextlib.ExitStack
) -> None:
    wanted, places = [], []
    for place, runs in batch.items():
        if place in done.why:
            continue
        file = plan.files[place]
        try:
            # the kernel takes pages of those files alone that it has in memory; this one it keeps meanwhile
            fd = os.open(os.path.join(mount, file.path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except (OSError, ValueError) as error:
            done.why[place] = f"it cannot be opened: {getattr(error, 'strerror', None) or error}"
            done.refused.add(place)
            continue
        opened.callback(os.close, fd)
        wanted.append({"file": os.fstat(fd).st_ino, "runs": runs, "size": file.size, "version": file.version})
        places.append(place)
    if not wanted:
        return
    for place, outcome in zip(places, ask(mount, "warm", files=wanted)["files"], strict=True):
        done.pushed[place] = done.pushed.get(place, 0) + outcome["pushed"]
        done.reads += outcome["reads"]
        if outcome["refused"]:
            done.refused.add(place)
        if outcome["refused"] or outcome["failed"]:
            done.why[place] = outcome["refused"] or outcome["failed"]


@contextlib.contextmanager
def _bar(plan: Plan) -> Iterator[Any]:
    """A bar on a terminal; what it gives takes pages that were dealt with."""
    console = Console(stderr=True)
    columns = (TextColumn("warming"), BarColumn(), TextColumn("{task.completed:,.0f} of {task.total:,.0f} pages"))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        task = progress.add_task("warming", total=plan.pages)
        yield lambda pages: progress.advance(task, pages)


def _score(target: str, traces: tuple[str, ...], *, as_json: bool) -> None:
    with contextlib.ExitStack() as stack:
        warmed = stack.enter_context(reading(target))
        before = [stack.enter_context(reading(trace)).connection for trace in traces]
        found = score_of(warmed.connection, before)
    if as_json:
        click.echo(msgspec.json.encode({**found.as_json(), "note": warmed.note}))
        return
    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    if warmed.note:
        console.print(warmed.note, style="yellow", highlight=False)
    render(found, console)
