"""The screen: a heading, files, processes, the pages of a file, the log; and the keys.

The player is asked for what is due a few dozen times a second, and the panes are drawn again some times a second: where
events come faster than they can be shown, frames are left out, and no event.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical

from mapfs.views.live.feed import Feed
from mapfs.views.live.header import header
from mapfs.views.live.help import Help
from mapfs.views.live.keys import BINDINGS, keys_line
from mapfs.views.live.logpane import LogPane
from mapfs.views.live.mappane import MODES, MapPane
from mapfs.views.live.model import Event, Process
from mapfs.views.live.pane import Pane, Table
from mapfs.views.live.player import Player
from mapfs.views.live.question import Question
from mapfs.views.live.tables import (
    ORDERS,
    earlier_line,
    file_cells,
    file_columns,
    file_keys,
    process_cells,
    process_columns,
    process_keys,
)
from mapfs.views.live.words import matcher

_TICK = 0.04  # seconds between two looks for events
_BUDGET = 0.025  # seconds of them for counting
_FRAME = 0.16  # seconds between two frames
_QUIET_FRAME = 1.0  # the same while nothing happens, for what says how long ago
_SETTLES = 2.0  # seconds after the last event in which rates and what happens just now still change


class LiveApp(App[None]):
    """`mapfs live`. `speed` is that of a trace, unless it is to `follow` one that is still written; `plain`: letters,
    no colours; `labels`: files are read for them; `name`: what to call `target`, `ended`: what to say when it has
    ended; `shown` is called once there is a screen.
    """

    TITLE = "mapfs live"

    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]  # noqa: RUF012 -- as the base declares it
    CSS_PATH = "live.tcss"
    BINDINGS: ClassVar[list[BindingType]] = list(BINDINGS)

    def __init__(
        self,
        target: str,
        *,
        speed: float = 1.0,
        follow: bool = False,
        plain: bool = False,
        labels: bool = True,
        name: str | None = None,
        ended: str = "the mount has ended",
        shown: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(ansi_color=True)  # the terminal's own colours, or with NO_COLOR none
        self.theme = "ansi-dark"
        self.plain = plain
        self.called = name
        self._feed = partial(Feed, target, labels=labels)
        self._shown = shown
        self.player = Player(self._feed(follow=follow, ended=ended), speed)
        self.order = ORDERS[0]
        self.words = ""
        self._file_is_chosen = False
        self._drawn = 0.0
        self._quiet_from = 0.0
        self.failure: Exception | None = None

    def compose(self) -> ComposeResult:
        yield Pane(id="header")
        with Container(id="top"):
            with Vertical(id="tables"):
                yield Table(id="files")
                yield Table(id="processes")
            yield MapPane(id="map")
        yield LogPane(id="log")
        yield Question(id="question")
        yield Pane(id="keys")

    def on_mount(self) -> None:
        self.map.plain = self.plain
        self.files.focus()
        self.player.feed.start()
        self.set_interval(_TICK, self.tick)
        for number in (signal.SIGTERM, signal.SIGHUP):  # the terminal is left as it was found
            if signal.getsignal(number) is not signal.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, partial(self.exit, return_code=128 + number))
        if self._shown is not None:
            self.call_after_refresh(self._shown)

    @property
    def files(self) -> Table:
        """The pane."""
        return self.query_one("#files", Table)

    @property
    def processes(self) -> Table:
        """The pane."""
        return self.query_one("#processes", Table)

    @property
    def map(self) -> MapPane:
        """The pane."""
        return self.query_one("#map", MapPane)

    @property
    def log_pane(self) -> LogPane:
        """The pane."""
        return self.query_one("#log", LogPane)

    def _handle_exception(self, error: Exception) -> None:
        """Of the base: a defect. Whoever runs the app is told, as of any other; nobody sees a traceback."""
        self.failure = error
        super()._handle_exception(error)

    def _print_error_renderables(self) -> None:
        """Of the base: would print the traceback."""

    @property
    def question(self) -> Question:
        """The line for what is asked."""
        return self.query_one("#question", Question)

    # drawing

    def tick(self) -> None:
        """Counts what is due, and draws where it is time."""
        now = time.monotonic()
        if self.player.advance(_BUDGET):
            self._quiet_from = now + _SETTLES
        frame = _FRAME if now < self._quiet_from else _QUIET_FRAME
        if now - self._drawn >= frame and len(self.screen_stack) == 1:
            self.draw()

    def draw(self) -> None:
        """All panes, as things are now."""
        player, model = self.player, self.player.shown
        now = player.now_ns
        self.query_one("#header", Pane).show(header(player, self.called, self.size.width))
        self._choose_file()
        self.files.show_rows(
            file_columns(self.order),
            file_keys(model, self.order, now),
            lambda name: file_cells(model, name, now),
            earlier_line(model.earlier_files),
        )
        self.processes.show_rows(
            process_columns(self.order),
            process_keys(model, self.order, now),
            lambda number: process_cells(model, number, now, plain=self.plain),
            earlier_line(model.earlier_processes),
        )
        speed = player.speed if player.feed.recorded else 1.0
        self.map.show_file(model, model.files.get(self.files.chosen), now, speed)
        self.log_pane.show_log(model, self.words)
        self.query_one("#keys", Pane).show([keys_line(player)])
        self._drawn = time.monotonic()

    def _choose_file(self) -> None:
        """Until somebody chooses, the file with most demands; of a followed process the one that it uses."""
        model = self.player.shown
        if self._file_is_chosen and self.files.chosen in model.files:
            return
        name: str | None = None
        if model.followed is not None:
            name = model.followed.process.file
        elif model.files:
            name = max(model.files.values(), key=lambda file: (file.counts.demands, file.counts.shared)).name
        if name != self.files.chosen:
            self.files.chosen, self.map.range, self.map.cursor = name, None, 0

    # keys

    def action_help(self) -> None:
        """Explains."""
        self.push_screen(Help())

    def action_pause(self) -> None:
        """Pauses, or goes on."""
        self.player.pause()
        self.draw()

    def action_colour(self) -> None:
        """The next way to colour the map."""
        self.map.mode = MODES[(MODES.index(self.map.mode) + 1) % len(MODES)]
        self.draw()

    def action_order(self) -> None:
        """The next order of the rows."""
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        self.draw()

    def action_zoom(self, factor: float) -> None:
        """Shows `factor` of the pages."""
        self.map.action_zoom(factor)

    def action_whole(self) -> None:
        """Shows all pages of the file."""
        self.map.range = None
        self.draw()

    def action_follow(self) -> None:
        """Follows the chosen process, or nobody any more."""
        following = self.player.shown.followed is not None
        number = self.processes.chosen
        if number is None:
            number = next(iter(self.processes.keys), 0)
        process = None if following else self.player.shown.numbers.get(number)
        self._follow(process)

    def _follow(self, process: Process | None) -> None:
        for model in {id(one): one for one in (self.player.model, self.player.shown)}.values():
            model.follow(model.numbers.get(process.number) if process else None)
        if process is not None:
            self.processes.chosen = process.number
        self._file_is_chosen = False
        self._filter()

    def action_plain(self) -> None:
        """No filter, nobody followed."""
        self.words = ""
        self._follow(None)

    def action_faster(self, by: int) -> None:
        """Another speed of a trace."""
        self.player.faster(by)
        self.draw()

    def action_step(self) -> None:
        """The next event of a trace."""
        self.player.step()
        self.draw()

    def action_end(self) -> None:
        """All of a trace."""
        self.player.skip_to_end()

    def action_restart(self) -> None:
        """A trace from its beginning; what was followed is played then."""
        if not self.player.again:
            return
        speed = self.player.speed
        self.player.feed.stop()
        self.player = Player(self._feed(), speed)
        self.player.feed.start()
        self._filter()

    def action_filter(self) -> None:
        """Asks for words."""
        self.question.ask("filter", self.words, "words that a line must have, -word: must not; empty: all lines")

    def action_range(self) -> None:
        """Asks for pages."""
        self.question.ask("range", "", "pages to zoom to, such as 100-199")

    def on_question_answered(self, message: Question.Answered) -> None:
        """The answer."""
        if message.what == "filter":
            self.words = message.answer
            self.log_pane.focus()
            self._filter()
        elif self.map.zoom_to(message.answer):
            self.map.focus()
        else:
            self.notify(f"{message.answer!r} are no pages; write 100-199", severity="warning")
            self.map.focus()
        self.draw()

    def _filter(self) -> None:
        """The log shows what has the words, of the followed process alone."""
        words = matcher(self.words)
        followed = self.player.shown.followed
        if followed is None:
            wanted = words
        else:
            process = followed.process

            def wanted(event: Event) -> bool:
                return event["op"] == "lost" or (process.did(event) and (words is None or words(event)))

        self.player.model.want(wanted)
        if self.player.shown is not self.player.model:
            self.player.shown.want(wanted)
        self.log_pane.newer = 0
        self.draw()

    def on_table_chosen(self, message: Table.Chosen) -> None:
        """Another file to show the pages of, or another process."""
        if message.table is self.files:
            self._file_is_chosen, self.map.range, self.map.cursor = True, None, 0
        self.draw()

    def on_pane_moved(self) -> None:
        """Another cursor, range or line."""
        self.draw()

    def on_descendant_focus(self) -> None:
        """Another pane has the keys."""
        self.call_after_refresh(self.draw)
