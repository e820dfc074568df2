"""The screen of `mapfs live` and its keys, on recorded traces, in a terminal that Textual makes up."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from mapfs.errors import TraceError
from mapfs.trace.events import EVICT, FAULT, Event, Lost
from mapfs.trace.facts import FileFact
from mapfs.trace.store import Store
from mapfs.views.live.app import LiveApp
from mapfs.views.live.feed import MOST_WAITING, Feed
from mapfs.views.live.help import Help
from mapfs.views.live.player import Player
from tests.support import WITHIN, wait_until
from tests.unit.samples import FILE, MOUNT, THREAD, event

PAGE = 4096
SECOND = 1_000_000_000
KERNEL = msgspec.structs.replace(MOUNT, evidence="kernel")
BIG = FileFact(2, 3, "big [x]", "pages:1000p", 1000 * PAGE, 1)
OTHER = msgspec.structs.replace(THREAD, key=2, tid=300, pid=300, command="boxed")

#: Page 0 at once; page 1 after a second, shared after two; page 2 of the other file fails after three; page 0 leaves
#: after four; after five a hundred pages at once.
HISTORY: list[Event | Lost] = [
    event(1, time_ns=10 * SECOND),
    event(2, time_ns=11 * SECOND, offset=PAGE, wait_ns=2_000_000),
    event(
        3,
        time_ns=12 * SECOND,
        offset=PAGE,
        op=FAULT,
        cls="SHARED",
        wait_ns=None,
        thread=OTHER,
        tid=300,
        by=THREAD,
        by_key=1,
    ),
    event(4, time_ns=13 * SECOND, file=BIG, offset=2 * PAGE, errno=5, cls="ERROR", reason="on purpose"),
    event(5, time_ns=14 * SECOND, op=EVICT, cls=None, wait_ns=None),
    *(
        event(6 + n, time_ns=15 * SECOND + n, file=BIG, offset=(100 + n) * PAGE, thread=OTHER, tid=300)
        for n in range(100)
    ),
]


@pytest.fixture
def trace(tmp_path: Path) -> str:
    return written(tmp_path / "t.db", HISTORY)


def written(path: Path, events: list[Event | Lost], *, ended: bool = True) -> str:
    """A trace of these events."""
    store = Store(str(path))
    for fact in (KERNEL, FILE, BIG, THREAD, OTHER):
        store.fact(fact)
    for start in range(0, len(events), 5000):
        store.events(events[start : start + 5000])
    store.close(20 * SECOND if ended else None)
    return str(path)


Act = Callable[[LiveApp, "Pilot[None]"], Awaitable[None]]


def played(target: str, act: Act, *, size: tuple[int, int] = (80, 24), plain: bool = False, speed: float = 1.0) -> None:
    """Runs the app on `target`, in a terminal of this size, and lets `act` use it."""

    async def run() -> None:
        app = LiveApp(target, plain=plain, speed=speed)
        async with app.run_test(size=size) as pilot:
            await act(app, pilot)
        app.player.feed.stop()

    asyncio.run(run())


async def until(pilot: "Pilot[None]", true: Callable[[], bool]) -> None:
    """Lets the app run until `true()` is."""
    end = time.monotonic() + WITHIN
    while not true():
        assert time.monotonic() < end
        await pilot.pause(0.02)


async def to_the_end(app: LiveApp, pilot: "Pilot[None]") -> None:
    """All events are told and shown."""
    await pilot.press("e")
    await until(pilot, lambda: app.player.over)
    app.draw()


def text(app: LiveApp, name: str) -> str:
    """What a pane shows."""
    pane = app.query_one(f"#{name}")
    return str(pane.text)  # type: ignore[attr-defined]


# the player


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def player_of(target: str, speed: float = 1.0) -> tuple[Player, Clock]:
    """A player whose feed has read all."""
    clock = Clock()
    feed = Feed(target)
    player = Player(feed, speed, clock=clock)
    feed.start()
    wait_until(lambda: feed.ended is not None, "the end of the trace")
    return player, clock


def told_at(player: Player, clock: Clock, seconds: float) -> int:
    """How many events the model knows then."""
    clock.now = int(seconds * SECOND)
    player.advance(1)
    return player.model.events


def test_a_trace_is_played_as_fast_as_it_was(trace: str) -> None:
    player, clock = player_of(trace)
    assert player.feed.length_ns == 5 * SECOND + 99
    assert [told_at(player, clock, at) for at in (0, 0.9, 1, 2.5, 4.9, 5, 5.1)] == [1, 1, 2, 3, 5, 6, 105]
    assert player.over and player.feed.ended == "the trace ends here"
    assert player.now_ns == player.model.last_ns, "what was looked at late did not happen later"


@pytest.mark.parametrize(("speed", "after"), [(2.0, 0.5), (10.0, 0.1), (0.1, 10.0), (1000.0, 0.001)])
def test_a_trace_is_played_at_any_speed(trace: str, speed: float, after: float) -> None:
    player, clock = player_of(trace, speed)
    assert told_at(player, clock, 0) == 1
    assert told_at(player, clock, after * 0.99) == 1
    assert told_at(player, clock, after) == 2


def test_a_pause_stops_the_clock_of_a_trace_and_a_step_is_one_event(trace: str) -> None:
    player, clock = player_of(trace)
    assert told_at(player, clock, 1) == 1, "its clock begins with the first event"
    player.pause()
    assert told_at(player, clock, 100) == 1
    player.step()
    assert (player.model.events, player.now_ns) == (2, 11 * SECOND)
    player.pause()
    assert told_at(player, clock, 100.9) == 2
    assert told_at(player, clock, 101) == 3
    player.faster(1)
    assert player.speed == 2.0
    for _ in range(20):
        player.faster(-1)
    assert player.speed == 0.001
    player.skip_to_end()
    assert told_at(player, clock, 101) == 105


def test_the_feed_waits_for_who_looks(tmp_path: Path) -> None:
    count = MOST_WAITING + 5_000
    target = written(tmp_path / "t.db", [event(n, time_ns=n * 1000) for n in range(1, count + 1)])
    feed = Feed(target)
    player = Player(feed)
    feed.start()
    wait_until(lambda: len(feed.waiting) == MOST_WAITING, "the queue to be full")
    assert feed.ended is None
    player.skip_to_end()
    wait_until(lambda: bool(player.advance(0.01) or player.over), "the end")
    wait_until(lambda: player.advance(0.01) == 0 and player.over, "the end")
    assert player.model.events == count


def test_a_followed_trace_is_there_at_once_and_then_as_it_comes(tmp_path: Path) -> None:
    """Whatever the times in it; the recorder may not even have said of which mount it is when somebody looks."""
    path = tmp_path / "t.db"
    store = Store(str(path))

    def tell() -> None:
        for fact in (KERNEL, FILE, BIG, THREAD, OTHER):
            store.fact(fact)

    late = threading.Timer(0.1, tell)
    late.start()
    feed = Feed(str(path), follow=True)
    late.join()
    player = Player(feed)
    feed.start()
    store.events(HISTORY[:2])
    wait_until(lambda: player.advance(0.01) >= 0 and player.model.events == 2, "two events")
    player.pause()
    store.events(HISTORY[2:])
    wait_until(lambda: player.advance(0.01) >= 0 and player.behind == 103, "the others")
    assert player.shown.events == 2 and not player.again
    player.pause()
    store.close(20 * SECOND)
    assert not Path(f"{path}-wal").exists(), "who followed it has gone, and it is one file"
    wait_until(lambda: player.over, "the end")
    assert (feed.ended, player.shown.events, player.again) == ("the mount has ended", 105, True)


def test_a_trace_that_is_still_written_is_followed(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "t.db"))
    for fact in (KERNEL, FILE, BIG, THREAD, OTHER):
        store.fact(fact)
    store.events(HISTORY[:2])
    feed = Feed(str(tmp_path / "t.db"))
    player = Player(feed)
    player.skip_to_end()
    feed.start()
    wait_until(lambda: player.advance(0.01) >= 0 and player.model.events == 2, "two events")
    store.events(HISTORY[2:])
    player.skip_to_end()
    wait_until(lambda: player.advance(0.01) >= 0 and player.model.events == 105, "all events")
    assert feed.ended is None
    store.close(20 * SECOND)
    wait_until(lambda: feed.ended is not None, "the end")


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="does not exist"):
        Feed(str(tmp_path / "none"))
    Store(str(tmp_path / "empty.db")).close(None)
    with pytest.raises(TraceError, match="holds no mount"):
        Feed(str(tmp_path / "empty.db"))


# the screen


@pytest.mark.parametrize("size", [(80, 24), (160, 45), (40, 12)])
def test_all_panes_show_what_happened(trace: str, size: tuple[int, int]) -> None:
    async def act(app: LiveApp, pilot: "Pilot[None]") -> None:
        await to_the_end(app, pilot)
        assert "ENDED at 00:05.0" in text(app, "header")
        if size[0] >= 80:
            heading, big, small, *_ = text(app, "files").splitlines()
            assert heading.split() == ["FILES", "demands▾", "/s", "in", "memory", "readers"]
            assert big.split() == ["big", "[x]", "100", "-", "100", "of", "1,000", "2"]
            assert small.split() == ["a/b", "2", "-", "1", "of", "8", "2"]
            assert [line.split() for line in text(app, "processes").splitlines()[1:]] == [
                ["█", "boxed/300", "100", "-", "1", "30", "us"],
                ["█", "python3/100", "2", "-", "0", "2.0", "ms"],
            ]
            assert "102 demands" in text(app, "header")
        lines = [pane for pane in ("header", "files", "processes", "map", "log", "keys") if text(app, pane)]
        assert len(lines) == 6

    played(trace, act, size=size)


def cells(app: LiveApp) -> str:
    """The glyphs of the map, without the offsets before them."""
    return "".join(line[app.map._gutter :] for line in text(app, "map").splitlines()[1:-2])


def test_the_map_shows_each_page(trace: str) -> None:
    async def act(app: LiveApp, pilot: "Pilot[None]") -> None:
        await until(pilot, lambda: app.player.model.events == 1)
        await pilot.press("space")
        assert "PAUSED" in text(app, "header")
        assert cells(app) == "*" + "·" * 7, "it happens just now"
        await pilot.press("full_stop")
        assert cells(app) == "█*" + "·" * 6
        await pilot.press("full_stop", "full_stop", "full_stop", "down", "s", "s")
        assert app.player.model.events == 5
        await pilot.press("home")
        assert "a cell is a page" in text(app, "map")
        assert app.files.chosen == "a/b"
        assert cells(app) == "░█" + "·" * 6, "one left the cache"
        assert "2 demands, 0 re-faults, 1 shared, waited 2.0 ms" in text(app, "map")

    played(trace, act)


def test_without_colours_letters_say_the_same(trace: str) -> None:
    async def act(app: LiveApp, pilot: "Pilot[None]") -> None:
        await to_the_end(app, pilot)
        await pilot.press("s", "s", "home")
        assert app.files.chosen == "a/b"
        assert cells(app) == "aB" + "·" * 6
        assert "A python3/100" in text(app, "processes") and "B boxed/300" in text(app, "map")
        await pilot.press("c")
        assert cells(app) == "cS" + "·" * 6
        assert "S SHARED" in text(app, "map")
        await pilot.press("c")
        assert cells(app) == "11" + "·" * 6
        await pilot.press("c")
        assert "by process" in text(app, "map")

    played(trace, act, plain=True)


def test_the_map_zooms_and_tells_what_is_below_the_cursor(trace: str) -> None:
    async def act(app: LiveApp, pilot: "Pilot[None]") -> None:
        await to_the_end(app, pilot)
        await until(pilot, lambda: app.files.chosen == "big [x]")
        assert "0-999 of 1,000, a cell is 4 pages (16.0 KiB)" in text(app, "map")
        await pilot.press("z", *"100-119", "enter")
        assert "100-119 of 1,000, a cell is a page" in text(app, "map")
        assert cells(app).count("█") + cells(app).count("X") + cells(app).count("*") == 20
        assert app.focused is app.map
        await pilot.press("right", "right")
        assert "page 102 at 0x66000: 1x, last COLD by boxed/300 99 ns ago, in memory" in text(app, "map")
        await pilot.press("plus")
        assert "97-106 of 1,000" in text(app, "map")
        await pilot.press("minus", "minus", "minus")
        assert "62-141 of 1,000" in text(app, "map")
        await pilot.press("0")
        assert "0-999 of 1,000" in text(app, "map")
        for wrong in ("nonsense", "5000-6000", "-"):
            await pilot.press("z", *wrong, "enter")
            assert "0-999 of 1,000" in text(app, "map")
        await pilot.press("z", "escape")
        assert not app.query_one("#question").has_class("-asked")

    played(trace, act, size=(80, 24))


def test_the_log_is_filtered_by_words(trace: str) -> None:
    async def act(app: LiveApp, pilot: "Pilot[None]") -> None:
        await to_the_end(app, pilot)
        await pilot.press("slash", *"shared BOXED", "enter")
        heading, *lines = text(app, "log").splitlines()
        assert "with 'shared BOXED'" in heading
        (line,) = lines
        assert line.split()[1:] == ["SHARED", "boxed/300", "a/b", "page", "1", "-", "by", "100"]
        await pilot.press("slash", *["backspace"] * 20, *"a/b -shared", "enter")
        assert [line.split()[1] for line in text(app, "log").splitlines()[1:]] == ["COLD", "COLD", "EVICT"]
        await pilot.press("slash", *["backspace"] * 20, *"eio", "enter")
        assert text(app, "log").splitlines()[1].endswith("EIO: on purpose")
        await pilot.press("escape")
        assert text(app, "log").splitlines()[-1].split()[2:] == ["boxed/300", "big", "[x]", "page", "199", "300", "ns"]
        assert len(app.player.model.shown) == 105
        await pilot.press("pageup")
        await until(pilot, lambda: "10 newer lines below" in text(app, "log"))

    played(trace, act)


def test_one_process_is_followed(trace: str) -> None:
    async def act(app: LiveApp, pilot: "Pilot[None]") -> None:
        await to_the_end(app, pilot)
        await pilot.press("tab", "end", "f")
        assert "python3/100  followed" in text(app, "processes")
        assert app.files.chosen == "big [x]", "the file that it used last"
        assert {line.split()[2] for line in text(app, "log").splitlines()[1:]} == {"python3/100:101"}
        await pilot.press("f", "home", "enter")
        assert "boxed/300  followed" in text(app, "processes")
        assert "of boxed/300 alone" in text(app, "map")
        assert {line.split()[2] for line in text(app, "log").splitlines()[1:]} == {"boxed/300"}
        await pilot.press("escape")
        assert "followed" not in text(app, "processes")

    played(trace, act)


def test_help_says_what_the_keys_are_and_goes_away(trace: str) -> None:
    async def act(app: LiveApp, pilot: "Pilot[None]") -> None:
        await pilot.press("question_mark")
        assert isinstance(app.screen, Help)
        await pilot.press("question_mark")
        assert len(app.screen_stack) == 1
        await to_the_end(app, pilot)
        await pilot.press("r")
        await until(pilot, lambda: app.player.model.events == 1)
        assert "REPLAY 00:0" in text(app, "header")
        await pilot.press("q")
        assert app.return_code == 0

    played(trace, act)


def test_losses_are_said_in_red_and_by_number(tmp_path: Path) -> None:
    target = written(tmp_path / "t.db", [event(1), Lost(41), event(43, offset=PAGE), Lost(1, samples=True)])

    async def act(app: LiveApp, pilot: "Pilot[None]") -> None:
        await to_the_end(app, pilot)
        assert "lost 41 events, 1 samples" in text(app, "header")
        assert ">=0 of 8" in text(app, "files")
        assert "... lost 41 events" in text(app, "log") and "... lost 1 samples of evidence" in text(app, "log")

    played(target, act)


def test_names_cannot_draw_on_the_screen(tmp_path: Path) -> None:
    evil = FileFact(9, 9, "\x1b[2J[red]evil[/red]\n", "text:x", 100, 1)
    path = tmp_path / "t.db"
    store = Store(str(path))
    for fact in (KERNEL, evil, msgspec.structs.replace(THREAD, command="[bold]\x1b[1m")):
        store.fact(fact)
    store.events([event(1, file=evil)])
    store.close(1)

    async def act(app: LiveApp, pilot: "Pilot[None]") -> None:
        await to_the_end(app, pilot)
        for pane in ("files", "processes", "map", "log"):
            assert "\x1b" not in text(app, pane)
        assert "\\x1b[2J[red]evil[/red]\\n" in text(app, "files")
        assert "[bold]\\x1b[1m/100" in text(app, "processes")

    played(str(path), act, size=(160, 45))


def test_a_flood_keeps_it_responsive_and_is_counted_in_full(tmp_path: Path) -> None:
    """A key is answered in between, and what comes all at once then is counted."""
    flood: list[Any] = [
        event(n, time_ns=n * 50_000, file=BIG, offset=n * 7 % 1000 * PAGE, thread=OTHER, tid=300)
        for n in range(1, 30_001)
    ]
    target = written(tmp_path / "t.db", flood)

    async def act(app: LiveApp, pilot: "Pilot[None]") -> None:
        await until(pilot, lambda: app.player.model.events > 1000)
        await pilot.press("c")
        assert "by class" in text(app, "map") and not app.player.over
        await to_the_end(app, pilot)
        assert "30,000 demands" in text(app, "header")
        assert app.player.model.files["big [x]"].map.seen(0, 1000).demands == 30_000

    played(target, act, size=(160, 45), speed=0.1)
