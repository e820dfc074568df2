"""The first line: what is looked at, whether it goes on, how much there was, and what is missing."""

from rich.text import Text

from mapfs.views.lines import visible
from mapfs.views.live.player import Player
from mapfs.views.live.words import clock, end_of, span, sparkline


def header(player: Player, name: str | None, width: int) -> list[Text]:
    """One line, the state first, since it is what changes; `name`: what to call what is looked at."""
    model = player.shown
    counts = model.total
    text = Text.assemble(_state(player), "  ")
    lost = [f"{count:,} {what}" for count, what in ((model.lost, "events"), (model.lost_samples, "samples")) if count]
    if lost:
        text.append(f" lost {', '.join(lost)} ", "bold red reverse").append("  ")
    called = end_of(visible(player.feed.target), width // 4) if name is None else _start_of(visible(name), width // 4)
    text.append(called, "bold")
    text.append(f"  {counts.demands:,} demands  {model.rate.a_second(player.now_ns):,}/s ")
    if width >= 120:
        text.append(sparkline(model.rate.history(player.now_ns, 40)), "cyan")
        text.append(
            f"  {counts.pages:,} pages, {counts.refaults:,} re-faults, {counts.shared + counts.joined:,} shared"
        )
    text.append(f"  evidence: {model.mount.evidence}", "dim")
    text.truncate(width, overflow="ellipsis")
    return [text]


def _start_of(command: str, width: int) -> str:
    return command if len(command) <= width else f"{command[: width - 1]}…"


def _state(player: Player) -> Text:
    feed, model = player.feed, player.shown
    if feed.failed and player.over:
        return Text(f" {feed.ended} ", "bold red reverse")
    if feed.recorded:
        return _of_trace(player)
    if player.paused:
        return Text(
            f" PAUSED {clock(model.last_wall_ns, digits=1)}, {player.behind:,} events since ", "bold yellow reverse"
        )
    if player.over:
        return Text(f" ENDED: {feed.ended} ", "bold yellow reverse")
    return Text(" LIVE ", "bold green reverse")


def _of_trace(player: Player) -> Text:
    feed, model = player.feed, player.shown
    played = span(player.now_ns - (model.first_ns or player.now_ns))
    of = f" of {span(feed.length_ns)}" if feed.length_ns else ""
    speed = f"{player.speed:g}x"
    if player.over:
        return Text(f" ENDED at {played} ", "bold yellow reverse")
    if player.paused:
        return Text(f" PAUSED {played}{of} {speed} ", "bold yellow reverse")
    return Text(f" REPLAY {played}{of} {speed} ", "bold green reverse")
