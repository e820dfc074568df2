"""What the panes have in common: lines of text, of which only those are drawn again that changed, so that a slow line
(ssh) carries little; and tables with a row that is chosen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from mapfs.views.live.words import end_of


class Pane(Widget):
    """Lines of text. `show()` gives it new ones."""

    class Moved(Message):
        """Another part of it is to be shown, or its cursor is elsewhere."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._lines: list[Text] = []

    def show(self, lines: Sequence[Text]) -> None:
        """Draws what is another than before."""
        old, self._lines = self._lines, list(lines)
        width = self.size.width
        for y in range(max(len(old), len(self._lines))):
            if (
                y >= len(old)
                or y >= len(self._lines)
                or old[y] != self._lines[y]
                or old[y].spans != self._lines[y].spans
            ):
                self.refresh(Region(0, y, width, 1))

    @property
    def text(self) -> str:
        """What it shows, without colours."""
        return "\n".join(line.plain for line in self._lines)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        line = self._lines[y] if y < len(self._lines) else Text()
        strip = Strip(line.render(self.app.console)).adjust_cell_length(width)
        return strip.apply_style(self.rich_style)

    def heading(self, text: Text) -> Text:
        """The first line of a pane; of the one that has the keys it is marked."""
        text.truncate(self.size.width, overflow="ellipsis", pad=True)
        text.stylize("bold reverse" if self.has_focus else "bold underline")
        return text


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; width 0 takes what the others leave. Of `paths` that have no room the end is shown."""

    name: str
    width: int
    paths: bool = False


class Table(Pane, can_focus=True):
    """Rows by key, one of them chosen. What is chosen stays so when rows change their places."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "move(-10)", show=False),
        Binding("pagedown", "move(10)", show=False),
        Binding("home", "move(-1000000)", show=False),
        Binding("end", "move(1000000)", show=False),
    ]

    class Chosen(Message):
        """Somebody chose a row."""

        def __init__(self, table: "Table", key: Any) -> None:
            super().__init__()
            self.table = table
            self.key = key

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.keys: Sequence[Any] = []
        self.chosen: Any = None
        self._top = 0

    def show_rows(
        self,
        columns: Sequence[Column],
        keys: Sequence[Any],
        cells: Callable[[Any], Sequence[Text]],
        last: Text | None = None,
    ) -> None:
        """`cells` gives a cell a column, of those rows that there is room for; `last` stands below them."""
        self.keys = keys
        room = max(1, self.size.height - 1 - (last is not None))
        at = keys.index(self.chosen) if self.chosen in keys else 0
        self._top = max(0, min(self._top, len(keys) - room))
        self._top = max(min(self._top, at), at - room + 1)
        widths = self._widths(columns)
        lines = [self.heading(_row([Text(column.name) for column in columns], widths))]
        for key in keys[self._top : self._top + room]:
            line = _row([*map(_fitted, cells(key), columns, widths)], widths)
            if key == self.chosen:
                line.stylize("reverse" if self.has_focus else "bold")
            lines.append(line)
        if last is not None:
            lines.append(last)
        self.show(lines)

    def _widths(self, columns: Sequence[Column]) -> list[int]:
        rest = self.size.width - sum(column.width for column in columns) - len(columns) + 1
        return [column.width or max(8, rest) for column in columns]

    def action_move(self, by: int) -> None:
        """Chooses another row."""
        if self.keys:
            at = self.keys.index(self.chosen) + by if self.chosen in self.keys else max(by, 0) - 1
            self._choose(min(max(at, 0), len(self.keys) - 1))

    def on_click(self, event: events.Click) -> None:
        """Chooses the row below the mouse."""
        at = self._top + event.y - 1
        if event.y > 0 and at < len(self.keys):
            self._choose(at)

    def _choose(self, at: int) -> None:
        self.chosen = self.keys[at]
        self.post_message(self.Chosen(self, self.chosen))


def _fitted(cell: Text, column: Column, width: int) -> Text:
    return Text(end_of(cell.plain, width)) if column.paths else cell


def _row(cells: Sequence[Text], widths: Sequence[int]) -> Text:
    """The first to the left, the others to the right."""
    line = Text(no_wrap=True)
    for at, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        cut = cell.copy()
        if at == 0:
            cut.truncate(width, overflow="ellipsis", pad=True)
            line.append_text(cut)
        else:
            cut.truncate(width, overflow="ellipsis")
            line.append(" " * (width + 1 - cut.cell_len)).append_text(cut)
    return line
