"""`mapfs lesson [NAME]...`: lessons in virtual memory, with real processes, and the trace to prove them."""

import sys

import click
import msgspec

from mapfs.errors import UsageError
from mapfs.signals import end_in_order
from mapfs.trace.evidence import tiers
from mapfs.units import parse_size

_MOST_READAHEAD = (1 << 32) - 1  # what FUSE_INIT has room for


@click.command(short_help="Give a lesson in virtual memory, and prove it.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All of them, in their order.")
@click.option("-y", "--yes", is_flag=True, help="Ask for no predictions.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON a lesson: what it claims, and what was measured.")
@click.option(
    "--evidence",
    type=click.Choice([tiers.AUTO, *tiers.TIERS]),
    default=tiers.AUTO,
    help="With less than there is: what cannot be seen then is ?.  [default: auto]",
)
@click.option(
    "--readahead", metavar="SIZE", help="With another read-ahead than the lesson wants, to see what it changes."
)
def command(
    names: tuple[str, ...], every: bool, yes: bool, as_json: bool, evidence: str, readahead: str | None
) -> None:
    """Without NAME, list the lessons. Each makes a small mount, says what is about to happen, asks for a prediction,
    has real processes do it, shows the lines of the log, and says whether they bear it out.

    Exit code 1 if the evidence contradicts a lesson.
    """
    from mapfs.lessons import NAMES, load
    from mapfs.lessons.give import give
    from mapfs.lessons.lesson import Outcome
    from mapfs.lessons.stage import Settings
    from mapfs.lessons.teller import Teller, can_ask

    if names and every:
        raise UsageError("give names or --all, not both")
    lessons = [load(name) for name in (NAMES if every else names)]
    if not lessons:
        _list(as_json)
        return
    end_in_order()
    teller = Teller(silent=as_json, asks=not yes and can_ask())
    settings = Settings(evidence, None if readahead is None else min(parse_size(readahead), _MOST_READAHEAD))
    outcomes: list[Outcome] = []
    for lesson in lessons:
        if outcomes:
            teller.rule()
        outcomes.append(give(lesson, teller, settings))
        if as_json:
            click.echo(msgspec.json.encode(outcomes[-1].as_json()))
    teller.conclude(outcomes, _next(names))
    if any(outcome.holds is False for outcome in outcomes):
        sys.exit(1)


def _list(as_json: bool) -> None:
    from mapfs.lessons import NAMES, load

    lessons = [load(name) for name in NAMES]
    if as_json:
        for lesson in lessons:
            click.echo(msgspec.json.encode({"lesson": lesson.name, "title": lesson.title}))
        return
    for lesson in lessons:
        click.echo(f"{lesson.name:<14}  {lesson.title}")
    click.echo(f"next: mapfs lesson {NAMES[0]}")


def _next(names: tuple[str, ...]) -> str | None:
    """The lesson after the last of `names`."""
    from mapfs.lessons import NAMES

    following = NAMES[NAMES.index(names[-1]) + 1 :] if names else ()
    return following[0] if following else None
