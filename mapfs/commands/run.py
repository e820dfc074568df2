"""`mapfs run -- CMD ARGS...`: an unchanged program, its directories seen through a mount of its own."""

import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import click
import msgspec
from rich.console import Console

from mapfs import client
from mapfs.errors import MapfsError, UsageError, reason_of
from mapfs.fuse.options import MountOptions
from mapfs.running import namespace, places, program
from mapfs.running.screen import Screen, Show
from mapfs.running.server import Server
from mapfs.trace.evidence import tiers
from mapfs.trace.planning import plan_for
from mapfs.trace.reader import reading
from mapfs.trace.sinks import warn
from mapfs.units import parse_size
from mapfs.views.live.screen import app_class, watch
from mapfs.views.report import page_of, report_of
from mapfs.views.startup import Interval, Profile, profile, render_binaries, render_starts
from mapfs.views.summary import Summary, summarise
from mapfs.views.summary import render as render_summary
from mapfs.views.symbols import symbol_order

_PIPE_WIDTH = 200  # a name that is folded cannot be found by grep
_SAY_AFTER = 5.0  # seconds of waiting for what the program left behind
_RULE = re.compile(r"(?:(?P<path>.*?):)?(?P<rule>(?:delay|error|write-error|corrupt|rate)=.*)", re.DOTALL)
_MOST_TOLD = 5  # processes in a sentence
_MOST_ROWS = 12  # of a table


@dataclass(frozen=True, slots=True)
class _Told:
    """What is to be told when the program has ended; `program` is its path in the mount."""

    argv: tuple[str, ...]
    program: str
    output: str | None
    symbol_order: str | None
    report: str | None
    quiet: bool
    as_json: bool


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
@click.option("--warm", metavar="TRACE", multiple=True, help="Push what this recorded run needed, before the start.")
@click.option("--readahead", default="0", metavar="SIZE", help="How far the kernel may read ahead.  [default: 0]")
@click.option(
    "--evidence", type=click.Choice([tiers.AUTO, *tiers.TIERS]), default=tiers.AUTO, help="As of mapfs mount."
)
@click.option(
    "--symbol-order", "symbols_to", metavar="FILE", help="Write the symbols of CMD as a linker may order them."
)
@click.option("--report", "report_to", metavar="FILE", help="Write the page of mapfs report to FILE.")
@click.option("--live", is_flag=True, help="Watch it on the terminal while it runs.")
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
    warm: tuple[str, ...],
    readahead: str,
    evidence: str,
    symbols_to: str | None,
    report_to: str | None,
    live: bool,
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
    for option, name in (("--symbol-order", symbols_to), ("--report", report_to)):
        if name is not None and not force and os.path.exists(name):
            raise UsageError(f"{option} {name}: it exists; replace it with --force")
    told = _Told(argv, places.name_of(os.path.realpath(path)), output, symbols_to, report_to, quiet, as_json)
    options = MountOptions(
        mountpoint="",  # of the server's own
        files=chosen.specs(everywhere),
        readahead=parse_size(readahead),
        allow_other=os.geteuid() == 0,
        trace=os.path.abspath(output) if output else None,
        replace_trace=force,
        evidence=evidence,
        warm=plan_for(warm, {}),
        warm_first=True,
    )
    screen = _screen() if live else None
    with program.Signals() as signals:
        server = Server(options)
        leave = False
        try:
            for file, rule in single:
                inside = client.target(server.mountpoint + file)
                client.ask(server.mountpoint, "inject", file=inside.inode, rules=[rule], clear=False)
            space = namespace.make(server.mountpoint, chosen.bound)
            try:
                server.detach()
                if screen is not None:
                    screen.open(_view_of(server.trace, argv), signals)
                ends, end = _starts(path, argv, repeat, space, signals, screen)
            finally:
                space.close()
            leave = not _wait(server, space, signals, screen, argv[0], at_once=no_wait)
            if screen is not None:
                screen.wait(signals)
            if ends:
                _conclude(server, ends, told, left=leave)
        finally:
            if screen is not None:
                screen.close()
            server.close(leave=leave)
    if end is not None:
        program.die_of(end)
    sys.exit(ends[-1].exit_code)


def _screen() -> Screen:
    """What keeps a view from being shown is better said before anything is mounted. Raises MapfsError."""
    screen = Screen()
    app_class()
    return screen


def _view_of(trace: str, argv: Sequence[str]) -> Show:
    """`mapfs live --follow` of the trace, which knows what it is the trace of."""

    def show(shown: Callable[[], None]) -> None:
        ended = f"{os.path.basename(argv[0])} has ended, q goes on"
        app = watch(trace, follow=True, name=shlex.join(argv), ended=ended, shown=shown)
        sys.exit(app.return_code or 0)

    return show


def _starts(
    path: str,
    argv: tuple[str, ...],
    repeat: int,
    space: namespace.Namespace,
    signals: program.Signals,
    screen: Screen | None,
) -> tuple[list[program.Ended], int | None]:
    """How each start ended, and the signal to end by: that of the last start, or one that came before a start."""
    ends: list[program.Ended] = []
    while len(ends) < repeat:
        end = signals.end()
        if end is None:
            ends.append(program.run(path, argv, space, signals, screen))
            end = ends[-1].signal
        elif screen is not None:
            screen.close()
        if screen is not None:
            screen.settle()
        if end is not None:
            return ends, end
    return ends, None


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


def _wait(
    server: Server,
    space: namespace.Namespace,
    signals: program.Signals,
    screen: Screen | None,
    name: str,
    *,
    at_once: bool,
) -> bool:
    """Until nobody uses the mount any more, and its trace is complete; False where that was not waited for."""
    said, say_at = False, time.monotonic() + _SAY_AFTER
    if screen is not None:
        screen.attend()
    while not server.ended:
        if at_once and (said or space.members()):
            return False
        if signals.child_or_end(max(0.0, say_at - time.monotonic()) if not said else None):
            if screen is not None:
                screen.close()
            return False
        if screen is not None:
            screen.attend()
        if not said and time.monotonic() >= say_at and not server.ended:
            said = True
            members = space.members()
            why = f"left {_told(members)} behind" if members else "has ended, and its mount is still in use"
            warn(f"{name} {why}; waiting for the end, which Ctrl-C or --no-wait does not")
    return True


def _told(members: Sequence[namespace.Member]) -> str:
    names = [f"{member.command}/{member.pid}" for member in members[:_MOST_TOLD]]
    more = f" and {len(members) - _MOST_TOLD} more" if len(members) > _MOST_TOLD else ""
    return ", ".join(names) + more


def _conclude(server: Server, ends: Sequence[program.Ended], told: _Told, *, left: bool) -> None:
    """Says on standard error how it ended, and what it demanded; never raises: the exit code is the program's."""
    for sentence in server.sentences():
        warn(sentence)
    name = _name_of(ends[-1].signal)
    if name is not None and not told.quiet:
        warn(f"{told.argv[0]} was killed by {name} ({signal.strsignal(ends[-1].signal or 0)})")
    intervals = [Interval(one.started_ns, one.ended_ns, one.exit_code, _name_of(one.signal)) for one in ends]
    try:
        with reading(server.trace) as trace:
            connection = trace.connection
            if not told.quiet:
                _show(profile(connection, intervals), summarise(connection), told, left=left)
            if told.symbol_order is not None:
                symbols = symbol_order(connection, told.program)
                with open(told.symbol_order, "w", encoding="utf-8", errors="surrogateescape") as file:
                    file.writelines(f"{symbol}\n" for symbol in symbols)
            if told.report is not None:
                page = page_of(report_of(connection, None, labels=True))
                with open(told.report, "w", encoding="utf-8") as file:
                    file.write(page)
    except (MapfsError, OSError) as error:
        warn(reason_of(error))
    except SystemExit:  # by rich, where nobody reads standard error
        pass


def _show(found: Profile, total: Summary, told: _Told, *, left: bool) -> None:
    if told.as_json:
        said = {"argv": told.argv, "trace": told.output, "complete": not left}
        click.echo(msgspec.json.encode({**said, **asdict(found), "summary": total.as_json()}), err=True)
        return
    words = shlex.join(told.argv)
    console = Console(stderr=True, width=None if sys.stderr.isatty() else _PIPE_WIDTH)
    render_starts(found, console)
    render_summary(replace(total, mountpoint=words), console, most=_MOST_ROWS)
    render_binaries(found, console, most=_MOST_ROWS)
    output = told.output
    next_one = f"mapfs summary --by label {output}" if output else f"mapfs run -o t.db -- {words}; mapfs log t.db"
    click.echo(f"next: {next_one}", err=True)


def _name_of(number: int | None) -> str | None:
    if number is None:
        return None
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
