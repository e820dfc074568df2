"""URLs and specs as they may be shown: without passwords, tokens and signatures."""

import re

from mapfs.sources.spec import Spec

_USER = re.compile(r"(?:(?<=:)|^)//[^/?#\s]*@")
_QUERY = re.compile(r"\?[^#]*")
_SECRET = re.compile(r"(?:^|[-_])(?:token|secret|key|password|passwd|credentials?)(?:$|[-_])|^header-")
_REMOTE = frozenset({"http", "https", "s3", "remote"})
_PARTS = frozenset({"concat", "sparse"})
_INNER = re.compile(r"((?:^|,)(?:[a-z-]*(?:token|secret|key|password)|header-[a-z0-9-]+)=)[^,|]*")  # options of parts
HIDDEN = "***"


def shown_url(url: str) -> str:
    """`url` without its user, and without its query, where signatures stand."""
    return _QUERY.sub("?" + HIDDEN, without_users(url))


def without_users(text: str) -> str:
    """A text that may hold URLs, without the users in them."""
    return _USER.sub(f"//{HIDDEN}@", text)


def shown_spec(spec: Spec) -> Spec:
    """`spec` for a log, a trace or an attribute: what may be a secret in it is `***`. Others are as they were."""
    if spec.kind not in _REMOTE:
        if spec.kind not in _PARTS:
            return spec
        return Spec(spec.kind, _INNER.sub(rf"\1{HIDDEN}", without_users(spec.arg)), spec.options)
    options = {
        name: HIDDEN if value is not None and _SECRET.search(name) else value for name, value in spec.options.items()
    }
    return Spec(spec.kind, shown_url(spec.arg), options)
