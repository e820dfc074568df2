"""mapfs: a FUSE filesystem whose files are mappable and whose every page demand is visible."""

__version__ = "0.1.0"
