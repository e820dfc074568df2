"""The verdict of scripts/coverage: `python -m tests.covered REPORT.json`, a report of coverage.py as JSON.

Prints lines and branches of each package, the modules that fall below what is demanded, and what is demanded beside
what was found. Ends with 1 where that is less, or where what is demanded was not measured at all.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

LINES, BRANCHES = "lines", "branches"
#: What must be covered: directory, what is counted there, and percent of it.
DEMANDED = (("mapfs", LINES, 90.0), ("mapfs/fuse", BRANCHES, 85.0), ("mapfs/sources", BRANCHES, 85.0))


@dataclass(frozen=True)
class Count:
    """How many there are, and how many of them were run."""

    there: int
    run: int

    @property
    def percent(self) -> float:
        """Of those that are there; 100 where nothing is."""
        return 100 * self.run / self.there if self.there else 100.0

    def __str__(self) -> str:
        # cut and not rounded: 89.96 is not 90.0
        return f"{int(self.percent * 10) / 10:.1f} %"


def total(counts: Iterable[Count]) -> Count:
    """All of them together."""
    counts = list(counts)
    return Count(sum(count.there for count in counts), sum(count.run for count in counts))


def counted(report: Mapping[str, Any]) -> dict[str, dict[str, Count]]:
    """Lines and branches of each module, by its path from the directory of the source."""
    found = {}
    for path, file in sorted(report["files"].items()):
        summary = file["summary"]
        found[path] = {
            LINES: Count(summary["num_statements"], summary["covered_lines"]),
            BRANCHES: Count(summary["num_branches"], summary["covered_branches"]),
        }
    return found


def below(modules: Mapping[str, Mapping[str, Count]], directory: str, kind: str) -> Count:
    """The lines or branches of all modules in a directory, and below it."""
    return total(counts[kind] for path, counts in modules.items() if PurePosixPath(path).is_relative_to(directory))


def _table(rows: Iterable[tuple[str, Mapping[str, Count]]]) -> list[str]:
    return [f"{name:<40} {counts[LINES]!s:>8} {counts[BRANCHES]!s:>9}" for name, counts in rows]


def table(modules: Mapping[str, Mapping[str, Count]]) -> list[str]:
    """A line a package, and one a module that is below what its package must have."""
    packages = defaultdict(list)
    for path, counts in modules.items():
        packages[str(PurePosixPath(path).parent)].append(counts)
    of_packages = [
        (name, {kind: total(counts[kind] for counts in members) for kind in (LINES, BRANCHES)})
        for name, members in sorted(packages.items())
    ]
    weak = [
        (path, counts)
        for path, counts in modules.items()
        if any(
            counts[kind].percent < percent
            for directory, kind, percent in DEMANDED
            if PurePosixPath(path).is_relative_to(directory)
        )
    ]
    head = [f"{'package':<40} {'lines':>8} {'branches':>9}", *_table(of_packages)]
    return [*head, "", "modules below what is demanded of all together:", *_table(weak)] if weak else head


def verdict(modules: Mapping[str, Mapping[str, Count]]) -> tuple[list[str], bool]:
    """What is demanded beside what was found, a line each; and whether all of it was reached."""
    lines, reached = [], True
    for directory, kind, percent in DEMANDED:
        found = below(modules, directory, kind)
        enough = found.there > 0 and found.percent >= percent
        reached = reached and enough
        text = f"{found}, {found.run} of {found.there}" if found.there else "nothing measured"
        lines.append(f"{kind} of {directory}/: {text}; {'reached' if enough else 'MISSED'}: {percent:g} %")
    return lines, reached


def main() -> int:
    """Reads the report that is named; the exit code."""
    with open(sys.argv[1], encoding="utf-8") as file:
        modules = counted(json.load(file))
    lines, reached = verdict(modules)
    print("\n".join([*table(modules), "", *lines]))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
