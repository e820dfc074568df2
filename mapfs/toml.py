"""Reading a TOML file that anybody may have written: data within bounds, or one sentence."""

import tomllib
from typing import Any

from mapfs.errors import UsageError, reason_of

MOST_BYTES = 1 << 20


def read_text(path: str) -> str:
    """The text of the file at `path`. Raises FileNotFoundError, and UsageError for whatever else cannot be read."""
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # the latter for a name with a zero byte in it
        raise UsageError(f"cannot read {path!r}: {reason_of(error)}") from error
    if len(content) > MOST_BYTES:
        raise UsageError(f"{path} is larger than {MOST_BYTES >> 20} MiB, the most that a TOML file of mapfs may have")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not TOML: it is no UTF-8 text ({error.reason} at byte {error.start})") from error


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """What the text from the file `name` says. Raises UsageError."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UsageError(f"{name} is not TOML that can be read: it is nested too deeply") from None
    except ValueError as error:  # also what Python cannot make of a number or a date
        raise UsageError(f"{name} is not TOML: {reason_of(error).removeprefix('TOMLDecodeError: ')}") from error
