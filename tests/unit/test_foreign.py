"""Kinds of other packages: real distributions on sys.path, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, WITHIN

PROGRAM = """
import json, sys
from mapfs.errors import MapfsError
from mapfs.sources import catalogue
from mapfs.sources.base import Source

said = []
for text in sys.argv[1:]:
    try:
        spec = catalogue.parse(text)
        kind = catalogue.kind_of(spec.kind)
        source = catalogue.open_spec(spec)
        assert isinstance(source, Source)
        content = source.read(0, source.size).decode()
        said.append({"content": content, "about": kind.about, "code": catalogue.runs_code(spec)})
        source.close()
    except MapfsError as error:
        said.append({"error": type(error).__name__, "errno": getattr(error, "errno", 0), "sentence": str(error)})
print(json.dumps(said))
"""
MODULE = """
import errno
from mapfs import Source, SourceError

class Shout(Source):
    def __init__(self, spec):
        self.content = (spec.arg.upper() + repr(sorted(spec.options.items()))).encode()
    @property
    def size(self):
        return len(self.content)
    def read(self, offset, size):
        return self.content[offset:offset + size]

def plain(spec):
    return spec.arg + "!"

def nothing(spec):
    return None

def raises(spec):
    if spec.arg:
        raise SourceError("no link", errno.EHOSTUNREACH)
    raise KeyError("x")

number = 5
"""


def package(path: Path, name: str, points: str, *, metadata: str | None = "") -> None:
    """What an installer leaves of the distribution `name`: its dist-info beside its module."""
    info = path / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    if metadata is not None:
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{metadata}")
    (info / "entry_points.txt").write_bytes(points.encode("latin-1"))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory of installed packages."""
    (tmp_path / "mapfs_shout.py").write_text(MODULE)
    return tmp_path


def said(site: Path, *specs: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *specs],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])},
        cwd=site, capture_output=True, text=True, timeout=WITHIN, check=False,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def test_a_package_adds_kinds_with_any_options(site: Path) -> None:
    package(site, "mapfs-shout", "[mapfs.sources]\nshout = mapfs_shout:Shout\nplain = mapfs_shout:plain\n")
    shout, plain, part, meant, none = said(
        site, "shout:abc,x=1,flag,coherency=live,interval=1s", "plain:a", "concat:shout:x,,y|plain:b", "shot:x", "qqq:x"
    )
    assert shout == {"content": "ABC[('flag', None), ('x', '1')]", "about": "of the package mapfs-shout", "code": True}
    assert plain["content"] == "a!"
    assert (part["content"], part["code"]) == ("X[('y', None)]b!", True)
    assert meant["sentence"] == "there is no source of the kind 'shot'; did you mean shout:?"
    assert none["sentence"].endswith("python, plain, shout")


def test_the_kinds_of_mapfs_cannot_be_taken(site: Path) -> None:
    package(site, "mapfs-thief", "[mapfs.sources]\ntext = mapfs_shout:Shout\n")
    assert said(site, "text:abc")[0]["content"] == "abc"


BROKEN = [
    ("x = mapfs_none:f", "x:", 5, "the kind 'x' of the package mapfs-shout cannot be loaded: "
     "ModuleNotFoundError: No module named 'mapfs_none'; reinstall or mend it"),
    ("x = mapfs_shout:none", "x:", 5, "the kind 'x' of the package mapfs-shout cannot be loaded: "
     "AttributeError: module 'mapfs_shout' has no attribute 'none'; reinstall or mend it"),
    ("x = mapfs_shout:number", "x:", 5,
     "the kind 'x' of the package mapfs-shout cannot be called, being of the type int; reinstall or mend it"),
    ("x = mapfs_shout:nothing", "x:", 5, "the kind 'x' of the package mapfs-shout returned a NoneType; it has to return "
     "a mapfs.Source, a mapfs.DirectorySource, bytes or str"),
    ("x = mapfs_shout:raises", "x:", 5, "the kind 'x' of the package mapfs-shout failed: KeyError: 'x'"),
    ("x = mapfs_shout:raises", "x:a", 113, "no link"),
]  # fmt: skip


@pytest.mark.parametrize(("point", "spec", "number", "sentence"), BROKEN, ids=[point for point, *_ in BROKEN])
def test_a_broken_package_gives_one_sentence(site: Path, point: str, spec: str, number: int, sentence: str) -> None:
    package(site, "mapfs-shout", f"[mapfs.sources]\n{point}\n")
    broken, fine = said(site, spec, "text:fine")
    assert broken == {"error": "SourceError", "errno": number, "sentence": sentence}
    assert fine["content"] == "fine"


def test_what_an_entry_point_says_may_make_no_sense(site: Path) -> None:
    package(site, "mapfs-shout", "[mapfs.sources]\nx = 5 + 7 ?\n")
    (broken,) = said(site, "x:")
    assert broken["error"] == "SourceError"
    assert broken["sentence"].startswith("the kind 'x' of the package mapfs-shout cannot be loaded: ")
    assert broken["sentence"].endswith("; reinstall or mend it")


def test_two_packages_that_offer_one_kind(site: Path) -> None:
    package(site, "mapfs-a", "[mapfs.sources]\nx = mapfs_shout:Shout\n")
    package(site, "mapfs-b", "[mapfs.sources]\nx = mapfs_shout:plain\n")
    (broken,) = said(site, "x:a")
    assert broken["error"] == "SourceError"
    assert broken["sentence"] == (
        "the kind 'x' is offered by the package mapfs-a and by the package mapfs-b; uninstall all but one"
    )


def test_a_package_whose_metadata_are_missing_still_works(site: Path) -> None:
    package(site, "mapfs-shout", "[mapfs.sources]\nplain = mapfs_shout:plain\n", metadata=None)
    (plain,) = said(site, "plain:a")
    assert plain == {"content": "a!", "about": "of a package without a name", "code": True}


def test_a_package_that_cannot_be_read_is_named_where_a_kind_is_missed(site: Path) -> None:
    package(site, "mapfs-shout", "[mapfs.sources]\nplain = mapfs_shout:plain\n")
    package(site, "mapfs-broken", "[mapfs.sources]\nx = \xff\n")
    own, others = said(site, "text:fine", "plain:a")
    assert own["content"] == "fine"
    assert others["error"] == "SpecError"
    assert others["sentence"].startswith("there is no source of the kind 'plain'; ")
    assert "(those of other packages cannot be listed: UnicodeDecodeError: " in others["sentence"]


def test_nothing_of_a_package_is_imported_before_its_kind_is_opened(site: Path) -> None:
    package(site, "mapfs-shout", "[mapfs.sources]\nplain = mapfs_loud:plain\n")
    (site / "mapfs_loud.py").write_text("raise SystemExit('imported')")
    program = "from mapfs.sources import catalogue; print(catalogue.parse('plain:x').kind, catalogue.kind_of('x'))"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])},
        capture_output=True, text=True, timeout=WITHIN, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("plain None\n", 0), done.stderr
    (opened,) = said(site, "plain:x")
    assert opened["sentence"].endswith("cannot be loaded: SystemExit: imported; reinstall or mend it")
