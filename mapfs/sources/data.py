r"""`data:TEXT`: test content in a small language: `"magic" u32le:1 @4K (u64le:n*8)*1T @8T "end"`.

docs/SOURCES.md has the grammar. TEXT is read once, from left to right, into a tree (`layout`) that is never
expanded, so its content may be as large as a file can be. Mistakes are told with the number of the character in
TEXT, counted from 1, doubled commas as one.
"""

import re
from typing import NoReturn

from mapfs.errors import SpecError
from mapfs.sources.base import Entry, Source
from mapfs.sources.layout import Counted, Node, Order, Run, repeat, sequence
from mapfs.sources.spec import Spec
from mapfs.units import parse_size

MOST_TEXT = 1 << 16  # characters
DEEPEST = 32  # groups within groups
_LIMIT = 1 << 63  # what no file reaches: off_t

_SPACE = re.compile(r"(?:\s|#[^\n]*)*", re.ASCII)
_WORD = re.compile(r"[\w.]+", re.ASCII)
_HEX = re.compile(r"[0-9a-fA-F]+")
_STRING = re.compile(r""""((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'""", re.DOTALL)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|([\x00-\x7f]|[^\x00-\x7f]+))", re.DOTALL)
_PLAIN = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"0": b"\0", b"\\": b"\\", b'"': b'"', b"'": b"'"}
_INTEGER = re.compile(r"([ui])(\d{1,3})(le|be)?:([^\s()@%~\"'#]*)", re.ASCII)
_NUMBER = r"0x[0-9a-fA-F]{1,16}|\d{1,20}"
_VALUE = re.compile(rf"(?P<literal>-?(?:{_NUMBER}))|n(?P<level>\d?)(?:\*(?P<factor>{_NUMBER}))?"
                    rf"(?:(?P<sign>[+-])(?P<added>{_NUMBER}))?", re.ASCII)  # fmt: skip


class DataSource(Source):
    """What a tree describes."""

    def __init__(self, root: Node) -> None:
        self._root = root
        self._entry = Entry(size=root.size)

    @property
    def size(self) -> int:
        return self._root.size

    def read(self, offset: int, size: int) -> bytes:
        out: list[bytes | bytearray] = []
        if size:
            self._root.emit(out, offset, size, ())
        return b"".join(out)

    def try_read(self, offset: int, size: int) -> bytes:
        return self.read(offset, size)

    def entry(self) -> Entry:
        return self._entry


def open_data(spec: Spec) -> DataSource:
    """Raises SpecError, which points at the character, where TEXT does not follow the grammar."""
    if len(spec.arg) > MOST_TEXT:
        raise SpecError(f"data: the text has {len(spec.arg)} characters; the most is {MOST_TEXT}, so repeat with *")
    return DataSource(_Parser(spec.arg).root())


class _Parser:
    """Reads `text` from `at` on. A group is read to its end by a call of `_items` of its own."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def root(self) -> Node:
        """All of it."""
        node, counters = self._items(0)
        if self._at < len(self._text):
            self._fail(self._at, "there is no '(' for this ')'")
        for at, _ in counters:
            self._fail(at, "n counts a repeat, and there are not as many around it; write (...)*COUNT")
        return node

    def _items(self, depth: int) -> tuple[Node, list[tuple[int, int]]]:
        """Up to the end of the text or the group: the content, and the counters of repeats that must follow it.

        A counter is where it stands, and how many repeats out it counts, 1 for the next.
        """
        nodes: list[Node] = []
        counters: list[tuple[int, int]] = []
        size = 0
        while (at := self._skip()) < len(self._text) and self._text[at] != ")":
            if self._text[at] in "@%":
                node = self._gap(size)
            else:
                node, found = self._item(depth)
                node, found = self._repeated(node, found)
                counters += found
            size += node.size
            self._check_size(at, size)
            nodes.append(node)
        return sequence(nodes), counters

    def _item(self, depth: int) -> tuple[Node, list[tuple[int, int]]]:
        at, char = self._at, self._text[self._at]
        if char == "(":
            if depth == DEEPEST:
                self._fail(at, f"groups are nested deeper than {DEEPEST}")
            self._at += 1
            found = self._items(depth + 1)
            if self._at == len(self._text):
                self._fail(at, "this '(' has no ')'")
            self._at += 1
            return found
        if char in "\"'":
            return self._string(), []
        if char in "*~":
            self._fail(at, f"there is nothing before {char!r} that can be repeated; put it in ( )")
        integer = _INTEGER.match(self._text, at)
        return self._integer(integer) if integer else (self._bytes(), [])

    def _bytes(self) -> Node:
        at, word = self._at, self._word()
        if not _HEX.fullmatch(word):
            found = word or self._text[at]
            self._fail(at, f'{found[:20]!r} is no item; write hex digits, "text", u32le:5, ( ), @OFFSET or %SIZE')
        if len(word) % 2:
            self._fail(at, f"a byte has two hex digits, so {word[:20]!r} needs one more")
        return Run(bytes.fromhex(word))

    def _string(self) -> Node:
        at = self._at
        match = _STRING.match(self._text, at)
        if match is None:
            self._fail(at, f"this string has no closing {self._text[at]}")
        self._at = match.end()

        def plain(escape: re.Match[bytes]) -> bytes:
            if escape[1]:
                return bytes.fromhex(escape[1].decode())
            if escape[2] not in _PLAIN:
                before = escape.string[: escape.start()].decode(errors="surrogateescape")
                self._fail(at + 1 + len(before), r"this is not an escape; write \n, \t, \r, \0, \\, \', \" or \xHH")
            return _PLAIN[escape[2]]

        body = match[1] if match[1] is not None else match[2]
        try:
            return Run(_ESCAPE.sub(plain, body.encode(errors="surrogateescape")))
        except UnicodeEncodeError:
            self._fail(at, "this string holds half of a surrogate pair, which UTF-8 cannot; write its bytes as \\xHH")

    def _integer(self, match: re.Match[str]) -> tuple[Node, list[tuple[int, int]]]:
        at, (sign, bits, order, text) = self._at, match.groups()
        self._at = match.end()
        width = int(bits)
        if width % 8 or not 8 <= width <= 64:
            self._fail(at, f"an integer has 8, 16, 24, 32, 40, 48, 56 or 64 bits, not {bits}")
        if order is None and width > 8:
            self._fail(at, f"an integer of {bits} bits needs its byte order; write {sign}{bits}le: or {sign}{bits}be:")
        value = _VALUE.fullmatch(text)
        if value is None:
            self._fail(match.start(4), f"{text[:20]!r} is no value; write 5, -5, 0xff or n*8+5 (n counts a repeat)")
        byte_order: Order = "big" if order == "be" else "little"
        if value["literal"] is None:
            level, factor = _int(value["level"] or "0"), _int(value["factor"] or "1")
            added = _int(value["added"] or "0")
            counted = Counted(width // 8, byte_order, level, factor, -added if value["sign"] == "-" else added)
            return counted, [(match.start(4), level + 1)]
        number = _int(value["literal"])
        least, most = (-(1 << width - 1), (1 << width - 1) - 1) if sign == "i" else (0, (1 << width) - 1)
        if not least <= number <= most:
            self._fail(match.start(4), f"{text} does not fit; {sign}{bits} reaches from {least} to {most}")
        return Run(number.to_bytes(width // 8, byte_order, signed=sign == "i")), []

    def _repeated(self, node: Node, counters: list[tuple[int, int]]) -> tuple[Node, list[tuple[int, int]]]:
        at = self._skip()
        sign = self._text[at : at + 1]
        if sign not in ("*", "~"):
            return node, counters
        self._at += 1
        self._skip()
        number = self._number()
        size = node.size * number if sign == "*" else number
        if size and not node.size:
            self._fail(at, f"nothing, however often, does not fill {size} bytes")
        self._check_size(at, size)
        return repeat(node, size), [(where, level - 1) for where, level in counters if level > 1]

    def _gap(self, size: int) -> Node:
        """`@` and `%`, `size` bytes from the start of the file or the group."""
        at, sign = self._at, self._text[self._at]
        self._at += 1
        number = self._number()
        if sign == "@" and number < size:
            self._fail(at, f"there are {size} bytes before this already, counted from the start of the file or group")
        if sign == "%" and not number:
            self._fail(at, "an alignment is at least 1")
        gap = number - size if sign == "@" else -size % number
        filler = b"\0"
        if self._text[self._at : self._at + 1] == ":":
            self._at += 1
            where, word = self._at, self._word()
            if not _HEX.fullmatch(word) or len(word) != 2:
                self._fail(where, "what fills a gap is one byte of two hex digits, as in %4K:ff")
            filler = bytes.fromhex(word)
        return repeat(Run(filler), gap)

    def _number(self) -> int:
        at, word = self._at, self._word()
        try:
            return int(word, 16) if re.fullmatch("0x[0-9a-fA-F]{1,16}", word) else parse_size(word)
        except SpecError as error:
            self._fail(at, str(error))

    def _word(self) -> str:
        match = _WORD.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match[0]

    def _skip(self) -> int:
        match = _SPACE.match(self._text, self._at)
        assert match is not None, "the pattern matches the empty string"
        self._at = match.end()
        return self._at

    def _check_size(self, at: int, size: int) -> None:
        if size >= _LIMIT:
            self._fail(at, "with this it is larger than a file can be (8E)")

    def _fail(self, at: int, sentence: str) -> NoReturn:
        raise SpecError(f"data: character {at + 1}: {sentence}")


def _int(text: str) -> int:
    """Decimal, leading zeroes and all, or hexadecimal with 0x."""
    return int(text, 16 if "0x" in text else 10)
