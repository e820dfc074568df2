"""ELF: programs, libraries and object files; each section, and within it each symbol, as in `.text:PyEval_EvalCode`.

elf(5). Read are the header, the table of sections and the symbols of `.symtab`, or where that was stripped of
`.dynsym`, by struct.iter_unpack: LLVM, 200 MB with 330,000 symbols, takes 0.7 s and 100 MB. Of several symbols for the
same bytes a global one is named.
"""

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from mapfs.trace.labels.content import Content, UnreadableError
from mapfs.trace.labels.ranges import MOST_RANGES, Labels, Span

_MOST_SECTIONS = 100_000
_LONGEST = 1024  # bytes of a name
_REL = 1  # e_type of an object file, whose symbols count from their section
_ARM = 40  # e_machine where bit 0 of a function's address says that it is in Thumb code
_SYMTAB, _NOBITS, _DYNSYM = 2, 8, 11
_XINDEX = 0xFFFF
_FIRST_RESERVED = 0xFF00  # section numbers that mean something else
_FUNC = 2
_KINDS = frozenset({1, _FUNC, 10})  # object, function, indirect function
_GLOBAL = 1


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the structures of 32 or 64 bits are packed, and where their fields stand."""

    header: str  # behind e_ident: type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum, …
    section: str  # name, type, flags, addr, offset, size, link, info, addralign, entsize
    symbol: str
    name: int
    info: int
    index: int
    value: int
    size: int


_LAYOUTS = {
    1: _Layout("HHIIIIIHHHHHH", "10I", "IIIBBH", name=0, info=3, index=5, value=1, size=2),
    2: _Layout("HHIQQQIHHHHHH", "IIQQQQIIQQ", "IBBHQQ", name=0, info=1, index=3, value=4, size=5),
}


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    type: int
    address: int
    offset: int
    size: int
    link: int

    @property
    def in_file(self) -> int:
        """Bytes that it takes in the file."""
        return 0 if self.type == _NOBITS else self.size


class _File:
    """The header, and the sections."""

    def __init__(self, content: Content) -> None:
        ident = content.read(0, 16)
        if ident[4] not in _LAYOUTS or ident[5] not in (1, 2):
            raise UnreadableError("it is of no known class or order of bytes")
        self.content = content
        self.layout = _LAYOUTS[ident[4]]
        self.order = "<>"[ident[5] - 1]
        header = self.order + self.layout.header
        fields = struct.unpack(header, content.read(16, struct.calcsize(header)))
        self.type, self.machine = fields[0], fields[1]
        self.parts: list[tuple[str, int, int]] = [("(ELF header)", 0, fields[7])]
        if fields[4]:
            self.parts.append(("(program headers)", fields[4], fields[4] + fields[8] * fields[9]))
        self.sections = self._sections(fields[5], *fields[10:]) if fields[5] else []

    def _sections(self, table: int, entry: int, count: int, names: int) -> list[_Section]:
        form = self.order + self.layout.section
        if entry != struct.calcsize(form):
            raise UnreadableError("its sections have another size")
        first = struct.unpack(form, self.content.read(table, entry))
        count = count or first[5]  # where there are more than the header can say
        names = first[6] if names == _XINDEX else names
        if not 0 < count <= _MOST_SECTIONS:
            raise UnreadableError("it has too many sections")
        self.parts.append(("(section headers)", table, table + entry * count))
        rows = list(struct.iter_unpack(form, self.content.read(table, entry * count)))
        texts = self.content.read(rows[names][4], rows[names][5]) if 0 < names < count else b""
        return [_Section(text_at(texts, row[0]), row[1], row[3], row[4], row[5], row[6]) for row in rows]


def text_at(table: bytes, at: int) -> str:
    """The string that begins at `at` of a string table, cut where it is longer than a label can be."""
    return table[at : at + _LONGEST].partition(b"\0")[0].decode("utf-8", "backslashreplace")


class _Symbols:
    """The symbols that name bytes of the file: numbers of their sections, offsets of their names."""

    def __init__(self, file: _File) -> None:
        self._file = file
        self._sections = array("L")
        self._names = array("L")
        self._texts = b""
        tables = {section.type: section for section in file.sections}
        self._table = tables.get(_SYMTAB) or tables.get(_DYNSYM)

    def name(self, number: int) -> str:
        """The name of the symbol `number`, behind that of its section."""
        section = self._file.sections[self._sections[number]]
        return f"{section.name}:{text_at(self._texts, self._names[number])}"

    def spans(self, first: int) -> Iterator[Span]:
        """What they cover, numbered from `first` on; the global ones last, since the last one names the bytes."""
        table, sections = self._table, self._file.sections
        if table is None or not table.link < len(sections):
            return
        content, layout = self._file.content, self._file.layout
        form = self._file.order + layout.symbol
        width = struct.calcsize(form)
        if table.size // width > MOST_RANGES:
            raise UnreadableError("it has too many symbols")
        data = content.read(table.offset, table.size // width * width)
        texts = sections[table.link]
        self._texts = content.read(texts.offset, texts.in_file)
        for wanted in (False, True):
            for symbol in struct.iter_unpack(form, data):
                info, index = symbol[layout.info], symbol[layout.index]
                if (info >> 4 == _GLOBAL) is not wanted or info & 15 not in _KINDS:
                    continue
                if not symbol[layout.size] or not 0 < index < min(len(sections), _FIRST_RESERVED):
                    continue
                section, value = sections[index], symbol[layout.value]
                if self._file.machine == _ARM and info & 15 == _FUNC:
                    value &= ~1
                start = value if self._file.type == _REL else value - section.address
                if not 0 <= start < section.in_file:
                    continue
                end = min(start + symbol[layout.size], section.in_file)
                yield section.offset + start, section.offset + end, first + len(self._names)
                self._sections.append(index)
                self._names.append(symbol[layout.name])


def labels(content: Content) -> Labels:
    """Sections and symbols. Raises UnreadableError, ValueError, struct.error."""
    file = _File(content)
    symbols = _Symbols(file)
    outer = [*file.parts, *((one.name, one.offset, one.offset + one.in_file) for one in file.sections)]

    def name(number: int) -> str:
        return outer[number][0] if number < len(outer) else symbols.name(number - len(outer))

    def spans() -> Iterator[Span]:
        for number, (text, start, end) in enumerate(outer):
            if text and start < end:
                yield start, end, number
        yield from symbols.spans(len(outer))

    return Labels(content.size, spans(), name)
