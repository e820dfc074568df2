"""mapfs: a FUSE filesystem whose files are mappable and whose every page demand is visible.

What somebody needs who writes a source (docs/SOURCES.md), `from mapfs import Source`, or who serves files from Python,
`from mapfs import mounted`. Each is looked up when it is first asked for, so that a command does not wait for what it
does not use.
"""

TYPE_CHECKING = False  # type checkers take it for typing's, which takes longer to import than all the rest
if TYPE_CHECKING:
    from mapfs.errors import SourceError
    from mapfs.mounting import Mounted, mounted
    from mapfs.sources.base import Buffer, DirectorySource, Source

__version__ = "0.1.0"
__all__ = ["Buffer", "DirectorySource", "Mounted", "Source", "SourceError", "__version__", "mounted"]
_HOMES = {
    "Buffer": "mapfs.sources.base",
    "DirectorySource": "mapfs.sources.base",
    "Mounted": "mapfs.mounting",
    "Source": "mapfs.sources.base",
    "SourceError": "mapfs.errors",
    "mounted": "mapfs.mounting",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found
