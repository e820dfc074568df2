"""The turn: whoever is not the trio thread has it in that thread's pauses alone."""

import threading

import trio

from mapfs.fuse.turn import Turn
from tests.support import WITHIN


def taken(turn: Turn) -> bool:
    """Whether another thread can have it now; it gives it back."""
    found: list[bool] = []

    def try_it() -> None:
        found.append(turn.take())
        if found[0]:
            turn.give_back()

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join(WITHIN)
    return found[0]


def test_nobody_takes_it_before_trio_runs_while_it_runs_or_when_it_has_ended() -> None:
    turn = Turn()
    assert not taken(turn)

    async def main() -> bool:
        await trio.lowlevel.checkpoint()
        return taken(turn)

    assert not trio.run(main, instruments=[turn])
    assert not taken(turn)


def test_it_can_be_taken_while_trio_waits_and_trio_waits_for_who_has_it() -> None:
    turn, order = Turn(), list[str]()
    waits, goes_on = threading.Event(), threading.Event()

    def other(token: trio.lowlevel.TrioToken, woken: trio.Event) -> None:
        assert waits.wait(WITHIN)
        while not turn.take():
            pass  # the trio thread is about to wait
        token.run_sync_soon(woken.set)
        order.append("taken")
        goes_on.set()
        turn.give_back()

    async def main() -> None:
        woken = trio.Event()
        thread = threading.Thread(target=other, args=(trio.lowlevel.current_trio_token(), woken))
        thread.start()
        waits.set()
        with trio.fail_after(WITHIN):
            await woken.wait()
        order.append("woken")
        thread.join(WITHIN)

    trio.run(main, instruments=[turn])
    assert goes_on.is_set()
    assert order == ["taken", "woken"]


def test_nobody_takes_it_where_the_run_ended_while_it_waited() -> None:
    turn = Turn()
    turn.before_io_wait(1)  # and then an exception, out of the wait for I/O
    assert taken(turn)
    turn.end()
    assert not taken(turn)
    turn.end()
    assert not taken(turn)
