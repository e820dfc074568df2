"""The keys of the screen, and the line that tells which there are."""

from rich.text import Text
from textual.binding import Binding, BindingType

from mapfs.views.live.player import Player
from mapfs.views.live.words import keyed

BINDINGS: tuple[BindingType, ...] = (
    Binding("q,ctrl+c", "quit", priority=False, show=False),
    Binding("question_mark", "help", show=False),
    Binding("space", "pause", show=False),
    Binding("slash", "filter", show=False),
    Binding("c", "colour", show=False),
    Binding("f,enter", "follow", show=False),
    Binding("plus,equals_sign", "zoom(0.5)", show=False),
    Binding("minus", "zoom(2)", show=False),
    Binding("0", "whole", show=False),
    Binding("z", "range", show=False),
    Binding("s", "order", show=False),
    Binding("less_than_sign", "faster(-1)", show=False),
    Binding("greater_than_sign", "faster(1)", show=False),
    Binding("full_stop", "step", show=False),
    Binding("e", "end", show=False),
    Binding("r", "restart", show=False),
    Binding("escape", "plain", show=False),
)


def keys_line(player: Player) -> Text:
    """Those that do something now."""
    following = player.shown.followed is not None
    common = [("?", "help"), ("tab", "pane"), ("space", "go on" if player.paused else "pause"), ("q", "quit")]
    more = [("/", "filter"), ("c", "colour"), ("f", "all" if following else "follow"), ("+-", "zoom")]
    trace = [("<>", "speed"), (".", "step"), ("e", "end")] if player.feed.recorded else []
    again = [("r", "again")] if player.again else []
    if player.over and again:  # what there is to do now comes first: a narrow terminal has no room for all
        common, again = [("q", "quit"), *again, *common[:2]], []
    return keyed(*common, *more, *trace, *again)
