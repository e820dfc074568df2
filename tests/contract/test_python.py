"""`python:`: what a callable returns, and what can go wrong on the way there."""

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapfs.errors import MapfsError, SourceError, SpecError
from mapfs.sources import catalogue
from mapfs.sources.base import DirectorySource, Source
from tests.contract.places import Place

CODE = """
import errno
import os
import mapfs
from mapfs.errors import SpecError

number = 5

class Made(mapfs.Source):
    def __init__(self, **options):
        self.content = repr(sorted(options.items())).encode()
    @property
    def size(self):
        return len(self.content)
    def read(self, offset, size):
        return self.content[offset:offset + size]
    @classmethod
    def other(cls):
        return cls(other="1")

def late():
    import mapfs_test_late
    return mapfs_test_late.content

def listed():
    from mapfs.sources.directory import BackingDirectory
    return BackingDirectory(os.path.dirname(__file__))

def raises(kind):
    if kind == "source":
        raise mapfs.SourceError("no link", errno.EHOSTUNREACH)
    if kind == "spec":
        raise SpecError("kind= makes no sense")
    if kind == "os":
        raise PermissionError(errno.EACCES, "no", "name")
    if kind == "exit":
        raise SystemExit(3)
    raise ValueError("of two lines\\nat least")

def text():
    return "\\u00e9"

def view():
    return memoryview(bytearray(b"abc"))

def nothing():
    pass

def __getattr__(name):
    raise RuntimeError("no " + name) if name == "odd" else AttributeError(name)
"""


@pytest.fixture
def here(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with modules in it that are forgotten after the test."""
    package = place.path / "mapfs_test_pack"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "mod.py").write_text(CODE)
    for name, code in (
        ("late", 'content = b"late"'),
        ("raises", 'raise KeyError("x")'),
        ("exits", "import sys\nsys.exit('bye')"),
        ("needs", "import mapfs_test_nowhere"),
        ("broken", "def x(:"),
    ):
        (place.path / f"mapfs_test_{name}.py").write_text(code)
    monkeypatch.chdir(place.path)
    before = list(sys.path)
    yield place.path
    assert sys.path == before
    for name in [name for name in sys.modules if name.startswith("mapfs_test_")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("arg", "content"),
    [
        ("Made", b"[]"),
        ("Made,a=1,b=x,,y,flag,empty=", b"[('a', '1'), ('b', 'x,y'), ('empty', ''), ('flag', True)]"),
        ("Made,a-b=1", b"[('a_b', '1')]"),
        ("Made.other", b"[('other', '1')]"),
        ("late", b"late"),
        ("text", b"\xc3\xa9"),
        ("view", b"abc"),
        ("Made,coherency=live,interval=1s", b"[]"),
    ],
)
def test_what_a_callable_returns_is_served(here: Path, arg: str, content: bytes) -> None:
    source = catalogue.open_spec(catalogue.parse(f"python:mapfs_test_pack.mod:{arg}"))
    assert isinstance(source, Source)
    assert source.read(0, source.size) == content
    source.close()


def test_a_directory_is_served_too(here: Path) -> None:
    source = catalogue.open_spec(catalogue.parse("python:mapfs_test_pack.mod:listed"))
    assert isinstance(source, DirectorySource)
    assert b"mod.py" in source.names(b"")
    source.close()


def test_a_part_may_come_from_python(here: Path) -> None:
    source = catalogue.open_spec(catalogue.parse("concat:python:mapfs_test_pack.mod:Made,,a=1|text:x"))
    assert isinstance(source, Source)
    assert source.read(0, source.size) == b"[('a', '1')]x"
    source.close()


ARG = "is not MODULE:CALLABLE; write python:package.module:function"
MOD = "python:mapfs_test_pack.mod"
RETURNS = "it has to return a mapfs.Source, a mapfs.DirectorySource, bytes or str"
REFUSED: list[tuple[str, type[MapfsError], int, str]] = [
    ("python:", SpecError, 0, f"'' {ARG}"),
    ("python:module", SpecError, 0, f"'module' {ARG}"),
    ("python:/a/b.py:f", SpecError, 0, f"'/a/b.py:f' {ARG}"),
    ("python:.a:f", SpecError, 0, f"'.a:f' {ARG}"),
    ("python:a:f()", SpecError, 0, f"'a:f()' {ARG}"),
    ("python:a:1", SpecError, 0, f"'a:1' {ARG}"),
    ("python:a:f,b-c=1,b_c=2", SpecError, 0, "python: the argument 'b_c' is given twice, with '-' and with '_'"),
    ("python:mapfs_test_none:f", SourceError, errno.ENOENT,
     "python: there is no module 'mapfs_test_none'; install it, or start mapfs where it lies"),
    ("python:mapfs_test_pack.none:f", SourceError, errno.ENOENT,
     "python: there is no module 'mapfs_test_pack.none'; install it, or start mapfs where it lies"),
    ("python:mapfs_test_none.mod:f", SourceError, errno.ENOENT,
     "python: there is no module 'mapfs_test_none'; install it, or start mapfs where it lies"),
    ("python:mapfs_test_raises:f", SourceError, errno.EIO, "python: importing mapfs_test_raises failed: KeyError: 'x'"),
    ("python:mapfs_test_exits:f", SourceError, errno.EIO, "python: importing mapfs_test_exits failed: SystemExit: bye"),
    ("python:mapfs_test_needs:f", SourceError, errno.EIO,
     "python: importing mapfs_test_needs failed: ModuleNotFoundError: No module named 'mapfs_test_nowhere'"),
    ("python:mapfs_test_broken:f", SourceError, errno.EIO,
     "python: importing mapfs_test_broken failed: SyntaxError: invalid syntax (mapfs_test_broken.py, line 1)"),
    (f"{MOD}:Mode", SourceError, errno.ENOENT, "python: there is no Mode in mapfs_test_pack.mod; did you mean Made?"),
    (f"{MOD}:qqq", SourceError, errno.ENOENT, "python: there is no qqq in mapfs_test_pack.mod; check the name"),
    (f"{MOD}:odd", SourceError, errno.ENOENT, "python: there is no odd in mapfs_test_pack.mod; check the name"),
    (f"{MOD}:Made.othr", SourceError, errno.ENOENT,
     "python: there is no Made.othr in mapfs_test_pack.mod; did you mean other?"),
    (f"{MOD}:number", SourceError, errno.EIO,
     "python: mapfs_test_pack.mod:number cannot be called, being of the type int; name a function"),
    (f"{MOD}:nothing", SourceError, errno.EIO, f"{MOD}:nothing returned a NoneType; {RETURNS}"),
    (f"{MOD}:dir,a=1", SourceError, errno.ENOENT, "python: there is no dir in mapfs_test_pack.mod; check the name"),
    (f"{MOD}:raises,kind=value", SourceError, errno.EIO, f"{MOD}:raises failed: ValueError: of two lines at least"),
    (f"{MOD}:raises,kind=exit", SourceError, errno.EIO, f"{MOD}:raises failed: SystemExit: 3"),
    (f"{MOD}:raises,kind=os", SourceError, errno.EACCES, f"{MOD}:raises failed: Permission denied"),
    (f"{MOD}:raises,kind=source", SourceError, errno.EHOSTUNREACH, "no link"),
    (f"{MOD}:raises,kind=spec", SpecError, 0, "kind= makes no sense"),
    (f"{MOD}:raises", SourceError, errno.EIO,
     f"{MOD}:raises failed: TypeError: raises() missing 1 required positional argument: 'kind'"),
    (f"{MOD}:text,a=1", SourceError, errno.EIO,
     f"{MOD}:text failed: TypeError: text() got an unexpected keyword argument 'a'"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "error", "number", "sentence"), REFUSED, ids=[spec for spec, *_ in REFUSED])
def test_what_goes_wrong_is_said_in_one_sentence(
    here: Path, spec: str, error: type[MapfsError], number: int, sentence: str
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(error) as caught:
        catalogue.open_spec(catalogue.parse(spec))
    assert type(caught.value) is error
    assert str(caught.value) == sentence
    assert getattr(caught.value, "errno", 0) == number
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_module_that_was_written_a_moment_ago_is_found(here: Path) -> None:
    with pytest.raises(SourceError, match="there is no module 'mapfs_test_new'"):
        catalogue.open_spec(catalogue.parse("python:mapfs_test_new:f"))
    (here / "mapfs_test_new.py").write_text("def f(): return b'new'")
    source = catalogue.open_spec(catalogue.parse("python:mapfs_test_new:f"))
    assert isinstance(source, Source)
    assert source.read(0, 3) == b"new"
