"""Which directories a run has seen through its mount."""

import os
from pathlib import Path

import pytest

from mapfs.errors import UsageError
from mapfs.running.places import Places, choose


def test_without_a_choice_the_system_and_the_programs_own_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for prefix in ("opt", "home", "flat"):
        (tmp_path / prefix / "bin").mkdir(parents=True)
    usr = os.path.realpath("/usr")
    assert choose([], [], "/usr/bin/env").bound == choose([], [], "/bin/env").bound
    assert usr in choose([], [], "/usr/bin/env").bound
    for program, own in (("opt/bin/p", "opt"), ("home/bin/p", "home/bin"), ("flat/p", "flat")):
        (tmp_path / program).touch()
        assert str(tmp_path / own) in choose([], [], str(tmp_path / program)).bound
    (tmp_path / "flat/link").symlink_to(tmp_path / "opt/bin/p")
    bound = choose([], [], str(tmp_path / "flat/link")).bound
    assert {str(tmp_path / "flat"), str(tmp_path / "opt")} <= set(bound), "as a virtual environment has it"


def test_what_lies_in_another_place_is_seen_with_it(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a-b").mkdir()
    (tmp_path / "a/file").touch()
    a, b, other, file = (str(tmp_path / name) for name in ("a", "a/b", "a-b", "a/file"))
    assert choose([b, a, other], [file], "") == Places((a, other), (a, other))
    assert choose([b], [file], "") == Places((b, file), (a,)), "one mirror for both"
    chosen = choose([b], [file], "")
    assert chosen.has(file) and chosen.has(f"{b}/x") and not chosen.has(f"{a}/other")
    (spec,) = chosen.specs(["delay=1ms"]).values()
    assert str(spec) == f"dir:{a},rw,delay=1ms"


@pytest.mark.parametrize("path", ["/", "/proc", "/sys/kernel", "/dev"])
def test_what_cannot_be_mirrored_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="cannot be mirrored"):
        choose([path], [], "")
