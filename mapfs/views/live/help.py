"""What `?` shows: the keys, and what the columns, glyphs and classes mean."""

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

KEYS = (
    ("tab", "the next pane; arrows move in it, page up and page down by more"),
    ("space", "pause, and go on. A mount goes on counting meanwhile"),
    ("/", "filter the log: words that a line must have, -word: must not"),
    ("c", "colour the pages by process, by class, by number of demands"),
    ("f, enter", "follow the process that is chosen: its pages, its lines; again: all"),
    ("+ - 0", "zoom in around the cursor, out, to the whole file"),
    ("z", "zoom to a range of pages, such as 100-199"),
    ("s", "rows in order of demands, of demands a second, of names"),
    ("< >", "a trace: slower, faster"),
    (".", "a trace: the next event, and pause"),
    ("e  r", "a trace: to its end; again from its beginning"),
    ("esc", "no filter, nobody followed"),
    ("q", "quit"),
)
WORDS = """\
demand     a thread touched a page that the page cache lacked; mapfs was asked for it
/s         pages demanded in the last second
in memory  pages of the file in the page cache; ? where the evidence cannot tell,
           >= where events were lost
shared     pages that a process got from the page cache: another had brought them in
waited     for answers of mapfs, all threads together
COLD       demanded for the first time        REFAULT  again: it had left the page cache
SHARED     another process had brought it in  JOINED   waited for another's request
AHEAD      read ahead, or pushed by mapfs     ERROR    the source failed
A touch of a page that a process has already makes no event."""


def text() -> Text:
    """All of it."""
    made = Text()
    for key, what in KEYS:
        made.append(f"{key:>9}", "bold").append(f"  {what}\n")
    return made.append("\n").append(WORDS)


class Help(ModalScreen[None]):
    """Over the panes, until a key ends it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q,space,enter", "dismiss", show=False)]
    CSS = """
    Help { align: center middle; }
    Help VerticalScroll {
        width: 84; max-width: 100%; height: auto; max-height: 100%; padding: 0 1; border: round; background: $surface;
    }
    """

    def compose(self) -> ComposeResult:
        with VerticalScroll() as scroll:
            scroll.border_title = "mapfs live"
            scroll.border_subtitle = "? or esc: back"
            yield Static(text())
