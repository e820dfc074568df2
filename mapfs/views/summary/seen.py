"""The part of a scan that evidence beyond the requests adds: faults and evictions, packed as the requests are."""

import sqlite3
from collections import Counter

from mapfs.views.summary.part import CLASSES, Layout, Part, chunks, columns_of, in_pages


def add_evictions(db: sqlite3.Connection, layout: Layout, part: Part, bounds: tuple[int, int]) -> int:
    """Adds the pages that were evicted between `bounds` to `part`; how many they are."""
    evicted: Counter[int] = Counter()
    packed = f"CASE WHEN {_one(layout)} THEN file ELSE -1 END"
    for chunk in chunks(*bounds):
        (files,) = columns_of(db, "evictions", [packed], "1", chunk)
        found = Counter(files)
        if found.pop(-1, 0):
            for file, pages in db.execute(
                f"SELECT file, {in_pages(layout.page_size, 'evictions')} FROM evictions"  # noqa: S608 -- numbers alone
                f" WHERE serial >= ? AND serial < ? AND NOT ({_one(layout)})",
                chunk,
            ):
                evicted[file] += pages
        evicted.update(found)
    part.evicted.update(evicted)
    return evicted.total()


def add_faults(db: sqlite3.Connection, layout: Layout, part: Part, bounds: tuple[int, int]) -> None:
    """Adds the pages that processes got between `bounds` without a request of their own to `part`."""
    bits = layout.threads.bit_length()
    known = f"ifnull(thread, 0) <= {layout.threads} AND ifnull(by_thread, 0) <= {layout.threads}"
    plain = f"{_one(layout)} AND {known}" if 2 * bits + 2 < 63 else "0"
    packed = f"""CASE WHEN {plain} THEN (((ifnull(thread, 0) << {bits}) | ifnull(by_thread, 0)) << 2)
        | CASE class WHEN 'AHEAD' THEN 1 WHEN 'SHARED' THEN 2 WHEN 'JOINED' THEN 3 ELSE 0 END ELSE -1 END"""
    for chunk in chunks(*bounds):
        (keys,) = columns_of(db, "faults", [packed], "1", chunk)
        found = Counter(keys)
        if found.pop(-1, 0):
            for thread, by, cls, pages in db.execute(
                f"SELECT ifnull(thread, 0), ifnull(by_thread, 0), class, {in_pages(layout.page_size, 'faults')}"  # noqa: S608
                f" FROM faults WHERE serial >= ? AND serial < ? AND NOT ({plain})",
                chunk,
            ):
                part.faults[thread, by, cls] += pages
        for key, count in found.items():
            part.faults[key >> bits + 2, key >> 2 & (1 << bits) - 1, CLASSES[key & 3]] += count
        if any(key & 3 == 3 for key in found) or any(cls == "JOINED" for _, _, cls in part.faults):
            _joined(db, part, chunk)


def _joined(db: sqlite3.Connection, part: Part, bounds: tuple[int, int]) -> None:
    """The waits of those who joined."""
    for thread, by, *sums in db.execute(
        "SELECT ifnull(thread, 0), ifnull(by_thread, 0), count(*), ifnull(sum(wait_ns), 0), count(wait_ns) FROM faults"
        " WHERE serial >= ? AND serial < ? AND class = 'JOINED' GROUP BY 1, 2",
        bounds,
    ):
        before = part.joined.get((thread, by), (0, 0, 0))
        part.joined[thread, by] = (before[0] + sums[0], before[1] + sums[1], before[2] + sums[2])


def _one(layout: Layout) -> str:
    """The condition that a row is one whole page."""
    return f"size = {layout.page_size} AND (offset & {layout.page_size - 1}) = 0"
