"""The layouts of the FUSE protocol, against messages of a real mount (Linux 6.18, libfuse 3.14, x86-64)."""

import os
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapfs.fuse import wire
from mapfs.fuse.wire import Init, Request, WireError, correct_init_reply, parse_init_reply, parse_request, reply_header

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the messages are of a little-endian machine")

INIT = bytes.fromhex(
    "680000001a0000000200000000000000000000000000000000000000000000000000000000000000"  # header
    "070000002d00000000000200fbffff73fd050000" + "00" * 44  # 7.45, offers to read 128 KiB ahead
)
INIT_REPLY = bytes.fromhex(
    "50000000000000000200000000000000"  # header
    "070000001f0000000000020029b0404000000000000010000100000000010000" + "00" * 32
)
READ = bytes.fromhex(
    "500000000f0000000a00000000000000030000000000000000000000000000000327000000000000"  # header
    "01000000000000000010000000000000001000000000000000000000000000000080000000000000"
)
READ_DIRECT = bytes.fromhex(
    "500000000f0000000a00000000000000020000000000000000000000000000000728000000000000"  # header
    "0100000000000000000000000000000000100000020000001d1f4713f552cfe200c0000000000000"
)
INTERRUPT = bytes.fromhex(
    "30000000240000000d00000000000000000000000000000000000000000000000000000000000000"  # header
    "0c00000000000000"
)
OFFERED = 128 << 10

WORD = st.integers(0, (1 << 32) - 1)
LONG = st.integers(0, (1 << 64) - 1)


def test_read() -> None:
    assert parse_request(READ) == Request(80, wire.READ, 10, 3, 0, 0, 9987)
    assert wire.READ_IN.unpack_from(READ, wire.REQUEST.size) == (1, 4096, 4096, 0, 0, 0o100000)


def test_read_past_the_page_cache() -> None:
    fields = wire.READ_REQUEST.unpack_from(READ_DIRECT)
    assert fields[13] & os.O_DIRECT
    assert fields[8:11] == (1, 0, 4096)


@pytest.mark.parametrize("message", [READ, READ_DIRECT])
def test_both_layouts_of_read_are_one(message: bytes) -> None:
    whole = wire.READ_REQUEST.unpack_from(message)
    assert whole == wire.REQUEST.unpack_from(message) + wire.READ_IN.unpack_from(message, wire.REQUEST.size)


def test_interrupt() -> None:
    request = parse_request(INTERRUPT)
    assert (request.opcode, request.unique, request.pid) == (wire.INTERRUPT, 13, 0)
    assert wire.INTERRUPT_IN.unpack_from(INTERRUPT, wire.REQUEST.size) == (12,)
    assert request.opcode in wire.UNANSWERED
    # the pager takes it apart as if it were a READ: the first number of the body is where it looks
    assert wire.READ_REQUEST.unpack_from(INTERRUPT.ljust(wire.READ_REQUEST.size, b"\0"))[8] == 12


def test_init() -> None:
    request = parse_request(INIT)
    assert (request.length, request.opcode, request.unique) == (104, wire.INIT, 2)
    assert struct.unpack_from("=III", INIT, wire.REQUEST.size) == (7, 45, OFFERED)
    assert request.opcode not in wire.UNANSWERED


def test_the_reply_to_init() -> None:
    assert parse_init_reply(INIT_REPLY) == Init(
        major=7,
        minor=31,
        max_readahead=OFFERED,
        flags=0x4040B029,
        max_background=0,
        congestion_threshold=0,
        max_write=1 << 20,
        time_gran=1,
        max_pages=256,
        map_alignment=0,
        flags2=0,
        max_stack_depth=0,
        request_timeout=0,
    )


@pytest.mark.parametrize(
    ("wanted", "said"),
    [(0, 0), (4096, 4096), (OFFERED, OFFERED), (OFFERED + 1, OFFERED), (1 << 40, OFFERED)],
)
def test_read_ahead_and_largest_write_are_put_right_and_nothing_else(wanted: int, said: int) -> None:
    reply = bytearray(INIT_REPLY)
    assert correct_init_reply(reply, wanted) == parse_init_reply(INIT_REPLY)._replace(
        max_readahead=said, max_write=1 << 18, flags=parse_init_reply(INIT_REPLY).flags & ~(1 << 12) | 1 << 25,
        max_background=65535, congestion_threshold=65535,
    )  # fmt: skip
    assert reply[24:28] == said.to_bytes(4, "little")
    assert reply[36:40] == (1 << 18).to_bytes(4, "little")
    assert reply[:24] + reply[40:] == INIT_REPLY[:24] + INIT_REPLY[40:]


def test_passing_through_is_asked_for_only_where_it_is_wanted() -> None:
    init = correct_init_reply(bytearray(INIT_REPLY), 0, passthrough=True)
    assert (init.flags2, init.max_stack_depth) == (1 << 5, 1)
    without = correct_init_reply(bytearray(INIT_REPLY), 0)
    assert (without.flags2, without.max_stack_depth) == (0, 0)


@pytest.mark.parametrize("at", [0, 128])
def test_the_reply_to_an_opening_names_the_backing(at: int) -> None:
    body = bytes(at) + wire.OPEN_OUT.pack(7, 1 << 1 | 1 << 3, 0)
    reply = bytearray(reply_header(5, len(body)) + body)
    wire.correct_open_reply(memoryview(reply), 3, at=at)
    assert wire.OPEN_OUT.unpack_from(reply, wire.REPLY.size + at) == (7, 1 << 3 | 1 << 7, 3)


def test_a_notification_is_a_message_that_nobody_asked_for() -> None:
    message = b"".join(wire.notification(wire.NOTIFY_STORE, wire.STORE_OUT.pack(9, 4096, 5, 0), b"bytes"))
    assert wire.REPLY.unpack_from(message) == (len(message), wire.NOTIFY_STORE, 0)
    assert message[16:] == struct.pack("=QQII", 9, 4096, 5, 0) + b"bytes"


def test_an_older_and_shorter_reply_to_init() -> None:
    short = bytearray(INIT_REPLY[:40])
    short[0:4] = (40).to_bytes(4, "little")
    init = correct_init_reply(short, 0)
    assert (init.max_readahead, init.max_write, init.max_pages) == (0, 1 << 18, 0)


def test_a_reply_to_init_that_is_none() -> None:
    for reply in (b"", INIT_REPLY[:39], INIT_REPLY[:-1], INIT_REPLY + b"\0"):
        with pytest.raises(WireError):
            parse_init_reply(reply)
    with pytest.raises(WireError, match="is an error .71."):
        parse_init_reply(struct.pack("=IiQ", 40, -71, 2) + b"\0" * 24)


@pytest.mark.parametrize("message", [INIT, READ, READ_DIRECT, INTERRUPT])
def test_a_request_that_is_cut_or_too_long(message: bytes) -> None:
    for size in range(len(message)):
        with pytest.raises(WireError):
            parse_request(message[:size])
    with pytest.raises(WireError, match="says that it has"):
        parse_request(message + b"\0")
    assert parse_request(memoryview(message)) == parse_request(bytearray(message)) == parse_request(message)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_wire_error(message: bytes) -> None:
    try:
        assert parse_request(message).length == len(message)
    except WireError:
        pass


@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_are_a_reply_to_init_or_a_wire_error(body: bytes, fits: bool) -> None:
    message = reply_header(2, len(body)) + body if fits else body
    try:
        offered = parse_init_reply(message).max_readahead
    except WireError:
        return
    reply = bytearray(message)
    assert correct_init_reply(reply, 8192).max_readahead == min(8192, offered)
    assert len(reply) == len(message)


@given(WORD, LONG, LONG, WORD, WORD, WORD, st.binary(max_size=64))
def test_a_header_that_was_packed_is_parsed(
    opcode: int, unique: int, nodeid: int, uid: int, gid: int, pid: int, body: bytes
) -> None:
    length = wire.REQUEST.size + len(body)
    packed = wire.REQUEST.pack(length, opcode, unique, nodeid, uid, gid, pid, 0) + body
    assert parse_request(packed) == Request(length, opcode, unique, nodeid, uid, gid, pid)


@given(LONG, st.integers(0, 1 << 20), st.integers(0, 4095))
def test_a_reply_s_header(unique: int, size: int, number: int) -> None:
    assert wire.REPLY.unpack(reply_header(unique, size, number)) == (16 + size, -number, unique)


def test_the_sizes_are_those_of_fuse_h() -> None:
    layouts = (wire.REQUEST, wire.READ_IN, wire.INTERRUPT_IN, wire.REPLY)
    assert [layout.size for layout in layouts] == [40, 36, 8, 16]
    assert wire.READ_REQUEST.size == 76
