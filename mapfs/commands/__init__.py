"""The command line. A command is a module here with a click command called `command`; adding one touches no
other file. Errors become one sentence on standard error and an exit code; nobody sees a traceback.
"""

import importlib
import os
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

import click

from mapfs import __version__
from mapfs.errors import MOUNT_CODES, MapfsError, lack_of, reason_of
from mapfs.fuse import fstab
from mapfs.trace.sinks import warn

DEBUG = "MAPFS_DEBUG"


class Commands(click.Group):
    """Imports a command when it is asked for, so that the others cost it no time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(module.name for module in pkgutil.iter_modules(__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(f"{__name__}.{cmd_name}").command
        assert isinstance(command, click.Command)
        if ctx.resilient_parsing:  # a shell completes
            from mapfs.completing import complete_paths

            complete_paths(command, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # before click makes an exit code of 1 of it
            raise _UnreadError from None


class _UnreadError(Exception):
    """Whoever read our output has seen enough."""


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mapfs")
def mapfs() -> None:
    """A filesystem whose files are mappable and whose every page demand is visible.

    Start with: mapfs mount /tmp/x
    """


def main(argv: list[str] | None = None) -> Any:
    """Runs a command and ends the process: 0 fine, 1 failed, 2 usage, 130 interrupted."""
    words = sys.argv[1:] if argv is None else argv
    if fstab.is_call(words):
        mount_helper(words)
    sys.exit(_run(lambda: words))


def mount_helper(argv: list[str] | None = None) -> Any:
    """What mount(8) runs as mount.fuse.mapfs: mounts, and ends with an exit code of mount(8) once the mount answers."""
    words = sys.argv[1:] if argv is None else argv
    sys.exit(MOUNT_CODES[_run(lambda: fstab.command_of(words))])


def _run(words: Callable[[], list[str] | None]) -> int:
    """Runs the command that `words` gives, if it gives one; its exit code."""
    try:
        given = words()
        if given is not None:
            mapfs.main(given, prog_name="mapfs", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except _UnreadError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except MapfsError as error:
        if DEBUG in os.environ:
            raise
        warn(str(error))
        return error.exit_code
    except Exception as error:
        if DEBUG in os.environ:
            raise
        lack = lack_of(error)
        if lack is not None:
            warn(lack)
            return 1
        warn(f"{reason_of(error)}; this is a defect of mapfs, {DEBUG}=1 shows where it happened")
        return 1
    return 0
