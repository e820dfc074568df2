"""Where metrics are served, as people write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapfs.errors import UsageError
from mapfs.trace.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9464", Address("127.0.0.1", 9464)),
        (":9464", Address("127.0.0.1", 9464)),
        (" 0 ", Address("127.0.0.1", 0)),
        ("198.51.100.1:65535", Address("198.51.100.1", 65535)),
        ("192.0.2.1:09464", Address("192.0.2.1", 9464)),
        ("[::1]:1", Address("::1", 1)),
        ("[::]:9464", Address("::", 9464)),
        ("[fe80::1%lo]:9464", Address("fe80::1%lo", 9464)),
    ],
)
def test_an_address(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is no address to serve metrics at"),
        ("x", "is no address to serve metrics at"),
        ("9464x", "is no address to serve metrics at"),
        ("-1", "is no address to serve metrics at"),
        ("٣", "is no address to serve metrics at"),
        ("127.0.0.1", "is no address to serve metrics at"),
        ("127.0.0.1:", "is no address to serve metrics at"),
        ("localhost:9464", "is no address to serve metrics at"),
        ("::1:9464", "is no address to serve metrics at"),
        ("http://127.0.0.1:9464", "is no address to serve metrics at"),
        ("[]:9464", "is no address to serve metrics at"),
        ("127.0.1:9464", "'127.0.1' in '127.0.1:9464' is no IP address"),
        ("256.0.0.1:9464", "is no IP address"),
        ("[127.0.0.1]:9464", "is no IP address"),
        ("[x]:9464", "is no IP address"),
        ("65536", "65536 in '65536' is no port; the largest is 65535"),
        ("127.0.0.1:99999", "is no port"),
    ],
)
def test_no_address(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=".") as caught:
        parse_address(text)
    assert sentence in str(caught.value)


@given(st.text(st.sampled_from("0123456789.:[]%a"), max_size=24))
def test_whatever_is_written_is_an_address_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except UsageError:
        return
    assert 0 <= address.port <= 65535
    assert parse_address(str(address)) == address
