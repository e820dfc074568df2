"""TOML files from strangers, settings and budgets: data, or one sentence and exit code 2; never code, never for ever."""

import contextlib
import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapfs.errors import MapfsError, UsageError
from mapfs.fuse import fstab
from mapfs.settings import KEYS, options_of, read_config, specs_of
from mapfs.toml import MOST_BYTES, parse_toml, read_text
from mapfs.views.budget import Budget, parse
from tests.support import mapfs

SPECS = st.sampled_from(["zero:4K", "pages:8p,delay=1s", "python:os:getcwd", "concat:zero:4K|zero", "text:a,,b", "x:y"])
VALUES = st.recursive(
    st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=20) | SPECS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
WORDS = st.sampled_from([*KEYS, "total", "file", "match", "pages", "refaults", "wait_ms", "spec", "rw", "delay", ""])
FILES = [
    "mountpoint = 'm'\nthreads = 4\n[files]\n'a.b' = { spec = 'zero:4K', rw = true, delay = '20ms@3' }\nc = 'pages:2p'",
    "[total]\npages = 200\nwait_ms = 1.5\n[[file]]\nmatch = '*.db'\npages = 40",
    "warm = ['t.db']\nmetrics = 9100\nprefetch = 'auto'\nspin = 'off'\nevidence = 'requests'",
]


def _toml(value: object) -> str:
    """`value` as TOML writes it: as JSON does, but for tables and numbers that are none."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    return json.dumps(value)


def _harmless(text: str, path: Path) -> None:
    """Both kinds of files: read, or refused in one line."""
    path.write_bytes(text.encode(errors="surrogatepass"))
    for read in (_settings, _budget):
        try:
            read(path)
        except MapfsError as error:
            assert isinstance(error, UsageError), error
            assert "\n" not in str(error) and str(error)


def _settings(path: Path) -> None:
    given = read_config(str(path))
    assert given.keys() <= KEYS.keys()
    given.pop("warm", None)  # opens the traces that it names
    given["mountpoint"] = str(path)
    options_of(given, specs_of(given.get("files", {}), ()), fstab.parse_options(""))


def _budget(path: Path) -> None:
    assert isinstance(parse(read_text(str(path)), str(path)), Budget)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(WORDS, VALUES | st.dictionaries(WORDS, VALUES, max_size=3), max_size=4))
def test_any_toml_is_read_or_refused(tmp_path: Path, tables: dict[str, object]) -> None:
    _harmless("\n".join(f"{json.dumps(name)} = {_toml(value)}" for name, value in tables.items()), tmp_path / "t.toml")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 400), st.characters()), max_size=8))
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, text: str, changes: list[tuple[int, str]]) -> None:
    letters = list(text)
    for at, letter in changes:
        letters[at % len(letters)] = letter
    _harmless("".join(letters), tmp_path / "t.toml")


HOSTILE = {
    "deep": "a = " + "[" * 100_000,
    "deep-tables": "[" + "a." * 20_000 + "a]",
    "many-keys": "\n".join(f"k{number} = 1" for number in range(20_000)),
    "long-number": "threads = " + "9" * 100_000,
    "no-date": "threads = 2023-99-99T00:00:00Z",
    "binary": "\x00\x01\x02",
    "lone-surrogate": 'mountpoint = "\\ud800"',
    "escape": 'mountpoint = "\\u001b[2J"\nthreads = 0',
    "zero-in-a-name": '[files]\n"a\\u0000b" = "zero:4K"',
    "out-of-the-mount": '[files]\n"../x" = "zero:4K"',
    "types": "threads = [1]\ntrace = 3",
    "all-threads": "threads = 1000000000",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("command", ["mount", "check"])
def test_a_hostile_file_is_one_sentence(tmp_path: Path, command: str, name: str) -> None:
    path = tmp_path / "t.toml"
    path.write_text(HOSTILE[name])
    mount = str(tmp_path / "mnt")
    args = ["mount", mount, "-c", str(path)] if command == "mount" else ["check", mount, "--budget", str(path)]
    done = mapfs(*args, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mapfs: ") and done.stderr.count("\n") == 1, done.stderr
    assert "defect" not in done.stderr and len(done.stderr) < 2000 and "\x1b" not in done.stderr
    assert not (tmp_path / "mnt").exists()


@pytest.mark.parametrize("path", ["/dev/zero", "/proc/self/mem", "/"])
def test_what_is_no_file_is_read_within_bounds(path: str) -> None:
    with pytest.raises(UsageError, match="larger than 1 MiB|cannot read"):
        read_text(path)


def test_the_largest_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text("#" * (MOST_BYTES - 1) + "\n")
    assert parse_toml(read_text(str(path)), "t") == {}
    with open(path, "ab") as file:
        file.write(b"\n")
    with pytest.raises(UsageError, match="larger"):
        read_text(str(path))


def test_a_budget_has_nothing_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings may name code, and are then code (docs/SECURITY.md), run by mapfs mount alone; a budget never."""
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef source(): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "t.toml"
    path.write_text('[files]\na = "python:evil:source"\n')
    given_ = read_config(str(path))
    specs_of(given_["files"], ())
    assert not (tmp_path / "ran").exists(), "reading settings runs nothing"
    for text in ('[[file]]\nmatch = "python:evil:source"\npages = 1', '[total]\npages = "python:evil:source"'):
        with contextlib.suppress(UsageError):
            parse(text, "b.toml")
    assert not (tmp_path / "ran").exists()
