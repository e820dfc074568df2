"""`mapfs pages`: what it says of a file is what the kernel and the events say."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import Mounter
from tests.support import ROOT, WITHIN, client, mapfs


def test_the_pages_that_were_touched_are_resident_and_named(mount: Mounter) -> None:
    daemon = mount("p=pages:300p", "tail=pages:5000", "-q", wait=False).wait_mounted()
    first, second = (client("touch", daemon.file("p"), pages) for pages in ("10-19", "15-24"))
    before = daemon.events()
    told = json.loads(mapfs("pages", daemon.file("p"), "--json").stdout)
    assert daemon.events() == before, "looking demands no page"
    assert (told["pages"], told["resident"], told["resident_runs"], told["dirty"]) == (300, 15, [[10, 15]], 0)
    assert told["demands"] == {str(page): 1 for page in range(10, 25)}
    assert {page: int(who.rpartition("/")[2]) for page, who in told["brought_by"].items()} == {
        str(page): first["pid"] if page < 20 else second["pid"] for page in range(10, 25)
    }
    mapfs("drop", daemon.file("p"), "12+24")
    client("touch", daemon.file("p"), "12")
    told = json.loads(mapfs("pages", daemon.file("p"), "--json").stdout)
    assert (told["resident"], told["resident_runs"], told["demands"]["12"]) == (14, [[10, 14]], 2)
    drawn = mapfs("pages", daemon.file("p")).stdout
    assert "p: 14 of 300 pages resident" in drawn and "16 demands" in drawn
    assert "a column is 1 page (4.0 KiB)" in drawn
    assert "·" * 10 + "█" * 14 + "·" in drawn and "112111111111111" in drawn
    assert f"/{first['pid']}" in drawn and f"/{second['pid']}" in drawn
    assert "3,192 bytes of the last page hold nothing" in mapfs("pages", daemon.file("tail")).stdout


def test_a_large_sparse_file_is_drawn_in_columns_of_many_pages(mount: Mounter) -> None:
    daemon = mount("z=zero:1T", "-q", wait=False).wait_mounted()
    assert client("read", daemon.file("z"), str(700 << 30), "1") == {"data": "00"}
    told = json.loads(mapfs("pages", daemon.file("z"), "--json").stdout)
    assert told["resident_runs"] == [[(700 << 30) // 4096, 1]]
    drawn = mapfs("pages", daemon.file("z")).stdout
    assert drawn.count("▒") + drawn.count("░") == 1
    assert len(drawn.splitlines()) < 40


def test_who_may_not_know_sees_a_question_mark(mount: Mounter, request: pytest.FixtureRequest) -> None:
    if os.geteuid():
        pytest.skip("takes another user")
    place = Path(tempfile.mkdtemp(prefix="mapfs-test-"))  # pytest's own directories are closed to others
    request.addfinalizer(place.rmdir)
    place.chmod(0o755)
    daemon = mount("p=pages:30p", "--allow-other", "-q", at=str(place / "mnt"), wait=False).wait_mounted()
    client("touch", daemon.file("p"), "3")
    code = "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n" \
           "from mapfs.commands import main; main(['pages', sys.argv[1], '--json'])"  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", f"import mapfs.commands.pages, mapfs.views.pages, rich.console\n{code}", daemon.file("p")],
        capture_output=True, text=True, timeout=WITHIN, check=False, cwd=ROOT,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert (told["resident"], told["resident_runs"], told["demands"]) == (None, None, {"3": 1})
    assert daemon.umount() == 0


def test_what_has_no_pages_is_refused_in_one_sentence(mount: Mounter) -> None:
    daemon = mount("p=pages:30p", "empty=text:", "-q", wait=False).wait_mounted()
    for path, code, sentence in (
        (daemon.path, 2, "is a directory; name a file in it"),
        ("/etc/hostname", 1, "is in no mapfs mount"),
        (daemon.file("nought"), 1, "No such file or directory"),
    ):
        done = mapfs("pages", path, check=False)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
        assert sentence in done.stderr
    assert "empty: 0 of 0 pages resident" in mapfs("pages", daemon.file("empty")).stdout
