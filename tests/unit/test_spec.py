"""The grammar of specs, and the catalogue of kinds."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mapfs.errors import SpecError
from mapfs.sources import catalogue
from mapfs.sources.base import DirectorySource, Source
from mapfs.sources.spec import Spec, parse

TEXTS = st.text(st.characters(exclude_characters="\0", codec=None))
KINDS = st.from_regex(r"[a-z][a-z0-9+.-]*", fullmatch=True)
OPTIONS = st.from_regex(r"[a-z][a-z0-9_-]*", fullmatch=True)
SPECS = st.builds(Spec, KINDS, TEXTS, st.dictionaries(OPTIONS, st.none() | TEXTS, max_size=4))


@given(SPECS)
@example(Spec("k", ",", {"a": ",", "b": None}))
@example(Spec("k", "", {"a": "", "b": ",,"}))
@example(Spec("k", ",,,", {"a": "=,="}))
@example(Spec("k", "\n:\r", {}))
def test_parse_undoes_str(spec: Spec) -> None:
    assert parse(str(spec)) == spec


@given(st.text(st.sampled_from(",=:ab")))
def test_str_undoes_parse_or_it_is_a_spec_error(rest: str) -> None:
    text = "k:" + rest
    try:
        assert str(parse(text)) == text
    except SpecError as error:
        assert repr(text) in str(error)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("file:/etc/hosts", Spec("file", "/etc/hosts")),
        ("zero:64K", Spec("zero", "64K")),
        ("shm:", Spec("shm", "")),
        ("file:a,,b", Spec("file", "a,b")),
        ("file:,,", Spec("file", ",")),
        ("file:a:b=c", Spec("file", "a:b=c")),
        ("random:1M,seed=42", Spec("random", "1M", {"seed": "42"})),
        ("k:a,x", Spec("k", "a", {"x": None})),
        ("k:a,x=", Spec("k", "a", {"x": ""})),
        ("k:a,x=b=c", Spec("k", "a", {"x": "b=c"})),
        ("k:a,,,x=b,,c,y", Spec("k", "a,", {"x": "b,c", "y": None})),
        ("k:,x", Spec("k", "", {"x": None})),
    ],
)
def test_parts(text: str, spec: Spec) -> None:
    assert parse(text) == spec


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is not a spec; write KIND:ARG, as in file:/etc/hosts or zero:64K"),
        ("/etc/hosts", "is not a spec"),
        (":arg", "is not a spec"),
        ("File:x", "is not a spec"),
        ("1a:x", "is not a spec"),
        ("a b:x", "is not a spec"),
        ("é:x", "is not a spec"),
        ("file\n:x", "is not a spec"),
        ("file:a\0b", "holds a NUL byte"),
        ("file:a,", "has the option '', which has no proper name; a comma in ARG is doubled"),
        ("file:a,,,", "has the option ''"),
        ("file:a,b c", "has the option 'b c'"),
        ("file:a,=x", "has the option '=x'"),
        ("file:a,B=x", "has the option 'B=x'"),
        ("file:a,x=1,x=2", "has the option 'x' twice"),
        ("file:a,x,x", "has the option 'x' twice"),
    ],
)
def test_what_does_not_follow_the_grammar(text: str, sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text)
    assert sentence in str(caught.value)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_kind_is_known_and_can_be_opened_by_name() -> None:
    assert set(catalogue.KINDS) == {"file", "dir", "device", "shm", "fd", "zero", "pages", "random", "text"}
    for kind, (_, _, _, what) in catalogue.KINDS.items():
        assert catalogue.parse(f"{kind}:x") == Spec(kind, "x")
        assert what
    for spec in (Spec("zero", "1p"), Spec("pages", "1p"), Spec("random", "1p"), Spec("text", "x")):
        source = catalogue.open_spec(spec)
        assert isinstance(source, Source)
        source.close()
    directory = catalogue.open_spec(Spec("dir", "/"))
    assert isinstance(directory, DirectorySource)
    directory.close()


@pytest.mark.parametrize(("kind", "meant"), [("fil", "file"), ("page", "pages"), ("shmm", "shm"), ("zeros", "zero")])
def test_an_unknown_kind_suggests_the_one_that_was_meant(kind: str, meant: str) -> None:
    with pytest.raises(SpecError, match=f"no source of the kind '{kind}'; did you mean {meant}:"):
        catalogue.parse(f"{kind}:x")


def test_a_kind_like_no_other_lists_them_all() -> None:
    with pytest.raises(SpecError) as caught:
        catalogue.parse("qqqqqq:x")
    assert all(kind in str(caught.value) for kind in catalogue.KINDS)


def test_an_option_that_a_kind_does_not_take() -> None:
    with pytest.raises(SpecError, match=r"zero: has no option 'seed'; it takes none \(a comma in ARG is doubled\)"):
        catalogue.parse("zero:1M,seed=1")
    with pytest.raises(SpecError, match="random: has no option 'sed'; it takes seed"):
        catalogue.parse("random:1M,sed=1")
    assert catalogue.parse("device:/dev/zero,size=4K").options == {"size": "4K"}


@given(st.text(string.printable))
def test_any_text_is_a_spec_or_a_spec_error(text: str) -> None:
    try:
        assert catalogue.parse(text).kind in catalogue.KINDS
    except SpecError:
        pass
