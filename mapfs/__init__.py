"""mapfs: a FUSE filesystem whose files are mappable and whose every page demand is visible.

What somebody needs who writes a source (docs/SOURCES.md): `from mapfs import Source`. It is looked up when it is
first asked for, so that a command does not wait for what it does not use.
"""

__version__ = "0.1.0"
__all__ = ["Buffer", "DirectorySource", "Source", "SourceError", "__version__"]

TYPE_CHECKING = False  # type checkers take it for typing's, which takes longer to import than all the rest
if TYPE_CHECKING:
    from mapfs.errors import SourceError
    from mapfs.sources.base import Buffer, DirectorySource, Source
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from mapfs.errors import SourceError
        from mapfs.sources.base import Buffer, DirectorySource, Source

        globals().update(Buffer=Buffer, DirectorySource=DirectorySource, Source=Source, SourceError=SourceError)
        return globals()[name]
