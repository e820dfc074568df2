"""Mount options and the calls of mount(8), read without a mount."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapfs.errors import UsageError
from mapfs.fuse.fstab import IGNORED, KERNEL, SWITCHES, VALUES, command_of, escape, is_call, parse_options


def test_options_become_settings() -> None:
    options = parse_options("ro,readahead=1M,threads=3,trace=/t.db,noexec,config=/c.toml,fsname=me,noatime,noexec")
    assert options.settings == {"ro": True, "readahead": "1M", "threads": 3, "trace": "/t.db"}
    assert options.kernel == ("noexec", "noatime")
    assert (options.config, options.source) == ("/c.toml", "me")


def test_what_is_for_mount_itself_means_nothing() -> None:
    text = ",".join([*sorted(IGNORED), "x-systemd.automount", "X-mount.mkdir", "comment=a", "user=me", "", "rw"])
    assert parse_options(text) == parse_options("")


def test_the_last_of_ro_and_rw_holds() -> None:
    assert parse_options("ro,rw").settings == {}
    assert parse_options("rw,ro").settings == {"ro": True}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nosense", "no mount option 'nosense'; those of mapfs are ro,"),
        ("ro=1", "no mount option 'ro=1'"),
        ("trace=", "no mount option 'trace='"),
        ("trace", "no mount option 'trace'"),
        ("threads=x", "threads must be a number, not 'x'"),
        ("remount,ro", "cannot be remounted"),
        ("uid=3", "no mount option"),
    ],
)
def test_a_bad_option_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        parse_options(text)


@given(st.text(st.characters(exclude_characters="\0"), min_size=1), st.text(st.characters(exclude_characters="\0")))
def test_a_value_may_hold_commas_and_backslashes(one: str, two: str) -> None:
    options = parse_options(f"trace={escape(one)},fsname=x{escape(two)},ro")
    assert options.settings == {"trace": one, "ro": True}
    assert options.source == f"x{two}"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["/c.toml", "/m", "-o", "rw"], "mount --daemon --quiet -o fsname=/c.toml,rw --config /c.toml -- /m"),
        (["a=file:/b", "/m", "-o", "ro"], "mount --daemon --quiet -o fsname=a=file:/b,ro -- /m a=file:/b"),
        (["none", "/m", "-t", "fuse.mapfs"], "mount --daemon --quiet -o fsname=none -- /m"),
        (["mapfs", "/m", "-sv", "-o", "x,ro"], "mount --daemon --quiet -o fsname=mapfs,ro -- /m"),
        (["/a=b.toml", "/m"], "mount --daemon --quiet -o fsname=/a=b.toml --config /a=b.toml -- /m"),
        (["a=text:b,,c", "/m"], r"mount --daemon --quiet -o fsname=a=text:b\,\,c -- /m a=text:b,,c"),
        (["-o", "ro", "/c", "/m", "-o", "noexec"], "mount --daemon --quiet -o fsname=/c,ro,noexec --config /c -- /m"),
    ],
)
def test_a_call_of_mount_becomes_a_command(argv: list[str], expected: str) -> None:
    assert command_of(argv) == expected.split()


def test_a_fake_mount_does_nothing_but_look() -> None:
    assert command_of(["none", "/m", "-fn", "-o", "ro"]) is None
    with pytest.raises(UsageError, match="no mount option"):
        command_of(["none", "/m", "-f", "-o", "nosense"])


@pytest.mark.parametrize(("argv", "sentence"), [(["none"], "takes SOURCE and MNT"), (["-z", "a", "b"], "option -z")])
def test_a_bad_call_is_refused(argv: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        command_of(argv)


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("/etc/x.toml /m -o rw", True),
        ("a=zero:4K /m -o rw,dev,suid", True),
        ("none /m -o rw", True),
        ("export t.db -o rw", False),
        ("mount /m -o rw", False),
        ("exprot t.db -o rw", False),
        ("/etc/x.toml /m", False),
    ],
)
def test_what_mount_fuse3_runs_is_known(words: str, call: bool) -> None:
    assert is_call(words.split()) is call


def test_no_option_has_two_meanings() -> None:
    names = [*SWITCHES, *VALUES, *KERNEL, *IGNORED]
    assert len(names) == len(set(names))
