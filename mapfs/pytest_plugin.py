"""The pytest plugin: mounts for a test, and limits to the pages that it may demand (docs/TESTING.md).

pytest loads this module in every run, so that it imports nothing of mapfs until a test asks for a mount. A mount
records a trace beside pytest's other temporary files, so that a limit is exact however much a test demands. Limits are
looked at when the test function has returned: a limit that was exceeded is a failure of the test, not of its teardown.
"""

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mapfs.mounting import Mounted
    from mapfs.sources.base import DirectorySource, Source

_MARKERS = (
    "limit_demands(pages, file='*'): fail the test if it demands more than so many pages of matching files in its "
    "mapfs mounts for the first time",
    "limit_refaults(pages, file='*'): the same of pages that it demands again, after they left the page cache",
)


#: The mounts of one test, each with its trace.
_KEY = pytest.StashKey["list[tuple[Mounted, Path]]"]()


def pytest_configure(config: pytest.Config) -> None:
    """Registers the markers."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.fixture
def mapfs_mount(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[Callable[..., Mounted]]":
    """Mounts for this test: `mapfs_mount(data="file:data.bin", model=MySource(...))` returns a `mapfs.Mounted`.

    Names that are no identifiers go into a mapping: `mapfs_mount({"users.db": "file:users.db"})`. `evidence` is
    "requests", so that `.events()` are the same for root and others. All mounts end with the test, whatever happens.
    """
    from mapfs.mounting import mounted

    watched: list[tuple[Mounted, Path]] = []
    request.node.stash[_KEY] = watched
    with contextlib.ExitStack() as mounts:

        def mount(
            files: "Mapping[str, str | Source | DirectorySource] | None" = None,
            /,
            *,
            readahead: int | str = 0,
            evidence: str = "requests",
            threads: int = 16,
            read_only: bool = False,
            **named: "str | Source | DirectorySource",
        ) -> "Mounted":
            # the mount itself is elsewhere: what pytest removes one day must not be what a mount shows
            trace = tmp_path_factory.mktemp("mapfs") / "trace.db"
            made = mounts.enter_context(
                mounted(
                    {**(files or {}), **named},
                    trace=trace,
                    readahead=readahead,
                    evidence=evidence,
                    threads=threads,
                    read_only=read_only,
                )
            )
            watched.append((made, trace))
            return made

        yield mount


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Runs the test, and fails it if it exceeded one of its limits."""
    result = yield
    said = [text for name in ("limit_demands", "limit_refaults") for text in _exceeded(item, name)]
    if said:
        pytest.fail("\n".join(said), pytrace=False)
    return result


def _exceeded(item: pytest.Item, name: str) -> Iterator[str]:
    """What is to be said of each limit of this name that does not hold."""
    again = name == "limit_refaults"
    for mark in item.iter_markers(name):
        pages, pattern = _arguments(name, *mark.args, **mark.kwargs)
        watched = item.stash.get(_KEY, [])
        if not watched:
            yield f"{name}: the test mounted nothing, so there is nothing to limit; mount with the fixture mapfs_mount"
            continue
        yield from _sentences(name, watched, pages, pattern, again=again)


def _arguments(name: str, /, pages: object = None, file: object = "*", **others: object) -> tuple[int, str]:
    if others or isinstance(pages, bool) or not isinstance(pages, int) or pages < 0 or not isinstance(file, str):
        pytest.fail(f"{name} takes a number of pages and a pattern: {name}(40, file='*.db')", pytrace=False)
    return pages, file


def _sentences(
    name: str, watched: "list[tuple[Mounted, Path]]", pages: int, pattern: str, *, again: bool
) -> Iterator[str]:
    """What is to be said of one limit, over all mounts; nothing where it holds."""
    from mapfs.views.demanded import demanded, explain

    seen = [demanded(str(mount.path), str(trace)) for mount, trace in watched]
    demands = [one for mount in seen for one in mount.demands if fnmatchcase(one.file, pattern)]
    found, (files, processes) = explain(demands, again=again)
    lost = sum(mount.lost for mount in seen)
    if found > pages:
        of = "" if pattern == "*" else f" of {pattern}"
        yield f"{name}: limited to {pages:,} pages{of}, demanded {found:,}{' again' if again else ''}: {files}"
        yield f"  by {processes}"
        yield from (f"  see: mapfs summary {trace}" for _, trace in watched)
    elif lost:
        yield f"{name}: {lost:,} events were lost, so whether the limit was exceeded is not known"
