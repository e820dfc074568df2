"""`mapfs report TRACE|MNT -o FILE.html`: a picture of a trace in one page."""

import contextlib
import os
import sys

import click
import msgspec

from mapfs.errors import TraceError
from mapfs.trace.reader import reading
from mapfs.views.report import page_of, report_of


@click.command(short_help="Draw a trace: one page with a picture and tables.")
@click.argument("target", metavar="TRACE|MNT")
@click.option("-o", "--output", metavar="FILE", help="Where to; - is standard output.  [required without --json]")
@click.option("-f", "--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--json", "as_json", is_flag=True, help="The data of the page, as one JSON object.")
@click.option("--no-labels", is_flag=True, help="Read no file to tell what an offset of it is called.")
def command(target: str, output: str | None, force: bool, as_json: bool, no_labels: bool) -> None:
    """Write one HTML file that shows when which page of which file was demanded, by whom, and who waited.

    It opens in any browser, without a network.
    """
    if output is None and not as_json:
        raise click.UsageError("say where to write the page: -o FILE.html, or -o - for standard output")
    if output not in (None, "-") and os.path.exists(output) and not force:
        raise _exists(output)
    with reading(target) as trace:
        report = report_of(trace.connection, trace.note, labels=not no_labels)
    made = msgspec.json.encode(report) + b"\n" if as_json else page_of(report).encode()
    if output in (None, "-"):
        sys.stdout.buffer.write(made)
        sys.stdout.flush()
        return
    _write(output, made, force=force)
    if not as_json:
        click.echo(f"{output} is written; next: open it in a browser")


def _exists(output: str) -> TraceError:
    return TraceError(f"{output} exists; choose another name, or replace it with --force")


def _write(output: str, made: bytes, *, force: bool) -> None:
    try:
        with open(output, "wb" if force else "xb") as file:
            try:
                file.write(made)
                file.flush()
            except OSError:
                if os.path.isfile(output):  # half of it would be taken for the whole
                    with contextlib.suppress(OSError):
                        os.unlink(output)
                raise
    except FileExistsError:
        raise _exists(output) from None
    except OSError as error:
        raise TraceError(f"cannot write {output}: {error.strerror}") from error
