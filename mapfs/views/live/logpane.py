"""The newest events, the last at the bottom."""

from typing import Any, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from mapfs.views.live.model import Model
from mapfs.views.live.pane import Pane
from mapfs.views.live.words import log_line


class LogPane(Pane, can_focus=True):
    """Those that the model has to show: with the words of a filter, of one process."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "back(1)", show=False),
        Binding("down,j", "back(-1)", show=False),
        Binding("pageup", "back(10)", show=False),
        Binding("pagedown", "back(-10)", show=False),
        Binding("end", "back(-1000000)", show=False),
    ]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.newer = 0  # lines that are newer than the last that is shown

    def show_log(self, model: Model, words: str) -> None:
        """Draws as many as there is room for."""
        room = max(0, self.size.height - 1)
        self.newer = min(self.newer, max(0, len(model.shown) - room))
        end = len(model.shown) - self.newer
        picked = [model.shown[at] for at in range(max(0, end - room), end)]
        title = f"LOG  with {words!r}" if words else "LOG"
        if model.followed is not None:
            title += f"  of {model.followed.process.name}"
        if self.newer:
            title += f"  {self.newer:,} newer lines below"
        self.show([self.heading(Text(title)), *(log_line(event, self.size.width) for event in picked)])

    def action_back(self, by: int) -> None:
        """Shows older lines, or newer ones."""
        self.newer = max(0, self.newer + by)
        self.post_message(self.Moved())
