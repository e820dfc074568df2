"""What a run of the tests says last: what it skipped."""

import pytest

pytest_plugins = ["pytester"]

_CONFTEST = "from tests.conftest import pytest_terminal_summary"
_SKIPPED = """
    import pytest

    @pytest.mark.parametrize("number", range(2))
    @pytest.mark.skipif(True, reason="needs root")
    def test_mark(number):
        pass

    def test_call():
        pytest.skip("there is no docker")

    def test_fine():
        pass
"""


def last_lines(pytester: pytest.Pytester, code: str, *more: str) -> list[str]:
    pytester.makeconftest(_CONFTEST)
    pytester.makepyfile(code)
    for name, text in enumerate(more):
        pytester.makepyfile(**{f"test_{name}": text})
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-ra", timeout=60)
    lines = result.stdout.lines
    return lines[max(number for number, line in enumerate(lines) if line.startswith("skipped:")) : -1]


def test_a_run_says_last_what_it_skipped_and_why(pytester: pytest.Pytester) -> None:
    module = "import pytest\npytest.importorskip('no_such_module')\ndef test_never(): pass"
    assert last_lines(pytester, _SKIPPED, module) == [
        "skipped:",
        "  2 tests: needs root",
        "  1 test: could not import 'no_such_module': No module named 'no_such_module'",
        "  1 test: there is no docker",
    ]


def test_where_nothing_was_skipped_it_says_so(pytester: pytest.Pytester) -> None:
    assert last_lines(pytester, "def test_fine(): pass") == ["skipped: nothing"]
