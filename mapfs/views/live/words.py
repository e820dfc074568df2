"""The words, colours and letters of the panes. Without colour letters say the same."""

import time
from collections.abc import Callable, Mapping

from rich.cells import cell_len
from rich.text import Text

from mapfs.units import format_ns
from mapfs.views.lines import visible
from mapfs.views.live.model import Event, Process, kind_of

#: Colours that colour-blind people tell apart (after Okabe and Ito, Color Universal Design), as terminals have them.
_PROCESS_COLOURS = ("bright_blue", "yellow", "cyan", "magenta", "bright_red", "white", "green")
_WIDE = 110  # columns from which on a line of the log has room
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
KIND_COLOURS: Mapping[str, str] = {
    "COLD": "cyan",
    "REFAULT": "yellow",
    "AHEAD": "bright_blue",
    "SHARED": "green",
    "JOINED": "bright_green",
    "ERROR": "bright_red",
    "WRITE": "magenta",
    "PUSH": "blue",
    "DIRECT": "white",
    "?": "white",
}
_HEAT = ("cyan", "green", "yellow", "bright_red")  # demanded once, twice, up to 9 times, more often


def process_colour(process: Process | None) -> str:
    """The same for as long as the process is known."""
    return _PROCESS_COLOURS[(process.number - 1) % len(_PROCESS_COLOURS)] if process and process.pid else "white"


def process_letter(process: Process | None) -> str:
    """The same for as long as the process is known; `?` of nobody."""
    return _LETTERS[(process.number - 1) % len(_LETTERS)] if process and process.pid else "?"


def heat_colour(demands: int) -> str:
    """Of how often the pages of a cell were demanded, on average."""
    return _HEAT[0 if demands <= 1 else 1 if demands == 2 else 2 if demands < 10 else 3]


def clock(wall_ns: int, *, digits: int = 3) -> str:
    """`12:00:01.250`, local time."""
    second, rest = divmod(wall_ns, 1_000_000_000)
    return f"{time.strftime('%H:%M:%S', time.localtime(second))}.{rest // 10 ** (9 - digits):0{digits}d}"


def span(nanoseconds: float) -> str:
    """`01:40.5`: minutes and seconds."""
    minutes, seconds = divmod(max(0.0, nanoseconds) / 1e9, 60)
    return f"{int(minutes):02d}:{seconds:04.1f}"


def who_of(event: Event) -> str:
    """`python3/1234`, of another thread than the first `python3/1234:1240`; `?` where nobody can tell."""
    tid, pid = event["tid"], event["pid"]
    if pid is None:
        return "?" if tid is None else f"?/{tid}"
    return visible(f"{event['command']}/{pid}" if tid == pid else f"{event['command']}/{pid}:{tid}")


def pages_of(event: Event) -> str:
    """`121`, or `120-127`."""
    first, count = event["page"], event["pages"]
    return str(first) if count == 1 else f"{first}-{first + count - 1}"


def log_line(event: Event, width: int) -> Text:
    """One event: time, class, process, file, page, wait, label, by whom or why not. In a narrow log the columns are."""
    if event["op"] == "lost":
        what = "samples of evidence" if event["samples"] else "events"
        return Text(f"... lost {event['count']:,} {what}: in none of the numbers", "bold red")
    kind, wide = kind_of(event), width >= _WIDE
    text = Text.assemble(
        (f"{clock(event['wall_ns'])} ", "dim"),
        (f"{kind:<8}", KIND_COLOURS.get(kind, "")),
        _cut(who_of(event), 26 if wide else 15),
        " ",
        _cut(end_of(visible(event["file"]), 32 if wide else 12), 32 if wide else 12),
        f" page {pages_of(event):<{10 if wide else 8}}",
        f"{'-' if event['wait_ns'] is None else format_ns(event['wait_ns']):>7}",
    )
    if event["label"]:
        text.append(f"  {visible(event['label'])}", "italic")
    if event["error"]:
        text.append(f"  {event['error']}: {visible(event['reason'] or '?')}", "bright_red")
    elif event["by"]:
        by = event["by"]
        text.append(f"  by {visible(by['command'])}/{by['pid']}" if wide else f"  by {by['pid']}")
    return text


def end_of(path: str, width: int) -> str:
    """At most `width` columns of it: the end of a path says more than its beginning."""
    if cell_len(path) <= width:
        return path
    while path and cell_len(path) >= width:
        path = path[1:]
    return f"…{path}"


def _cut(words: str, width: int) -> Text:
    text = Text(words)
    text.truncate(width, overflow="ellipsis", pad=True)
    return text


def matcher(words: str) -> Callable[[Event], bool] | None:
    """Which events have all of `words` in them, in any case: class, process, file, pages, label, error; `-word` in none
    of them. None where all events do.
    """
    wanted = [word for word in words.casefold().split() if not word.startswith("-")]
    unwanted = [word[1:] for word in words.casefold().split() if word.startswith("-") and word != "-"]
    if not wanted and not unwanted:
        return None

    def matches(event: Event) -> bool:
        if event["op"] == "lost":
            return True
        parts = (
            kind_of(event),
            event["op"],
            who_of(event),
            event["file"],
            "page",
            pages_of(event),
            event["label"] or "",
            event["error"] or "",
        )
        text = " ".join(parts).casefold()
        return all(word in text for word in wanted) and not any(word in text for word in unwanted)

    return matches


def sparkline(values: list[int]) -> str:
    """A bar a value, the highest as high as a line is."""
    most = max(values, default=0)
    return "".join(" ▁▂▃▄▅▆▇█"[-(-value * 8 // most) if most else 0] for value in values)


def keyed(*pairs: tuple[str, str]) -> Text:
    """Keys and what they do, in a line."""
    text = Text()
    for key, what in pairs:
        text.append(f" {key} ", "reverse").append(f" {what} ")
    return text
