"""`mapfs inject MNT/FILE RULE...`: makes demands of a file slow, wrong or fail while the mount runs."""

import click

from mapfs.client import ask, target


@click.command(short_help="Make pages of a file slow, wrong or fail.")
@click.argument("path", metavar="MNT/FILE")
@click.argument("rules", metavar="[RULE]...", nargs=-1)
@click.option("--clear", is_flag=True, help="Forget the rules that were injected before.")
def command(path: str, rules: tuple[str, ...], clear: bool) -> None:
    """Add rules to those of the file, and print all that hold now. They hold for what is asked for from now on:
    pages in the page cache ask for nothing (mapfs drop takes them out).

    \b
    delay=TIME[@PAGES][:PROBABILITY]           demands wait
    error=ERRNO[@PAGES][:PROBABILITY|:TIMES]   demands fail: SIGBUS for a mapping
    write-error=ERRNO[@PAGES][...]             writes fail: at msync, fsync or close
    corrupt=flip|zero|random[@PAGES][...]      bytes are wrong

    PAGES are as in 3, 5-9 or 7-, joined by + .
    """
    file = target(path)
    held = ask(file.mount, "inject", file=file.inode, rules=list(rules), clear=clear)["rules"]
    for rule in held:
        click.echo(rule)
    if not held:
        click.echo(f"no rule holds for {path}; write mapfs inject {path} error=EIO@3", err=True)
