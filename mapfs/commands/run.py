"""`mapfs run -- CMD ARGS...`: an unchanged program, its directories seen through a mount of its own."""

import os
import re
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

import click
import msgspec
from rich.console import Console

from mapfs import client
from mapfs.errors import UsageError
from mapfs.fuse.options import MountOptions
from mapfs.running import namespace, places, program
from mapfs.running.server import Server
from mapfs.trace.evidence import tiers
from mapfs.trace.reader import open_trace
from mapfs.trace.sinks import warn
from mapfs.units import parse_size
from mapfs.views.startup import Interval, profile, render_binaries, render_starts
from mapfs.views.summary import render as render_summary
from mapfs.views.summary import summarise

_PIPE_WIDTH = 200  # a name that is folded cannot be found by grep
_SAY_AFTER = 2.0  # seconds of waiting for what the program left behind
_RULE = re.compile(r"(?:(?P<path>.*?):)?(?P<rule>(?:delay|error|write-error|corrupt|rate)=.*)", re.DOTALL)
_MOST_TOLD = 5  # processes in a sentence
_MOST_ROWS = 12  # of a table


@click.command(
    short_help="Run a program, and show the pages that it needed.",
    context_settings={"allow_interspersed_args": False},
)
@click.argument("argv", metavar="CMD [ARGS]...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--tree", "trees", metavar="DIR", multiple=True, help="See DIR through the mount; may be given again.")
@click.option("--file", "files", metavar="PATH", multiple=True, help="See this file through the mount; likewise.")
@click.option("-o", "--output", metavar="TRACE", help="Keep the trace in TRACE.")
@click.option("-f", "--force", is_flag=True, help="Replace TRACE if it is a trace already.")
@click.option("--repeat", type=click.IntRange(1), default=1, metavar="N", help="Start it N times, and compare.")
@click.option(
    "--inject", "rules", metavar="[PATH:]RULE", multiple=True, help="Delay or break demands, as in delay=1ms."
)
@click.option("--readahead", default="0", metavar="SIZE", help="How far the kernel may read ahead.  [default: 0]")
@click.option(
    "--evidence", type=click.Choice([tiers.AUTO, *tiers.TIERS]), default=tiers.AUTO, help="As of mapfs mount."
)
@click.option("--no-wait", is_flag=True, help="Do not wait for processes that the program leaves behind.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing when it has ended.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard error when it has ended.")
def command(
    argv: tuple[str, ...],
    trees: tuple[str, ...],
    files: tuple[str, ...],
    output: str | None,
    rules: tuple[str, ...],
    *,
    force: bool,
    repeat: int,
    readahead: str,
    evidence: str,
    no_wait: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run CMD with directories seen through a mount that only it and its children see.

    Without --tree and --file these are /usr and the directory of CMD. Input, output, signals, exit code, terminal,
    directory and environment are the program's own; when it has ended, standard error has what it demanded.
    """
    path = places.find_program(argv[0])
    chosen = places.choose(trees, files, path)
    everywhere, single = _rules(rules)
    single = [(os.path.realpath(file), rule) for file, rule in single]
    for file, _ in single:
        if not chosen.has(file):
            raise UsageError(f"--inject {file}: it is in no --tree, and no --file")
    server = Server(
        MountOptions(
            mountpoint="",  # of the server's own
            files=chosen.specs(everywhere),
            readahead=parse_size(readahead),
            allow_other=os.geteuid() == 0,
            trace=os.path.abspath(output) if output else None,
            replace_trace=force,
            evidence=evidence,
        )
    )
    leave = False
    try:
        for file, rule in single:
            inside = client.target(server.mountpoint + file)
            client.ask(server.mountpoint, "inject", file=inside.inode, rules=[rule], clear=False)
        space = namespace.make(server.mountpoint, chosen.bound)
        with program.Signals() as signals:
            try:
                server.detach()
                ends = [program.run(path, argv, space, signals) for _ in range(repeat)]
            finally:
                space.close()
            leave = not _wait(server, space, signals, argv[0], at_once=no_wait)
        _conclude(server, ends, argv, output, quiet=quiet, as_json=as_json, left=leave)
    finally:
        server.close(leave=leave)
    if ends[-1].signal is not None:
        program.die_of(ends[-1].signal)
    sys.exit(ends[-1].exit_code)


def _rules(given: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Those for all files, and those for one. Raises UsageError."""
    everywhere, single = [], []
    for text in given:
        match = _RULE.fullmatch(text)
        if match is None:
            raise UsageError(f"--inject {text}: it is no rule; write delay=20ms, or /path/of/file:error=EIO@3")
        if match["path"] is None:
            everywhere.append(match["rule"])
        else:
            single.append((match["path"], match["rule"]))
    return everywhere, single


def _wait(server: Server, space: namespace.Namespace, signals: program.Signals, name: str, *, at_once: bool) -> bool:
    """Until nobody uses the mount any more, and its trace is complete; False where that was not waited for."""
    said = False
    while not server.ended:
        if at_once and space.members():
            return False
        if signals.child_or_end(_SAY_AFTER if not said else None):
            return False
        if not said and not server.ended:
            said = True
            left = _told(space.members())
            warn(f"{name} left {left} behind; waiting for the end, which Ctrl-C or --no-wait does not")
    return True


def _told(members: Sequence[namespace.Member]) -> str:
    names = [f"{member.command}/{member.pid}" for member in members[:_MOST_TOLD]]
    more = f" and {len(members) - _MOST_TOLD} more" if len(members) > _MOST_TOLD else ""
    return ", ".join(names) + more if names else "processes"


def _conclude(
    server: Server,
    ends: Sequence[program.Ended],
    argv: Sequence[str],
    output: str | None,
    *,
    quiet: bool,
    as_json: bool,
    left: bool,
) -> None:
    """Says on standard error how it ended, and what it demanded."""
    for sentence in server.sentences():
        warn(sentence)
    name = _name_of(ends[-1].signal)
    if name is not None and not quiet:
        warn(f"{argv[0]} was killed by {name} ({signal.strsignal(ends[-1].signal or 0)})")
    if quiet:
        return
    connection = open_trace(server.trace).connection
    try:
        intervals = [Interval(one.started_ns, one.ended_ns, one.exit_code, _name_of(one.signal)) for one in ends]
        found, total = profile(connection, intervals), summarise(connection)
    finally:
        connection.close()
    if as_json:
        told = {"argv": argv, "trace": output, "complete": not left, **asdict(found), "summary": total.as_json()}
        click.echo(msgspec.json.encode(told), err=True)
        return
    console = Console(stderr=True, width=None if sys.stderr.isatty() else _PIPE_WIDTH)
    render_starts(found, console)
    render_summary(replace(total, mountpoint=shlex.join(argv)), console, most=_MOST_ROWS)
    render_binaries(found, console, most=_MOST_ROWS)
    if output:
        click.echo(f"next: mapfs summary --by label {output}", err=True)
    else:
        click.echo(f"next: mapfs run -o t.db -- {shlex.join(argv)}; mapfs log t.db", err=True)


def _name_of(number: int | None) -> str | None:
    if number is None:
        return None
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
