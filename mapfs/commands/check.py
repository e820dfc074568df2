"""`mapfs check TRACE|MNT --budget FILE`: whether a run kept within its budget, for any CI."""

import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console

from mapfs.errors import MapfsError, UsageError, reason_of
from mapfs.toml import read_text
from mapfs.trace.reader import reading
from mapfs.views.budget import Budget, as_toml, check, parse, render, renewed
from mapfs.views.summary import summarise

_EXCEEDED = 1  # the exit code, as of whatever failed


@click.command(short_help="Hold a trace against a budget of pages, re-faults and waits.")
@click.argument("target", metavar="TRACE|MNT")
@click.option("--budget", "path", required=True, metavar="FILE", help="A TOML file: [total], [[file]].")
@click.option("--update", is_flag=True, help="Write what this run took into the budget.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(target: str, path: str, update: bool, as_json: bool) -> None:
    """Print what a run took of each limit of its budget. Ends with 1 where one was exceeded, or where events were
    lost, so that it cannot be told.

    \b
    [total]              the whole run; pages are demanded for the first time,
    pages = 200          re-faults again, wait_ms is the sum of all waits
    refaults = 0
    [[file]]             the files that match, together
    match = "*.db"
    pages = 40
    """
    budget = _read(path, may_lack=update)
    with reading(target) as trace:
        summary = summarise(trace.connection)
    if update:
        budget = renewed(summary, budget)
        try:
            Path(path).write_text(as_toml(budget), "utf-8")
        except OSError as error:
            raise MapfsError(f"cannot write {path}: {reason_of(error)}") from error
    assert budget is not None
    verdict = check(summary, budget)
    if as_json:
        click.echo(msgspec.json.encode(verdict.as_json()))
    else:
        render(verdict, Console(width=None if sys.stdout.isatty() else 200))
        if verdict.lost:
            click.echo(f"lost {verdict.lost:,} events: what was found is the least that it can be")
        click.echo(f"next: mapfs log {target}")
    if not verdict.ok:
        sys.exit(_EXCEEDED)


def _read(path: str, *, may_lack: bool) -> Budget | None:
    try:
        text = read_text(path)
    except FileNotFoundError:
        if may_lack:
            return None
        raise UsageError(f"{path} does not exist; mapfs check TRACE --budget {path} --update writes it") from None
    return parse(text, path)
