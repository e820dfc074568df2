"""Whatever is asked of `.mapfs/ctl`, in whatever order: it is done, or refused in a sentence, and the tree stays sound."""

import contextlib
from collections.abc import Iterator

import msgspec
import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mapfs.errors import MapfsError
from mapfs.fuse import control
from mapfs.fuse.control import Control
from mapfs.fuse.files import Files
from mapfs.fuse.notifier import Notifier
from mapfs.fuse.warm import Wanted
from mapfs.trace.ring import Ring
from mapfs.tree.build import build
from mapfs.tree.nodes import Node

#: Few, so that they meet.
NAMES = st.sampled_from(["a", "b", "a/b", "a/b/c", "b/c"]) | st.sampled_from(
    [
        "",
        "/",
        ".",
        "..",
        "a/../b",
        "a//b",
        "/a",
        "a/",
        ".mapfs/x",
        ".mapfs",
        "x" * 256,
        "new\nline",
        "nul\0",
        "ä" * 128,
    ]
)
GOOD = [
    "pages:4p",
    "zero:1M",
    "text:x",
    "text:",
    "data:ff",
    "random:3p,seed=7",
    "pages:2p,cow",
    "dir:/etc/alternatives",
]
SPECS = (
    st.sampled_from(GOOD)
    | st.sampled_from(["pages:4p,delay=1ms@2", "pages:8p,slice=1p+2p", "zero:1T,truncate=5", "concat:text:a|pages:1p"])
    | st.sampled_from(
        ["python:os:getcwd", "concat:text:a|python:os:getcwd", "fd:0", "nope:x", "pages:4p,warm=x", "dir:/no"]
    )
    | st.text(st.sampled_from("pages:zrotx,|=K1\n\0"), max_size=20)
)
RULES = st.sampled_from(
    ["error=EIO@3", "delay=1ms", "corrupt=flip@0:2x", "delay=1ms@9-2", "error=E", "", "error=EIO@0-:25%"]
)
PAGES = st.none() | st.text(st.sampled_from("0123456789-+, "), max_size=24)
FILES = NAMES | st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(0, 12)
NUMBERS = st.integers(-5, 1 << 40)
REQUESTS = st.one_of(
    st.builds(control.Add, NAMES, SPECS),
    st.builds(control.Add, NAMES, st.sampled_from(GOOD)),
    st.builds(control.Remove, NAMES),
    st.builds(control.Inject, FILES, st.lists(RULES, max_size=3), st.booleans()),
    st.builds(control.Drop, FILES, PAGES),
    st.builds(
        control.Warm,
        st.lists(
            st.builds(Wanted, FILES, st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3), st.none() | NUMBERS),
            max_size=2,
        ),
    ),
    st.builds(control.Commit, FILES),
    st.builds(control.Discard, FILES),
    st.builds(control.Hurry),
    st.builds(control.List),
)


@contextlib.contextmanager
def controlled() -> Iterator[Control]:
    """The control of a tree that nobody has mounted: the kernel is told nothing."""
    tree = build({}, "/nowhere")
    try:
        yield Control(tree, Files(lambda _: None), Notifier(Ring()), "/nowhere", lambda: 0)
    finally:
        tree.close()


def nodes(node: Node) -> Iterator[Node]:
    """All that hang on `node`."""
    yield node
    for child in getattr(node, "children", {}).values():
        yield from nodes(child)


async def asked(asks: list[control.Request]) -> None:
    with controlled() as one:
        for wanted in asks:
            request = control._decode(msgspec.json.encode(wanted))
            before = {node["name"] for node in (await one._do(control.List()))["files"]}
            try:
                answer = await one._do(request)
            except MapfsError as error:
                assert str(error) and "\n" not in str(error)
                msgspec.json.encode(str(error))
                assert {node["name"] for node in (await one._do(control.List()))["files"]} == before
            else:
                msgspec.json.encode(answer)
        for node in nodes(one._tree.root):
            assert one._tree[node.inode] is node
        for told in (await one._do(control.List()))["files"]:
            await one._do(control.Remove(told["name"]))
        assert (await one._do(control.List()))["files"] == []
        assert list(one._tree) == list(nodes(one._tree.root)) == [one._tree.root], "nothing is left of what was removed"
        assert one._tree.mirrors == []


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(REQUESTS, max_size=12))
@example([control.Add("a/b", "pages:2p,cow"), control.Commit("a/b"), control.Remove("a/b"), control.Drop("a/b", "1")])
@example([control.Add("new\nline", "pages:4p"), control.Commit("new\nline")])
def test_any_requests_in_any_order_are_done_or_refused(asks: list[control.Request]) -> None:
    trio.run(asked, asks)
