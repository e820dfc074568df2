"""The grammar of specs, and the catalogue of kinds."""

import importlib
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mapfs.errors import SpecError
from mapfs.sources import catalogue, wrap
from mapfs.sources.base import DirectorySource, Source
from mapfs.sources.coherency import Coherency, Terms
from mapfs.sources.redact import shown_spec
from mapfs.sources.spec import Spec, is_set, parse

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


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_every_kind_is_known_and_says_what_it_is(kind: str) -> None:
    assert catalogue.parse(f"{kind}:x") == Spec(kind, "x")
    found = catalogue.kind_of(kind)
    assert found is catalogue.KINDS[kind]
    assert found.about
    assert not (found.options or frozenset()) & catalogue.COMMON, "an option of every kind is taken off before it"


def test_every_kind_and_wrapper_has_its_module() -> None:
    """Names those that are missing."""
    missing = []
    for table, package in ((catalogue.KINDS, catalogue.__package__), (wrap.WRAPPERS, wrap.__name__)):
        for name, entry in table.items():
            try:
                function = getattr(importlib.import_module(entry.module, package), entry.function, None)
            except ModuleNotFoundError as error:
                assert error.name and error.name.startswith("mapfs."), "nothing of others is imported so early"
                function = None
            if not callable(function):
                missing.append(f"{name}: {package}{entry.module}.{entry.function}")
    assert not missing, f"there is no {', no '.join(missing)}"


def test_kinds_are_opened_by_name() -> None:
    for spec in (Spec("zero", "1p"), Spec("pages", "1p"), Spec("random", "1p"), Spec("text", "x"), Spec("data", "ff")):
        source = catalogue.open_spec(spec)
        assert isinstance(source, Source)
        source.close()
    directory = catalogue.open_spec(Spec("dir", "/"))
    assert isinstance(directory, DirectorySource)
    directory.close()
    with pytest.raises(SpecError, match="there is no source of the kind 'fil'; did you mean file:"):
        catalogue.open_spec(Spec("fil", "x"))


@pytest.mark.parametrize(("kind", "meant"), [("fil", "file"), ("page", "pages"), ("shmm", "shm"), ("zeros", "zero")])
def test_an_unknown_kind_suggests_the_one_that_was_meant(kind: str, meant: str) -> None:
    with pytest.raises(SpecError, match=f"no source of the kind '{kind}'; did you mean {meant}:"):
        catalogue.parse(f"{kind}:x")


def test_a_kind_like_no_other_lists_them_all() -> None:
    with pytest.raises(SpecError) as caught:
        catalogue.parse("qqqqqq:x")
    assert all(kind in str(caught.value) for kind in catalogue.KINDS)


def test_an_option_that_a_kind_does_not_take() -> None:
    with pytest.raises(SpecError) as caught:
        catalogue.parse("zero:1M,seed=1")
    assert str(caught.value) == "zero: has no option 'seed'; it takes none of its own (a comma in ARG is doubled)"
    with pytest.raises(SpecError, match=r"random: has no option 'sed'; it takes seed; did you mean seed\? \(a comma"):
        catalogue.parse("random:1M,sed=1")
    with pytest.raises(
        SpecError, match="shm: has no option 'sizes'; it takes create, remove, rw, size; did you mean size"
    ):
        catalogue.parse("shm:x,sizes=4K")
    assert catalogue.parse("device:/dev/zero,size=4K").options == {"size": "4K"}


@pytest.mark.parametrize(
    ("option", "meant"),
    [("dealy=1ms", "delay"), ("coherence=live", "coherency"), ("intervall=1s", "interval"), ("trunc=1", "truncate")],
)
def test_an_option_of_every_kind_is_hinted_at_too(option: str, meant: str) -> None:
    with pytest.raises(SpecError, match=rf"did you mean {meant}\?"):
        catalogue.parse(f"zero:1M,{option}")


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_every_kind_knows_the_wrappers_and_how_it_keeps_up(kind: str) -> None:
    for name in wrap.WRAPPERS:
        assert catalogue.parse(f"{kind}:x,{name}=1").options == {name: "1"}
    for one in Coherency:
        spec = catalogue.parse(f"{kind}:x,coherency={one.value}")
        assert catalogue.terms(spec) == Terms(one)
    assert catalogue.terms(catalogue.parse(f"{kind}:x")) == Terms(catalogue.KINDS[kind].coherency)
    spec = catalogue.parse(f"{kind}:x,interval=20ms,coherency=live")
    assert catalogue.terms(spec) == Terms(Coherency.LIVE, 0.02)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("coherency=often", "coherency=often is none of fixed, open, live, passthrough"),
        ("coherency=", "coherency= is none of fixed, open, live, passthrough"),
        ("coherency", "coherency= is none of fixed, open, live, passthrough"),
        ("coherency=LIVE", "coherency=LIVE is none of fixed, open, live, passthrough"),
        ("interval=1s", "interval= goes with coherency=live: the other ways look at no interval"),
        ("coherency=open,interval=1s", "interval= goes with coherency=live: the other ways look at no interval"),
        ("coherency=live,interval=9ms", "interval=9ms is too short; the shortest is 10ms"),
        ("coherency=live,interval=0", "interval=0 is too short; the shortest is 10ms"),
        ("coherency=live,interval=soon", "'soon' is not a time; write 20ms, 1.5s or 2m"),
        ("coherency=live,interval=-1", "'-1' is not a time; write 20ms, 1.5s or 2m"),
        ("coherency=live,interval=", "'' is not a time; write 20ms, 1.5s or 2m"),
        ("coherency=live,interval", "'' is not a time; write 20ms, 1.5s or 2m"),
    ],
)
def test_how_a_file_cannot_keep_up(options: str, sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        catalogue.parse(f"file:/etc/hosts,{options}")
    assert str(caught.value) == sentence


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_rw_is_an_option_where_the_table_says_so(kind: str) -> None:
    options = catalogue.KINDS[kind].options
    if options is None or "rw" in options:
        spec = catalogue.parse(f"{kind}:x,rw")
        assert is_set(spec, "rw")
        assert not is_set(catalogue.parse(f"{kind}:x"), "rw")
    else:
        with pytest.raises(SpecError, match=f"{kind}: has no option 'rw'"):
            catalogue.parse(f"{kind}:x,rw")


def test_rw_takes_no_value() -> None:
    for value in ("yes", ""):
        with pytest.raises(SpecError, match="rw takes no value; write rw alone"):
            is_set(catalogue.parse(f"file:x,rw={value}"), "rw")


@st.composite
def known_specs(draw: st.DrawFn) -> Spec:
    """Of any kind, with options that it takes."""
    name = draw(st.sampled_from(sorted(catalogue.KINDS)))
    own = catalogue.KINDS[name].options
    names = st.sampled_from(sorted(wrap.WRAPPERS)) | (st.sampled_from(sorted(own)) if own else st.nothing())
    if own is None:
        names |= OPTIONS.filter(lambda option: option not in ("coherency", "interval"))
    options = draw(st.dictionaries(names, st.none() | TEXTS, max_size=5))
    if draw(st.booleans()):
        options["coherency"] = draw(st.sampled_from([one.value for one in Coherency]))
        if options["coherency"] == "live" and draw(st.booleans()):
            options["interval"] = f"{draw(st.integers(10, 10**6))}ms"
    return Spec(name, draw(TEXTS), options)


@given(known_specs())
def test_a_spec_of_any_kind_goes_round(spec: Spec) -> None:
    text = str(spec)
    again = catalogue.parse(text)
    assert again == spec
    assert list(again.options) == list(spec.options), "the order is that in which wrappers are put around"
    assert str(again) == text
    assert catalogue.terms(again).coherency.value == spec.options.get(
        "coherency", catalogue.KINDS[spec.kind].coherency.value
    )


def is_part(spec: Spec) -> bool:
    """Whether it may stand in a `concat:` as it is; what is made of parts has its own grammar for ARG."""
    return spec.kind not in ("concat", "sparse") and "coherency" not in spec.options


@given(st.lists(known_specs().filter(is_part), min_size=1, max_size=4))
def test_specs_within_a_spec_go_round(parts: list[Spec]) -> None:
    """A bar in a part is doubled because bars are between parts, a comma because the whole is an ARG."""
    whole = str(Spec("concat", "|".join(str(part).replace("|", "||") for part in parts)))
    assert list(catalogue.within(catalogue.parse(whole)))[1:] == parts


def test_what_runs_code_is_known_however_deep_it_lies() -> None:
    for text in (
        "python:a:b",
        "concat:zero:1K|python:a:b",
        "sparse:1M|4K=concat:zero:1||python:a:b",
        "concat:python:a:b",
    ):
        assert catalogue.runs_code(catalogue.parse(text)), text
    for text in ("file:python:a:b", "concat:zero:1K|text:python:a||b", "sparse:1M|4K=data:ff,,delay=1ms", "zero:x"):
        assert not catalogue.runs_code(catalogue.parse(text)), text
    for text in ("concat:zero:1K|nothing:x", "sparse:1M|zero:4K", "concat:" * 10 + "python:a:b"):
        with pytest.raises(SpecError):
            catalogue.runs_code(catalogue.parse(text))


def test_specs_within_specs_end_somewhere() -> None:
    deepest = "concat:" * catalogue.DEEPEST + "text:x"
    source = catalogue.open_spec(catalogue.parse(deepest))
    assert isinstance(source, Source)
    assert source.read(0, 1) == b"x"
    source.close()
    for much in ("concat:" + deepest, "concat:" * 20_000 + "text:x"):
        with pytest.raises(SpecError) as caught:
            catalogue.open_spec(catalogue.parse(much))
        assert str(caught.value).endswith("nested deeper than 8; name the innermost parts")


@given(st.text(string.printable))
def test_any_text_is_a_spec_or_a_spec_error(text: str) -> None:
    try:
        assert catalogue.parse(text).kind in catalogue.KINDS
    except SpecError:
        pass


def test_secrets_of_parts_are_not_shown() -> None:
    spec = catalogue.parse("concat:s3://b/k,,secret=abc,,key=x|http://u:p@h/x,,header-cookie=abc|zero:4K,,delay=1ms")
    shown = str(shown_spec(spec))
    assert "abc" not in shown and "u:p" not in shown
    assert shown.endswith("zero:4K,,delay=1ms")
