"""The pages of the chosen file: a cell a page, or as many as it takes to fit, coloured by process, by class or by how
often they were demanded. What happens just now is a `*`.
"""

from collections import Counter
from itertools import groupby
from operator import itemgetter
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType

from mapfs.units import format_ns, format_size
from mapfs.views.lines import visible
from mapfs.views.live.model import File, Model
from mapfs.views.live.pagemap import PageMap
from mapfs.views.live.pane import Pane
from mapfs.views.live.picture import Cell, Frame, cells_of, frame_of, zoomed
from mapfs.views.live.words import KIND_COLOURS, end_of, heat_colour, process_colour, process_letter

MODES = ("process", "class", "demands")
_KIND_LETTERS = {"DIRECT": "D"}
_FLASH_NS = 700_000_000
_LEAST_OF_NAME = 16  # columns of the heading
_LABELLED, _NAMED = 10_000, 2  # pages below the cursor that are asked for labels, and labels that are shown


class MapPane(Pane, can_focus=True):
    """A heat map with a cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "move(-1,0)", show=False),
        Binding("right,l", "move(1,0)", show=False),
        Binding("up,k", "move(0,-1)", show=False),
        Binding("down,j", "move(0,1)", show=False),
        Binding("pageup", "scroll_by(-1)", show=False),
        Binding("pagedown", "scroll_by(1)", show=False),
        Binding("enter", "zoom(0.5)", show=False),
    ]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.mode = MODES[0]
        self.cursor = 0
        self.range: tuple[int, int] | None = None  # pages; None: all
        self.plain = False  # letters instead of colours
        self._frame = Frame(0, 0, 1, 1)
        self._count = 0
        self._gutter = 8

    def show_file(self, model: Model, file: File | None, now_ns: int, speed: float) -> None:
        """Draws the pages of `file` as they are known."""
        if file is None:
            self.show([self.heading(Text("PAGES")), Text("nothing was demanded yet", "dim")])
            return
        followed = model.followed
        pages = file.map if followed is None else followed.maps.get(file.name, PageMap())
        self._count = file.page_count(model.mount.page_size)
        self._fit(pages, file, model.mount.page_size)
        frame = self._frame
        cells = list(cells_of(frame, file, pages)) if self._count else []
        newest_ms = (now_ns - (model.first_ns or now_ns)) // 1_000_000
        fresh_ms = newest_ms - max(1, int(_FLASH_NS * speed) // 1_000_000)
        known = model.resident(file) is not None
        glyphs = [self._glyph(cell, model, known=known, fresh=cell.seen.at_ms > fresh_ms) for cell in cells]
        lines = [self.heading(self._title(file, model))]
        for start in range(0, len(cells), frame.width):
            offset = (frame.first + start * frame.each) * model.mount.page_size
            line = Text().append(f"{offset:#x}".rjust(self._gutter - 1) + " ", "dim")
            for style, run in groupby(glyphs[start : start + frame.width], key=itemgetter(1)):
                line.append("".join(glyph for glyph, _ in run), style)
            lines.append(line)
        height = self.size.height - 2
        lines = lines[:height] + [Text()] * (height - len(lines))
        lines += [self._legend(cells, model, known=known), self._detail(model, file, pages, now_ns)]
        self.show(lines)

    def _fit(self, pages: PageMap, file: File, page_size: int) -> None:
        first, end = self.range or (0, self._count)
        first, end = min(first, max(0, self._count - 1)), min(end, self._count)
        self._gutter = len(f"{max(1, end) * page_size:#x}") + 1
        width = self.size.width - self._gutter
        width = max(8, width - width % 8)
        coarse = max(pages.pages_a_cell, file.resident.pages_a_group)
        end = min(self._count, -(-end // coarse) * coarse)
        self._frame = frame_of(first - first % coarse, end, width, max(1, self.size.height - 3), pages_a_cell=coarse)
        self.cursor = min(max(self.cursor, first), max(first, end - 1))

    def _title(self, file: File, model: Model) -> Text:
        frame = self._frame
        each = (
            "a page" if frame.each == 1 else f"{frame.each:,} pages ({format_size(frame.each * model.mount.page_size)})"
        )
        of = "?" if file.size is None else f"{self._count:,}"
        where = f"{frame.first:,}-{max(frame.first, frame.end - 1):,} of {of}"
        if model.followed is not None:
            where = f"of {visible(model.followed.process.name)} alone  {where}"
        rest = f"  {where}, a cell is {each}, by {self.mode}"
        name = end_of(visible(file.name), max(_LEAST_OF_NAME, self.size.width - len("PAGES  ") - len(rest)))
        return Text.assemble("PAGES  ", name, rest)

    def _glyph(self, cell: Cell, model: Model, *, known: bool, fresh: bool) -> tuple[str, str]:
        """The character and the style of a cell."""
        at_cursor = self.has_focus and self.cursor in cell.pages
        if not cell.seen.kind:
            some = model.followed is not None and cell.resident  # by others
            return ("X", "bold reverse") if at_cursor else ("-" if some else "·", "dim")
        colour, letter = self._paint(cell, model)
        if at_cursor:
            return "X", f"bold reverse {colour}"
        if fresh:
            return "*", f"bold reverse {colour}"
        left = known and not cell.resident
        if self.plain:
            return letter.lower() if left else letter, ""
        if left:
            return "░", colour
        share = cell.resident if known else min(cell.seen.demands, len(cell.pages))
        return "▒▓█"[min(2, share * 3 // len(cell.pages))], colour

    def _paint(self, cell: Cell, model: Model) -> tuple[str, str]:
        if self.mode == "process":
            process = model.numbers.get(cell.seen.who)
            return process_colour(process), process_letter(process)
        if self.mode == "class":
            return KIND_COLOURS[cell.kind], _KIND_LETTERS.get(cell.kind, cell.kind[0])
        average = -(-cell.seen.demands // len(cell.pages))
        return heat_colour(average), str(min(average, 9))

    def _legend(self, cells: list[Cell], model: Model, *, known: bool) -> Text:
        """What the glyphs mean, of what is to be seen now."""
        found: Counter[tuple[str, str, str]] = Counter()
        for cell in cells:
            if cell.seen.kind:
                found[(*self._paint(cell, model), self._called(cell, model))] += 1
        left = ("lower case: left the cache" if self.plain else "░ left the cache") if known else "still there: ?"
        others = "  - others'" if model.followed is not None else ""
        text = Text().append(f"* now  · untouched  {left}{others}  ", "dim")
        for (colour, letter, name), _ in found.most_common(8):
            text.append(f"{letter} " if self.plain else "█ ", colour).append(f"{visible(name)}  ")
        text.truncate(self.size.width, overflow="ellipsis")
        return text

    def _called(self, cell: Cell, model: Model) -> str:
        if self.mode == "process":
            process = model.numbers.get(cell.seen.who)
            return process.name if process else "?"
        if self.mode == "class":
            return cell.kind
        average = -(-cell.seen.demands // len(cell.pages))
        return {"cyan": "once", "green": "twice", "yellow": "3-9 times"}.get(heat_colour(average), "10 times or more")

    def _detail(self, model: Model, file: File, pages: PageMap, now_ns: int) -> Text:
        """The cell below the cursor in words, or without the keys the file."""
        if not self.has_focus or not self._count:
            counts = file.counts
            text = Text(
                f"{counts.demands:,} demands, {counts.refaults:,} re-faults, {counts.shared + counts.joined:,} shared, "
                f"waited {format_ns(counts.waited_ns)}" + (f", {counts.errors:,} errors" if counts.errors else ""),
                "dim",
            )
        else:
            text = self._detail_of_cell(model, file, pages, now_ns)
        text.truncate(self.size.width, overflow="ellipsis")
        return text

    def _detail_of_cell(self, model: Model, file: File, pages: PageMap, now_ns: int) -> Text:
        members = self._frame.pages_of(self._frame.cell_of(self.cursor))
        (cell,) = cells_of(Frame(members.start, members.stop, max(1, len(members)), 1), file, pages)
        which = f"page {members.start:,}" if len(members) == 1 else f"pages {members.start:,}-{members.stop - 1:,}"
        text = Text().append(f"{which} at {members.start * model.mount.page_size:#x}", "bold")
        labels = model.labels.of(file.name, members[:_LABELLED])
        if labels:
            more = ", ..." if len(labels) > _NAMED or len(members) > _LABELLED else ""
            text.append(f" ({', '.join(map(visible, labels[:_NAMED]))}{more})", "italic")
        text.append(": ", "bold")
        if not cell.seen.kind:
            return text.append("nothing happened here")
        process = model.numbers.get(cell.seen.who)
        ago = now_ns - (model.first_ns or 0) - cell.seen.at_ms * 1_000_000
        text.append(
            f"{cell.seen.demands:,}x, last {cell.kind} by {visible(process.name) if process else '?'} "
            f"{format_ns(max(0, ago))} ago"
        )
        if (resident := model.resident(file)) is not None:
            some = f"{'' if resident[1] else '>='}{cell.resident:,} of {len(members):,} "
            text.append(f", {some if len(members) > 1 else '' if cell.resident else 'not '}in memory")
        return text

    # what people do

    def action_move(self, right: int, down: int) -> None:
        """Moves the cursor by cells; at the edge of a range the range moves."""
        frame = self._frame
        if not self._count:
            return
        target = self.cursor + (right + down * frame.width) * frame.each
        self.cursor = min(max(target, 0), self._count - 1)
        if self.range is not None and not frame.first <= self.cursor < frame.end:
            self.action_scroll_by(1 if self.cursor >= frame.end else -1)
        self.post_message(self.Moved())

    def action_scroll_by(self, screens: int) -> None:
        """Moves the range by half its length."""
        if self.range is not None:
            length = self.range[1] - self.range[0]
            first = min(max(self.range[0] + screens * max(1, length // 2), 0), max(0, self._count - length))
            self.range = first, first + length
            self.cursor = min(max(self.cursor, first), first + length - 1)
        self.post_message(self.Moved())

    def action_zoom(self, factor: float) -> None:
        """Shows `factor` of what is to be seen, around the cursor."""
        if self._count:
            where = self.cursor if self.has_focus else self._middle()
            first, end = zoomed(self._frame, where, factor, self._count)
            self.range = None if end - first >= self._count else (first, end)
        self.post_message(self.Moved())

    def _middle(self) -> int:
        return (self._frame.first + self._frame.end) // 2

    def zoom_to(self, text: str) -> bool:
        """Shows the pages in `100-199`, or `100`; False where it is neither, or the file has none of them."""
        first, _, last = text.replace(",", "").partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()) or int(first) >= self._count:
            return False
        end = min(self._count, max(int(first), int(last or first)) + 1)
        self.range, self.cursor = (int(first), end), int(first)
        return True

    def on_click(self, event: events.Click) -> None:
        """Puts the cursor below the mouse."""
        column, row = event.x - self._gutter, event.y - 1
        cell = row * self._frame.width + column
        if row >= 0 and 0 <= column < self._frame.width and cell < self._frame.cells:
            self.cursor = self._frame.pages_of(cell).start
            self.post_message(self.Moved())
