"""Two processes, one page cache."""

from typing import Any

from mapfs.lessons.lesson import Lesson, pages_of, reads
from mapfs.lessons.stage import FAULTS, Scene, Stage

PAGES = (3, 200)


def run(stage: Stage) -> None:
    """A second process touches what a first one brought in."""
    stage.say(
        """
        Two processes map the same file. The one called first touches pages 3 and 200, and goes on living. Then the one
        called second touches the same two pages.
        """
    )
    settle = stage.predict("How many requests will the second process make?")
    order = "touch " + " ".join(map(str, PAGES))
    with stage.mount({"book": "pages:256p"}) as scene:
        first, second = scene.client("first", "book"), scene.client("second", "book")
        first.ask("map shared")
        first.ask(order)
        by_first = scene.news()
        second.ask("map shared")
        numbers = second.ask(order)
        by_second = scene.news()
        stage.show(by_first, by_second)
        requests = reads(by_second)
        settle(len(requests))
        stage.say(
            """
            The page cache belongs to the kernel, and there is one for all. A second process that faults on a page that
            is there already gets that very page: a minor fault, no request, no copy. That is why a hundred programs
            need the C library in memory only once.
            """
        )
        stage.claim("pages that the first had to ask for", list(PAGES), pages_of(reads(by_first)))
        stage.claim("requests by the second, for the same pages", 0, len(requests))
        stage.claim("numbers that the second found in them", list(PAGES), numbers)
        _brought(stage, scene, by_second, first.pid)
        memory = [scene.memory(one) for one in (first, second)]
        for what, expected, name in (
            ("pages of it in each one's memory", [2, 2], "resident"),
            ("their share of it, each page divided by who maps it (Pss)", [1.0, 1.0], "proportional"),
        ):
            found = [getattr(one, name) for one in memory] if None not in memory else None
            stage.claim(what, expected, found, "smaps cannot be read")


def _brought(stage: Stage, scene: Scene, events: list[dict[str, Any]], pid: int) -> None:
    """Whose pages the second got, which the requests alone do not tell."""
    shared = [one for one in events if one["class"] == "SHARED" and one["by"] and one["by"]["pid"] == pid]
    stage.claim("pages SHARED, brought in by the first", list(PAGES), *stage.needs(scene, FAULTS, pages_of(shared)))


LESSON = Lesson("sharing", "a page that one process brought in is there for all", run)
