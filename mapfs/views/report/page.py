"""The page: one HTML file with its style, script and data in it, which asks no network for anything.

What a trace holds is data: it stands in the page as JSON of which no character can end a script element, and the script
puts it into text nodes alone. A content security policy lets nothing run or load but what this module put in.
"""

import base64
import hashlib
import html
import re
from importlib.resources import files
from typing import Any

import msgspec

from mapfs.views.lines import visible
from mapfs.views.report.model import Report

_SLOT = re.compile(r"\{\{(\w+)\}\}")


def page_of(report: Report) -> str:
    """The page that shows `report`."""
    style = _part("page.css")
    script = "".join(map(_part, ("format.js", "marks.js", "chart.js", "tables.js", "page.js")))
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:"
    slots = {
        "policy": html.escape(policy),
        "title": html.escape(f"mapfs report: {visible(report.mountpoint)}"),
        "style": style,
        "script": script,
        "data": _data(report),
    }
    return _SLOT.sub(lambda slot: slots[slot[1]], _part("page.html"))


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    """As a content security policy names what may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _data(report: Report) -> str:
    """JSON without `<`, `>` and `&`, which stand in strings alone; names with nothing in them that is not seen."""
    encoded = msgspec.json.encode(_seen(msgspec.to_builtins(report))).decode()
    return encoded.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _seen(value: Any) -> Any:
    """`value` with escapes for what could turn text around or hide in it."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {key: _seen(one) for key, one in value.items()}
    if isinstance(value, list) and not (value and isinstance(value[0], int)):
        return [_seen(one) for one in value]
    return value
