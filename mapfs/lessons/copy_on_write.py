"""A private mapping copies the page that is stored into, and the file never hears of it."""

from mapfs.lessons.lesson import Lesson
from mapfs.lessons.stage import Stage
from mapfs.units import PAGE_SIZE

_OLD, _NEW = ord("A"), ord("B")
_YES = "its own copy of that page changes"
_FILE = "the file changes, and both see B"


def run(stage: Stage) -> None:
    """One process stores into MAP_PRIVATE, another looks on."""
    backing = stage.work / "letters"
    backing.write_bytes(bytes([_OLD]) * 8 * PAGE_SIZE)
    stage.say(
        """
        A file of 8 pages holds nothing but the letter A. A process called reader maps it. One called writer maps it
        too, with MAP_PRIVATE and for writing. Both look at page 3; then the writer stores the letter B into it.
        """
    )
    settle = stage.predict("What happens?", _FILE, _YES, "the writer is killed: the file is read-only")
    with stage.mount({"letters": f"file:{backing},rw"}) as scene:
        reader, writer = scene.client("reader", "letters"), scene.client("writer", "letters")
        reader.ask("map shared")
        writer.ask("map private")
        reader.ask("touch 3")
        writer.ask("touch 3")
        before = scene.memory(writer)
        writer.ask(f"store 3 {_NEW}")
        after = scene.memory(writer)
        sees = {"writer": chr(writer.ask("touch 3")[0]), "reader": chr(reader.ask("touch 3")[0])}
        events = scene.news()
        stage.show(events)
    stored = backing.read_bytes()[3 * PAGE_SIZE]
    settle(_YES if sees["writer"] != sees["reader"] else _FILE)
    stage.say(
        """
        Until the store both had the same page, marked read-only. The store faulted; the kernel copied the page for the
        writer alone, and let it go on. fork(2) works like that too: parent and child share all until one of them
        stores.
        """
    )
    private = None if before is None or after is None else [before.private, after.private]
    stage.claim("what each sees in page 3 now", {"writer": "B", "reader": "A"}, sees)
    stage.claim("the writer's private pages, before and after the store", [0, 1], private, "smaps cannot be read")
    stage.claim("WRITE requests that reached the file", 0, sum(one["op"] == "write" for one in events))
    stage.claim("what the file itself holds", "A", chr(stored))


LESSON = Lesson("copy-on-write", "a store into a private mapping makes a copy of that page", run)
