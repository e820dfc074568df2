"""What `?` shows: the keys, and what the columns, glyphs and classes mean."""

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

KEYS = (
    ("tab", "the next pane; arrows and page keys move in it"),
    ("space", "pause, go on; of a mount all is counted meanwhile"),
    ("/", "filter the log: words that lines must have, -word: must not"),
    ("c", "colour pages by process, by class, by number of demands"),
    ("f, enter", "follow the chosen process: its pages and lines; again: all"),
    ("+ - 0 z", "zoom in at the cursor, out, to the whole file, to a range"),
    ("s", "rows in order of demands, of demands a second, of names"),
    ("< > .", "a trace: slower, faster, one event at a time"),
    ("e  r", "a trace: to its end, again from its beginning"),
    ("esc  q", "no filter and nobody followed; quit"),
)
WORDS = """\
demand     a thread touched a page that the page cache lacked
/s         pages demanded in the last second
in memory  pages of it in the page cache; >= where events were lost,
           ? where the evidence is not `kernel`, and cannot tell
shared     pages got from the page cache: others had brought them in
waited     for answers of mapfs, all threads together
COLD       demanded, first time   REFAULT  again: it had left the cache
SHARED     others had brought it  JOINED   waited for another's request
AHEAD      read ahead, or pushed  ERROR    the source failed
A touch of a page that a process has already makes no event."""


def text() -> Text:
    """All of it."""
    made = Text()
    for key, what in KEYS:
        made.append(f"{key:<9}", "bold").append(f"  {what}\n")
    return made.append("\n").append(WORDS)


class Help(ModalScreen[None]):
    """Over the panes, until a key ends it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q,space,enter", "dismiss", show=False)]
    CSS = """
    Help { align: center middle; }
    Help VerticalScroll {
        width: 76; max-width: 100%; height: auto; max-height: 100%; padding: 0 1; border: round; background: $surface;
    }
    """

    def compose(self) -> ComposeResult:
        with VerticalScroll() as scroll:
            scroll.border_title = "mapfs live"
            scroll.border_subtitle = "? or esc: back"
            yield Static(text())
